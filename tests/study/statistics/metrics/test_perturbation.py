"""Drop under a perturbation at inference."""

from typing import Any

import numpy as np
import pytest

from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.perturbation import PERTURBATION_DROP
from tests.study.statistics.metrics.tables import confirmation, question, trials

A = confirmation("a", [1.0, 1.1, 1.2]).assign(
    **{
        "perturbed.drop_expert.loss": [1.1, 1.3, 1.2],
        "report_accuracy": [0.9, 0.8, 0.7],
        "perturbed.drop_expert.accuracy": [0.8, 0.8, 0.75],
    }
)
B = confirmation("b", [1.0, 1.1, 1.2]).assign(
    **{
        "perturbed.drop_expert.loss": [1.5, 1.5, 1.5],
        "report_accuracy": [0.9, 0.8, 0.7],
        "perturbed.drop_expert.accuracy": [0.5, 0.5, 0.5],
    }
)


def ask(a=A, b=B, perturbation="drop_expert", **more: Any):
    return PERTURBATION_DROP.contrast(
        trials(a, b), question("perturbation_drop", perturbation=perturbation, **more)
    )


def test_smaller_rise_of_the_loss_is_above_zero():
    found = ask()
    np.testing.assert_allclose(found.a_values, [0.1, 0.2, 0.0])
    np.testing.assert_allclose(found.b_values, [0.5, 0.4, 0.3])
    np.testing.assert_allclose(found.differences, [0.4, 0.2, 0.3])
    assert (found.unit, found.notes) == ("seed", ())


def test_smaller_fall_of_the_accuracy_is_above_zero():
    found = ask(of="accuracy")
    np.testing.assert_allclose(found.a_values, [0.1, 0.0, -0.05])
    np.testing.assert_allclose(found.differences, [0.3, 0.3, 0.25])
    assert "not nats" in found.notes[0]


def test_an_adapter_worse_than_none_has_lost_its_whole_gain_and_no_more():
    found = ask(A.assign(**{"perturbed.drop_expert.loss": [99.0, np.inf, 1.2]}))
    np.testing.assert_allclose(found.a_values, [4.0, 3.9, 0.0])


@pytest.mark.parametrize("of", ["loss", "accuracy"])
def test_a_diverged_trial_has_nothing_to_lose_and_is_counted(of):
    broken = A.assign(value=[1.0, np.nan, 1.2], outcome=["finished", "diverged", "finished"])
    broken.loc[1, [f"perturbed.drop_expert.{of}", "report_accuracy"]] = np.nan
    found = ask(broken, of=of)
    assert found.a_values.iloc[1] == 0.0
    assert found.notes[-1].startswith("Diverged trials (1 of a and 0 of b) count with no drop")


def test_few_unmeasured_seeds_are_left_out_and_counted():
    losses = np.full(60, 1.0)
    a = confirmation("a", losses).assign(**{"perturbed.int8.loss": np.r_[np.nan, np.full(59, 1.1)]})
    b = confirmation("b", losses).assign(**{"perturbed.int8.loss": np.full(60, 1.2)})
    found = ask(a, b, perturbation="int8")
    assert len(found.differences) == 59
    assert found.notes == ("1 of 60 seeds were not measured perturbed and are left out.",)


def test_many_unmeasured_seeds_are_not_evaluable():
    with pytest.raises(NotEvaluableError, match="1 of 3 seeds were not measured under drop_expert"):
        ask(A.assign(**{"perturbed.drop_expert.loss": [1.1, np.nan, 1.2]}))


def test_an_unknown_perturbation_names_those_that_were_measured():
    with pytest.raises(NotEvaluableError, match=r"no column 'perturbed.fp4.loss'; .* it has: drop_expert"):
        ask(perturbation="fp4")


def test_only_loss_and_accuracy_can_drop():
    with pytest.raises(NotEvaluableError, match="not 'speed'"):
        ask(of="speed")
