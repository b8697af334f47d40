"""Intervals against closed forms, scipy, published examples and their own coverage."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from study.statistics.contrast import NotEvaluableError
from study.statistics.intervals import (
    Interval,
    bootstrap_t_interval,
    clopper_pearson,
    max_t_bands,
    newcombe,
    t_interval,
    wilson,
)

DIFFERENCES = (0.12, 0.05, 0.20, -0.03, 0.09, 0.15, 0.02, 0.11)
WHOLE_LINE = Interval(-math.inf, math.inf)


def assert_share(hits: int, n: int, share: float) -> None:
    """A simulated share is within four standard errors of its truth."""
    assert abs(hits / n - share) < 4 * math.sqrt(share * (1 - share) / n)


def test_t_interval_is_scipys():
    expected = stats.ttest_1samp(DIFFERENCES, 0.0).confidence_interval(0.99)
    found = t_interval(DIFFERENCES, 0.99)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize("interval", [t_interval, bootstrap_t_interval])
def test_equal_units_give_a_point_and_one_unit_gives_the_whole_line_without_a_warning(interval):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = interval([0.1, 0.3 - 0.2, 0.1], 0.95)
        assert (found.low, found.high) == pytest.approx((0.1, 0.1))
        assert interval([0.1], 0.95) == WHOLE_LINE
        assert interval([0.0, 1.0, 3.0], 1.0) == WHOLE_LINE


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, math.inf]])
def test_units_without_a_finite_number_cannot_be_evaluated(values):
    with pytest.raises(NotEvaluableError, match="units"):
        t_interval(values, 0.95)


def test_bootstrap_t_agrees_with_the_list_of_all_resamples():
    values = np.array([0.1, 0.4, 0.5, 0.9, 2.2])
    drawn = values[np.array(list(itertools.product(range(5), repeat=5)))]
    shift, error = drawn.mean(axis=1) - values.mean(), drawn.std(axis=1, ddof=1) / math.sqrt(5)
    t = np.where(error > 1e-12, shift / np.maximum(error, 1e-12), 1e9 * np.sign(shift))
    low, high = np.quantile(t, (0.1, 0.9), method="inverted_cdf")
    scale = values.std(ddof=1) / math.sqrt(5)
    found = bootstrap_t_interval(values, 0.8, resamples=100_000)
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - high * scale, values.mean() - low * scale), rel=0.03
    )


def test_bootstrap_t_is_deterministic_and_leans_towards_the_long_tail():
    values = np.exp(np.random.default_rng(3).normal(0.0, 1.0, 12))
    found = bootstrap_t_interval(values, 0.95, seed=5)
    assert found == bootstrap_t_interval(values, 0.95, seed=5)
    assert found.high - values.mean() > values.mean() - found.low


def test_bootstrap_t_of_very_few_units_is_infinite_rather_than_wrong():
    assert bootstrap_t_interval([0.1, 0.2, 0.4], 0.95) == WHOLE_LINE


def test_bootstrap_t_draws_more_where_the_level_is_high():
    values = np.random.default_rng(0).normal(size=10)
    wide, wider = (bootstrap_t_interval(values, level, resamples=10) for level in (0.99, 0.999))
    assert wider.low < wide.low
    assert wide.high < wider.high


@pytest.mark.parametrize(
    ("sigma", "t_missed", "bootstrap_missed"), [(0.8, 0.130, 0.083), (0.05, 0.053, 0.056)]
)
def test_bootstrap_t_covers_skewed_means_better_than_t(sigma, t_missed, bootstrap_missed):
    """Rates of missing the mean of lognormal units at n = 10, measured beforehand at level .95."""
    rng, truth, n = np.random.default_rng(11), math.exp(sigma**2 / 2), 500
    samples = np.exp(rng.normal(0.0, sigma, (n, 10)))
    missed = {
        name: sum(
            not found.low <= truth <= found.high for found in (interval(sample, 0.95) for sample in samples)
        )
        for name, interval in (("t", t_interval), ("bootstrap", bootstrap_t_interval))
    }
    assert_share(missed["t"], n, t_missed)
    assert_share(missed["bootstrap"], n, bootstrap_missed)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (17, 30)])
def test_intervals_of_a_probability_are_scipys(hits, n):
    for interval, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        expected = stats.binomtest(hits, n).proportion_ci(0.9, method=method)
        found = interval(hits, n, 0.9)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.0, 1.0), st.floats(0.5, 0.9999))
def test_intervals_of_a_probability_hold_the_estimate_and_stay_in_the_unit_interval(n, share, level):
    hits = round(2 * share * n) / 2
    for interval in (wilson, clopper_pearson):
        found = interval(hits, n, level)
        assert 0.0 <= found.low <= hits / n + 1e-12
        assert hits / n - 1e-12 <= found.high <= 1.0


def test_half_a_hit_is_broken_both_ways_by_the_exact_interval():
    found = clopper_pearson(7.5, 10, 0.95)
    assert found.low == clopper_pearson(7, 10, 0.95).low
    assert found.high == clopper_pearson(8, 10, 0.95).high


def test_newcombe_gives_his_published_example():
    found = newcombe(56, 70, 48, 80, 0.95)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_counts_must_be_possible():
    with pytest.raises(NotEvaluableError, match="no trials"):
        wilson(0, 0, 0.95)
    with pytest.raises(ValueError, match="11 hits in 10"):
        clopper_pearson(11, 10, 0.95)
    with pytest.raises(ValueError, match="confidence level"):
        t_interval([0.0, 1.0], 95)


def test_full_confidence_covers_everything_possible():
    assert wilson(3, 10, 1.0) == clopper_pearson(3, 10, 1.0) == Interval(0.0, 1.0)
    assert newcombe(3, 10, 4, 10, 1.0) == Interval(-1.0, 1.0)


def test_bands_hold_a_whole_curve_as_often_as_they_say_and_pointwise_intervals_do_not():
    rng, n, points = np.random.default_rng(7), 400, 12
    root = np.linalg.cholesky(0.7 * np.eye(points) + 0.3)
    joint = pointwise = 0
    for _ in range(n):
        curves = rng.standard_normal((10, points)) @ root.T
        low, high = max_t_bands(curves, 0.95, seed=1)
        joint += bool(((low <= 0) & (high >= 0)).all())
        half = stats.t.isf(0.025, 9) * curves.std(axis=0, ddof=1) / math.sqrt(10)
        pointwise += bool((np.abs(curves.mean(axis=0)) <= half).all())
    assert_share(joint, n, 0.95)
    assert pointwise < 0.85 * n


def test_bands_of_one_curve_point_are_no_narrower_than_its_t_interval():
    column = np.random.default_rng(2).normal(size=(20, 1))
    low, high = max_t_bands(column, 0.95)
    found = t_interval(column, 0.95)
    assert low[0] <= found.low
    assert high[0] >= found.high
    assert high[0] - low[0] == pytest.approx(found.high - found.low, rel=0.1)


def test_bands_ignore_a_point_without_spread():
    curves = np.column_stack([np.ones(10), np.random.default_rng(4).normal(size=(10, 3))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = max_t_bands(curves, 0.95)
        alone = max_t_bands(curves[:, 1:], 0.95)
    assert (low[0], high[0]) == (1.0, 1.0)
    assert np.array_equal(low[1:], alone[0])
    assert np.array_equal(high[1:], alone[1])
