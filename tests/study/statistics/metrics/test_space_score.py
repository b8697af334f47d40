from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.statistics.claims import Range
from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.space_score import SPACE_SCORE, reachable_gain
from tests.study.statistics.metrics import tables

REFERENCE = 2.0
"""Family b's confirmed loss in nats, so that the reachable gain is 3."""


def losses(seed, shape=(6, 8)):
    return np.random.default_rng(seed).uniform(1.5, 7.0, shape)


def parts(a, b, confirmed=(REFERENCE, REFERENCE)):
    return [tables.design("a", a), tables.design("b", b), tables.confirmation("b", confirmed)]


def found(*frames: pd.DataFrame, **part: Any):
    question = tables.question("space_score", direction="greater", **part)
    return SPACE_SCORE.contrast(tables.trials(*frames), question)


def test_a_space_that_fails_everywhere_scores_0_and_one_at_the_reference_scores_1():
    contrast = found(*parts(np.full((3, 4), np.nan), np.full((3, 4), REFERENCE)))
    np.testing.assert_array_equal(contrast.a_values, np.zeros(3))
    np.testing.assert_allclose(contrast.b_values, np.ones(3))
    np.testing.assert_allclose(contrast.differences, -np.ones(3))
    assert contrast.unit == "replicate"


def test_a_uniform_loss_surface_scores_its_closed_form():
    """Loss uniform on [2, 8], capped at 5, reference 2: the mean of min(l, 5) is 4.25 and the score 0.25."""
    surface = 2.0 + 6.0 * (np.arange(600) + 0.5) / 600
    contrast = found(*parts(np.tile(surface, (2, 1)), np.full((2, 600), REFERENCE)))
    np.testing.assert_allclose(contrast.a_values, 0.25, atol=1e-12)


def test_points_are_rliables_aggregates():
    metrics = pytest.importorskip("rliable.metrics")
    a, b = losses(1), np.maximum(losses(2), REFERENCE)
    contrast = found(*parts(a, b))
    score = (tables.INIT - np.minimum(a, tables.INIT)) / 3.0
    for replicate, value in contrast.a_values.items():
        assert value == pytest.approx(metrics.aggregate_mean(score[[replicate]]), rel=1e-12)
    bounded = (tables.INIT - np.minimum(b, tables.INIT)) / 3.0
    for replicate, value in contrast.b_values.items():
        assert value == pytest.approx(1 - metrics.aggregate_optimality_gap(bounded[[replicate]]), rel=1e-12)


def test_the_reference_is_the_best_mean_of_the_confirmed_configurations():
    other = tables.confirmation("b", [1.0, 2.6], point=1)
    trials = tables.trials(tables.confirmation("b", [2.0, 2.4]), other)
    assert reachable_gain(trials, "b", tables.WORKLOAD) == pytest.approx(tables.INIT - 1.8)


def test_swapping_the_families_negates_where_both_have_the_same_reference():
    frames = [*parts(losses(1), losses(2)), tables.confirmation("a", [REFERENCE])]
    forward, backward = found(*frames), found(*frames, a="b", b="a")
    pd.testing.assert_series_equal(forward.differences, -backward.differences)


def test_more_replicates_leave_the_first_ones_as_they_were():
    few = found(*parts(losses(1), losses(2)))
    many = found(*parts(np.vstack([losses(1), losses(3)]), np.vstack([losses(2), losses(4)])))
    pd.testing.assert_series_equal(many.differences.iloc[:6], few.differences)


def test_an_affine_change_of_the_loss_leaves_the_score():
    a, b = losses(1), losses(2)
    moved = [
        tables.design("a", 10 + 2 * a, init=20.0),
        tables.design("b", 10 + 2 * b, init=20.0),
        tables.confirmation("b", [10 + 2 * REFERENCE], init=20.0),
    ]
    np.testing.assert_allclose(found(*moved).differences, found(*parts(a, b)).differences, rtol=1e-9)


def test_only_chosen_trials_count():
    lr = np.tile(10.0 ** -np.arange(4.0), (2, 1))
    a = tables.design("a", np.tile([2.0, 3.0, 5.0, 5.0], (2, 1)), params={"lr": lr})
    b = tables.design("b", np.full((2, 4), 5.0), params={"lr": lr})
    contrast = found(a, b, tables.confirmation("b", [REFERENCE]), where={"lr": Range(low=0.05)})
    np.testing.assert_allclose(contrast.differences, (1 + 2 / 3) / 2)


def test_without_a_confirmed_baseline_there_is_no_reference():
    frames = [tables.design("a", losses(1)), tables.design("b", losses(2)), tables.confirmation("a", [2.0])]
    with pytest.raises(NotEvaluableError, match="no confirmation trials of family b"):
        found(*frames)


def test_a_baseline_that_learns_nothing_is_no_reference():
    with pytest.raises(NotEvaluableError, match="family b does not improve on the loss at initialisation"):
        found(*parts(losses(1), losses(2), confirmed=[np.nan, 6.0]))


def test_without_a_loss_at_initialisation_there_is_no_score():
    low = np.full((2, 2), 3.0)
    frames = [
        tables.design("a", low, init=np.nan),
        tables.design("b", low, init=np.nan),
        tables.confirmation("b", [2.0], init=np.nan),
    ]
    with pytest.raises(NotEvaluableError, match="no trial tells the loss at initialisation"):
        found(*frames)


def test_a_missing_pair_is_not_evaluable():
    a, b, confirmed = parts(losses(1), losses(2))
    with pytest.raises(NotEvaluableError, match="1 of 48 planned pairs of a and b lack a half"):
        found(a.iloc[1:], b, confirmed)


def test_one_lost_pair_of_a_hundred_leaves_the_mean_over_the_others():
    a = tables.design("a", np.tile([2.0, 5.0], (50, 1)))
    a.loc[0, ["outcome", "value"]] = ["cancelled", np.nan]
    contrast = found(a, tables.design("b", np.full((50, 2), 5.0)), tables.confirmation("b", [REFERENCE]))
    assert contrast.differences.iloc[0] == 0.0
    np.testing.assert_allclose(contrast.differences.iloc[1:], 0.5)
    assert contrast.notes == ("1 of 100 planned pairs lack a half and are left out.",)


def test_a_stopped_design_is_not_evaluable():
    a, b, confirmed = parts(losses(1), losses(2))
    b.loc[:3, "outcome"] = "stopped"
    with pytest.raises(NotEvaluableError, match="4 sensitivity trials of family b were stopped early"):
        found(a, b, confirmed)
