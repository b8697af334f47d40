"""Steps to a target loss."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time

from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.steps_to_target import STEPS_TO_TARGET, steps_to_target
from tests.study.statistics.metrics.tables import confirmation, question, trials

STEPS = (0, 20, 40, 60, 80, 100)
LOSSES = {"a": (1.0, 1.2, 1.4), "b": (1.2, 1.5, 2.5)}


def curves(frame, start=3.0):
    """A straight line from `start` to each trial's select loss."""
    return pd.DataFrame(
        [
            {"trial": trial, "step": step, "value": start + (end - start) * step / 100}
            for trial, end in zip(frame["trial"], frame["select_value"], strict=True)
            for step in STEPS
        ]
    )


def study(**losses: tuple[float, ...]):
    parts = [confirmation(family, values) for family, values in (losses or LOSSES).items()]
    return trials(*parts, curves=pd.concat([curves(part) for part in parts]))


def ask(data, tau=2.0, **more: Any):
    return STEPS_TO_TARGET.contrast(data, question("steps_to_target", tau=tau, **more))


def test_first_measured_step_at_or_below_the_target_counts():
    data = study()
    found = steps_to_target(data.frame[data.frame["family"] == "a"], data.curves, tau=2.0, budget=100)
    assert found.tolist() == [60.0, 60.0, 80.0]


def test_a_target_missed_counts_with_the_budget():
    found = ask(study())
    assert found.b_values.tolist() == [60.0, 80.0, 100.0]
    assert found.differences.tolist() == [0.0, 20.0, 20.0]
    assert found.unit == "seed"
    assert "3 of 3 seeds of a and 2 of 3 of b reached 2 nats" in found.notes[-1]


def test_a_curve_that_rises_again_has_arrived():
    frame = confirmation("a", [np.nan])
    data = trials(
        frame, curves=pd.DataFrame({"trial": frame["trial"][0], "step": [0, 20, 40], "value": [3, 1, 9]})
    )
    assert steps_to_target(data.frame, data.curves, tau=2.0, budget=100).tolist() == [20.0]


def test_mean_is_the_restricted_mean_of_kaplan_and_meier():
    rng = np.random.default_rng(0)
    data = study(a=rng.uniform(0.5, 3.0, 30), b=rng.uniform(0.5, 3.0, 30))
    found = ask(data)
    durations = found.a_values.to_numpy()
    arrived = durations < 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = KaplanMeierFitter().fit(durations, arrived)
        expected = restricted_mean_survival_time(fitted, t=100)
    assert durations.mean() == pytest.approx(expected)
    assert 0 < arrived.sum() < 30


def test_a_trial_that_diverged_without_a_curve_counts_with_the_budget():
    parts = [confirmation("a", [1.0, np.nan]), confirmation("b", [1.0, 1.2])]
    data = trials(*parts, curves=pd.concat([curves(parts[0].iloc[:1]), curves(parts[1])]))
    assert ask(data).a_values.tolist() == [60.0, 100.0]


def test_the_shorter_budget_is_the_horizon_of_both():
    parts = [confirmation("a", [1.0, 1.0], steps=60), confirmation("b", [1.5, 1.5])]
    data = trials(*parts, curves=pd.concat([curves(part) for part in parts]))
    found = ask(data, tau=2.5)
    assert (found.a_values.tolist(), found.b_values.tolist()) == ([40.0, 40.0], [40.0, 40.0])
    assert "Before the budget of 60 steps" in found.notes[-1]


def test_under_matched_hyperparameters_family_b_is_read_from_the_claims_slice():
    parts = [confirmation("a", [1.0]), confirmation("b", [2.5], slice="H5"), confirmation("b", [0.5])]
    data = trials(*parts, curves=pd.concat([curves(part) for part in parts]))
    assert ask(data, at=dict, claim="H5").differences.tolist() == [40.0]


def test_a_target_that_nobody_reaches_is_not_evaluable():
    with pytest.raises(NotEvaluableError, match="not reached by any trial"):
        ask(study(), tau=0.1)


def test_a_claim_without_a_target_is_not_evaluable():
    with pytest.raises(NotEvaluableError, match="needs a target loss"):
        ask(study(), tau=None)


def test_without_curves_nothing_is_known_of_steps():
    data = trials(confirmation("a", [1.0]), confirmation("b", [1.0]))
    with pytest.raises(NotEvaluableError, match="give a table of curves"):
        ask(data)


def test_without_names_of_trials_curves_belong_to_nobody():
    frames = [confirmation(family, values) for family, values in LOSSES.items()]
    data = trials(*(frame.drop(columns="trial") for frame in frames), curves=curves(frames[0]))
    with pytest.raises(NotEvaluableError, match="column `trial`"):
        ask(data)


def test_finished_trials_without_a_curve_are_not_evaluable():
    parts = [confirmation(family, values) for family, values in LOSSES.items()]
    data = trials(*parts, curves=curves(parts[0]))
    with pytest.raises(NotEvaluableError, match="3 finished confirmation trials of family b have no curve"):
        ask(data)


def test_a_name_that_stands_for_several_trials_is_not_evaluable():
    parts = [confirmation(family, values, trial="same") for family, values in LOSSES.items()]
    data = trials(*parts, curves=curves(parts[0]))
    with pytest.raises(NotEvaluableError, match="trial same names several rows"):
        ask(data)


def test_trials_that_all_diverged_have_no_budget():
    parts = [confirmation("a", [np.nan, np.nan]), confirmation("b", [np.nan, np.nan])]
    with pytest.raises(NotEvaluableError, match="no trial finished"):
        ask(trials(*parts, curves=pd.DataFrame({"trial": ["x"], "step": [0], "value": [1.0]})))
