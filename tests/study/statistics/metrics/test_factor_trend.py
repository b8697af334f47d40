"""Slope of the loss along a factor."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from study.statistics.claims import Range
from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.factor_trend import FACTOR_TREND, factor_slope
from tests.study.statistics.metrics.tables import confirmation, design, factor_slices, question, trials

EXPERTS = (2, 4, 8, 16)


def sloped(slope, replicates=4, num_levels=4):
    """Losses that move by `slope` nats from level to level, from a start that differs between replicates."""
    return 3.0 + 0.1 * np.arange(replicates)[:, None] + slope * np.arange(num_levels)


def ask(data, **more: Any):
    return FACTOR_TREND.contrast(data, question("factor_trend", **({"factor": "num_experts"} | more)))


def test_slope_is_that_of_linear_regression():
    losses = np.random.default_rng(0).normal(2.0, 0.3, (3, 4))
    found = factor_slope(
        trials(factor_slices("a", "num_experts", EXPERTS, losses)).frame, factor="num_experts", base=2
    )
    expected = [stats.linregress(np.log2(EXPERTS), y).slope for y in losses]
    np.testing.assert_allclose(found.to_numpy(), expected)


def test_whole_numbers_are_followed_per_doubling():
    data = trials(factor_slices("a", "num_experts", EXPERTS, sloped(-0.2)), confirmation("b", [1.0]))
    found = ask(data, b="")
    np.testing.assert_allclose(found.a_values, -0.2)
    assert found.notes == ("Slopes are in nats per doubling of num_experts.",)


def test_reals_are_followed_per_factor_of_ten():
    levels = (1e-8, 1e-6, 1e-4, 1e-2)
    found = ask(trials(factor_slices("a", "damping", levels, sloped(0.2))), b="", factor="damping")
    np.testing.assert_allclose(found.a_values, 0.1)
    assert found.notes == ("Slopes are in nats per factor of ten of damping.",)


def test_a_falling_loss_favours_a_family_on_its_own():
    data = trials(factor_slices("a", "num_experts", EXPERTS, sloped(-0.2)))
    found = ask(data, b="")
    np.testing.assert_allclose(found.differences, 0.2)
    assert found.b_values is None


def test_a_gain_that_grows_along_the_factor_favours_a():
    data = trials(
        factor_slices("a", "num_experts", EXPERTS, sloped(-0.3)),
        factor_slices("b", "num_experts", EXPERTS, sloped(-0.1)),
    )
    found = ask(data)
    np.testing.assert_allclose(found.differences, 0.2)
    assert found.unit == "replicate"


def test_design_points_give_a_trend_at_matched_hyperparameters():
    rng = np.random.default_rng(1)
    k = rng.choice([1, 2, 4, 8], (4, 16))
    k[:, :2] = [1, 8]
    noise = rng.normal(0, 0.01, (4, 16))
    data = trials(
        design("a", 3.0 - 0.2 * np.log2(k) + noise, params={"top_k": k}),
        design("b", 3.0 - 0.1 * np.log2(k) + noise, params={"top_k": k}, slice="H6"),
        design("b", np.full((4, 16), 4.0), params={"top_k": k}),
    )
    found = ask(data, factor="top_k", phase="sensitivity", at=dict, claim="H6")
    np.testing.assert_allclose(found.differences, 0.1, atol=1e-9)


def test_where_keeps_a_trend_within_its_range():
    k = np.tile([1, 2, 4, 8], (4, 1))
    losses = np.where(k == 1, 4.9, 3.0 - 0.2 * np.log2(k))
    data = trials(design("a", losses, params={"top_k": k}), design("b", losses, params={"top_k": k}))
    found = ask(data, factor="top_k", phase="sensitivity", where={"top_k": Range(low=2)})
    np.testing.assert_allclose(found.a_values, -0.2)


def test_replicates_with_one_level_are_left_out_and_counted():
    k = np.array([[1, 2], [2, 2], [2, 4], [4, 8]])
    losses = 3.0 - 0.2 * np.log2(k)
    data = trials(design("a", losses, params={"top_k": k}), design("b", losses, params={"top_k": k}))
    found = ask(data, factor="top_k", phase="sensitivity")
    assert found.differences.index.tolist() == [0, 2, 3]
    assert "1 of 4 replicates have one level of top_k and are left out." in found.notes


@pytest.mark.parametrize(
    ("levels", "more", "words"),
    [
        ((0, 1, 2, 4), {}, "levels above 0"),
        (("x", "y", "z", "w"), {}, "levels that are numbers"),
        (EXPERTS, {"phase": "confirmation"}, "not in confirmation"),
        (EXPERTS, {"phase": "sensitivity"}, "no sensitivity trials of family a"),
    ],
)
def test_what_has_no_trend_is_not_evaluable(levels, more, words):
    data = trials(factor_slices("a", "num_experts", levels, sloped(0.1)))
    with pytest.raises(NotEvaluableError, match=words):
        ask(data, b="", **more)


def test_a_design_of_one_level_has_no_trend():
    k = np.full((3, 4), 2)
    data = trials(design("a", np.ones((3, 4)), params={"top_k": k}))
    with pytest.raises(NotEvaluableError, match="no replicate has two levels of top_k"):
        ask(data, b="", factor="top_k", phase="sensitivity")
