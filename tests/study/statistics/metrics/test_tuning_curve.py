"""Loss after tuning with k trials."""

from typing import Any

import numpy as np
import pytest

from study.statistics.claims import Range
from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.tuning_curve import TUNING_CURVE, tuning_curve
from tests.study.statistics.metrics.tables import INIT, design, question, trials

REPORT = np.array([[3.0, 2.0, 2.5, 1.0], [2.0, 4.0, 1.5, 3.0]])
SELECT = np.array([[2.9, 2.2, 2.1, 1.2], [2.4, 3.0, 2.6, 3.1]])


def made(family, report=REPORT, select=SELECT, **more: Any):
    frame = design(family, report, **more)
    return frame.assign(select_value=np.asarray(select, dtype=float).ravel())


def curve(k, frame=None):
    return tuning_curve(trials(made("a") if frame is None else frame).frame, k=k).tolist()


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [3.0, 2.0]), (2, [2.0, 2.0]), (3, [2.5, 2.0]), (4, [1.0, 2.0])]
)
def test_chosen_by_the_select_loss_and_scored_by_the_report_loss(k, expected):
    assert curve(k) == expected


def test_a_random_order_of_points_gives_the_mean_of_the_unbiased_estimator():
    rng = np.random.default_rng(0)
    losses = np.stack([rng.permutation([0.1, 0.8, 0.5, 0.4, 0.6]) for _ in range(4000)])
    best = [np.mean(tuning_curve(trials(design("a", -losses + 1)).frame, k=k)) for k in (1, 2, 5)]
    np.testing.assert_allclose(1 - np.array(best), [0.48, 0.64, 0.8], atol=0.01)


def test_a_diverged_point_is_chosen_last():
    frame = made("a", [[np.nan, 3.0, np.nan, np.nan]], [[0.1, 2.0, 0.1, 0.1]])
    assert curve(4, frame) == [3.0]
    assert curve(1, frame) == [INIT]


def test_a_point_without_a_select_loss_comes_before_the_diverged():
    frame = made("a", [[np.nan, 3.0, np.nan, np.nan]], [[0.1, np.nan, 0.1, 0.1]])
    assert curve(4, frame) == [3.0]


def test_the_shuffled_table_gives_the_same_curve():
    frame = made("a").sample(frac=1, random_state=0)
    assert curve(3, frame) == [2.5, 2.0]


@pytest.mark.parametrize("direction", ["less", "greater"])
def test_the_lower_curve_is_above_zero_whatever_the_word(direction):
    data = trials(made("a", REPORT - 0.5), made("b"))
    found = TUNING_CURVE.contrast(data, question("tuning_curve", k=4, direction=direction))
    np.testing.assert_allclose(found.differences, 0.5)
    assert found.unit == "replicate"
    assert found.b_values.tolist() == [1.0, 2.0]


def test_replicates_with_too_few_points_are_left_out_and_counted():
    lr = np.array([[1e-3, 1e-3, 1e-3, 1e-3], [1e-3, 1e-2, 1e-2, 1e-2]])
    data = trials(made("a", params={"lr": lr}), made("b", params={"lr": lr}))
    found = TUNING_CURVE.contrast(data, question("tuning_curve", k=2, where={"lr": Range(high=2e-3)}))
    assert found.differences.index.tolist() == [0]
    assert found.notes == ("1 of 2 replicates have fewer than 2 points and are left out.",)


@pytest.mark.parametrize(
    ("k", "words"), [(None, "needs k"), (0, "needs k"), (5, "no replicate has the 5 points")]
)
def test_a_budget_beyond_the_design_is_not_evaluable(k, words):
    data = trials(made("a"), made("b"))
    with pytest.raises(NotEvaluableError, match=words):
        TUNING_CURVE.contrast(data, question("tuning_curve", k=k))


def test_without_select_losses_nothing_can_be_chosen():
    data = trials(made("a"), made("b", select=np.full((2, 4), np.nan)))
    with pytest.raises(NotEvaluableError, match="no trial of family b has a select loss"):
        TUNING_CURVE.contrast(data, question("tuning_curve", k=2))
