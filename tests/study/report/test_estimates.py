"""Intervals against SciPy's own tests and against closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from study.report.estimates import mean_estimate, mean_of_curves, rate_estimate, simultaneous_level

SAMPLE = (0.12, 0.05, 0.20, -0.03, 0.09, 0.15, 0.02, 0.11)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_t_interval_is_that_of_the_one_sample_test(level: float) -> None:
    expected = stats.ttest_1samp(SAMPLE, 0).confidence_interval(level)
    found = mean_estimate(SAMPLE, level=level)
    assert found is not None
    assert found.interval is not None
    assert found.mean == pytest.approx(np.mean(SAMPLE), rel=1e-14)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (expected.low, expected.high), rel=1e-12
    )
    assert found.num_units == 8


def test_t_interval_covers_the_mean_at_its_level() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(4000):
        found = mean_estimate(rng.normal(1.0, 2.0, 6).tolist())
        assert found is not None
        assert found.interval is not None
        hits += found.interval.low <= 1.0 <= found.interval.high
    assert hits / 4000 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))


def test_one_value_has_no_interval_and_none_has_no_estimate() -> None:
    single = mean_estimate([0.4])
    assert single is not None
    assert (single.mean, single.interval) == (0.4, None)
    assert mean_estimate([]) is None


def test_an_interval_stays_inside_what_the_quantity_can_be() -> None:
    found = mean_estimate([0.99, 1.0, 0.97], bounds=(0.0, 1.0))
    assert found is not None
    assert found.interval is not None
    assert found.interval.high == 1.0
    assert found.interval.low < 0.97


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (3, 12), (12, 12), (25, 96)])
def test_wilson_is_its_closed_form(hits: int, n: int) -> None:
    z = stats.norm.ppf(0.975)
    rate = hits / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    found = rate_estimate(hits=hits, num_trials=n)
    assert found is not None
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (centre - half, centre + half), abs=1e-12
    )


def test_no_trial_has_no_rate() -> None:
    assert rate_estimate(hits=0, num_trials=0) is None


def test_simultaneous_intervals_share_the_error() -> None:
    assert simultaneous_level(5) == pytest.approx(0.99)
    assert simultaneous_level(1) == pytest.approx(0.95)


def test_mean_of_lines_on_shifted_grids_is_the_mean_line_where_all_of_them_are() -> None:
    first = [(x, 2 * x) for x in (0.0, 1.0, 2.0, 3.0)]
    second = [(x, 4 * x + 1) for x in (0.5, 1.5, 2.5, 3.5)]
    found = mean_of_curves([first, second, [(0.0, 9.0)]], num_points=6)
    assert [p.x for p in found] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
    assert [p.y.mean for p in found] == pytest.approx([3 * p.x + 0.5 for p in found])
    assert all(p.y.num_units == 2 for p in found)


def test_curves_that_never_overlap_have_no_mean() -> None:
    assert mean_of_curves([[(0.0, 1.0), (1.0, 1.0)], [(2.0, 1.0), (3.0, 1.0)]]) == ()
    assert mean_of_curves([]) == ()
