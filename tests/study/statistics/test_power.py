"""Sample sizes against published tables, pingouin, the noncentral t and simulation."""

import math

import numpy as np
import pingouin
import pytest
from scipy import stats

from study.statistics.contrast import NotEvaluableError
from study.statistics.paired import sign_flip_p, t_p
from study.statistics.power import (
    noether_units,
    paired_power,
    sd_upper,
    smallest_p,
    tost_power,
    units_for,
    units_for_half_width,
    units_needed,
)


def least_n(effect: float, power: float, alpha: float) -> int:
    return next(n for n in range(2, 100) if paired_power(effect, 1.0, n, alpha) >= power)


def assert_share(share: float, truth: float, n: int) -> None:
    assert abs(share - truth) < 4 * math.sqrt(truth * (1 - truth) / n)


@pytest.mark.parametrize(
    ("effect", "alpha", "n_80", "n_90"),
    [
        (0.5, 0.05, 34, 44),
        (0.7, 0.05, 19, 24),
        (0.8, 0.05, 15, 19),
        (1.0, 0.05, 10, 13),
        (1.2, 0.05, 8, 10),
        (1.5, 0.05, 6, 7),
        (2.0, 0.05, 5, 5),
        (0.8, 0.01, 22, 27),
        (1.0, 0.01, 16, 19),
        (1.5, 0.01, 9, 11),
    ],
)
def test_paired_power_gives_the_tabulated_sizes(effect, alpha, n_80, n_90):
    assert (least_n(effect, 0.8, alpha), least_n(effect, 0.9, alpha)) == (n_80, n_90)


@pytest.mark.parametrize(("effect", "n", "alpha"), [(0.5, 10, 0.05), (0.8, 20, 0.01), (1.6, 6, 0.005)])
def test_paired_power_is_the_noncentral_t_and_pingouins(effect, n, alpha):
    bound = stats.t.isf(alpha / 2, n - 1)
    noncentral = stats.nct(n - 1, effect * math.sqrt(n))
    found = paired_power(3 * effect, 3.0, n, alpha)
    assert found == pytest.approx(noncentral.sf(bound) + noncentral.cdf(-bound), rel=1e-9)
    assert found == pytest.approx(
        pingouin.power_ttest(d=effect, n=n, alpha=alpha, contrast="one-sample"), rel=1e-9
    )
    assert paired_power(-3 * effect, 3.0, n, alpha) == found


@pytest.mark.parametrize(("effect", "n"), [(0.0, 10), (0.5, 20), (1.0, 10), (1.5, 6)])
def test_the_t_test_has_the_power_that_is_planned(effect, n):
    samples = np.random.default_rng([int(10 * effect), n]).normal(effect, 1.0, (3000, n))
    share = np.mean([t_p(sample) <= 0.05 for sample in samples])
    assert_share(float(share), paired_power(effect, 1.0, n, 0.05), 3000)


def test_power_without_spread_or_units():
    assert paired_power(0.1, 0.0, 5, 0.05) == 1.0
    assert paired_power(0.0, 0.0, 5, 0.05) == 0.0
    assert paired_power(0.1, 1.0, 1, 0.05) == 0.0
    assert paired_power(50.0, 1.0, 30, 0.05) == pytest.approx(1.0)


def test_power_is_a_number_where_the_other_tail_is_all_but_empty():
    found = [paired_power(100.0, sd, 30, 0.0064) for sd in np.linspace(40, 120, 81)]
    assert np.isfinite(found).all()
    assert (np.diff(found) <= 0).all()


def test_the_smallest_p_is_that_of_a_clean_sweep():
    assert [smallest_p(n) for n in (5, 6, 8, 10)] == [0.0625, 0.03125, 2**-7, 2**-9]
    assert smallest_p(7) == sign_flip_p(np.arange(1.0, 8.0))
    assert smallest_p(1) == 1.0


def test_units_for_holm_over_many_claims():
    assert [units_for(0.05 / m) for m in (1, 3, 5, 10, 20)] == [6, 7, 8, 9, 10]
    assert [units_for(2.0**-k) for k in range(60)] == [k + 1 for k in range(60)]
    with pytest.raises(ValueError, match="level of p"):
        units_for(0.0)


def test_the_upper_bound_of_a_spread_has_the_tabulated_factors_and_its_level():
    rng = np.random.default_rng(2)
    for n, factor in ((5, 1.56), (10, 1.29)):
        sample = rng.normal(0, 2, n)
        assert sd_upper(sample) == pytest.approx(factor * sample.std(ddof=1), rel=0.005)
    above = np.mean([sd_upper(sample) >= 2.0 for sample in rng.normal(0, 2, (2000, 5))])
    assert_share(float(above), 0.8, 2000)
    with pytest.raises(NotEvaluableError, match="one unit"):
        sd_upper([1.0])


@pytest.mark.parametrize(
    ("sd", "effect", "alpha", "power"), [(1.0, 0.5, 0.05, 0.8), (0.3, 0.1, 0.01, 0.9), (1, 3, 0.05, 0.8)]
)
def test_units_needed_are_the_least_that_suffice(sd, effect, alpha, power):
    def reach(n: int) -> float:
        return sd * (stats.t.ppf(1 - alpha / 2, n - 1) + stats.t.ppf(power, n - 1)) / math.sqrt(n)

    n = units_needed(sd, effect, alpha, power)
    assert n == next(k for k in range(2, 10_000) if reach(k) <= effect)
    assert paired_power(effect, sd, n, alpha) >= power - 0.01


def test_a_question_out_of_reach_has_no_number_of_units():
    assert units_needed(1.0, 0.01, 0.05, 0.8) is None
    assert units_needed(1.0, 0.0, 0.05, 0.8) is None
    assert units_needed(1.0, -0.1, 0.05, 0.8) is None
    assert units_for_half_width(1.0, 1e-3, 0.05) is None
    assert units_for_half_width(1.0, 0.0, 0.05) is None
    assert noether_units(0.5, 0.05, 0.8) is None
    assert noether_units(0.5001, 0.05, 0.8) is None


def test_no_spread_needs_the_least_number_of_units():
    assert units_needed(0.0, 0.1, 0.05, 0.8) == 2
    assert units_for_half_width(0.0, 0.1, 0.05) == 2


def test_units_for_a_half_width_are_the_least_that_suffice():
    n = units_for_half_width(0.4, 0.1, 0.05)
    widths = [0.4 * stats.t.isf(0.025, k - 1) / math.sqrt(k) for k in (n - 1, n)]
    assert widths[1] <= 0.1 < widths[0]


@pytest.mark.parametrize(
    ("gamma", "n_95", "n_80"), [(0.7, 46, 26), (0.75, 29, 17), (0.8, 21, 12), (0.9, 12, 7)]
)
def test_noethers_sizes_are_the_tabulated_ones(gamma, n_95, n_80):
    assert (noether_units(gamma, 0.05, 0.95), noether_units(gamma, 0.05, 0.8)) == (n_95, n_80)


@pytest.mark.parametrize(
    ("bound", "n", "power"),
    [(0.5, 20, 0.39), (0.5, 30, 0.69), (0.5, 50, 0.93), (0.8, 20, 0.93), (1.0, 10, 0.80)],
)
def test_equivalence_has_the_tabulated_power(bound, n, power):
    assert tost_power(bound, 1.0, n, 0.05) == pytest.approx(power, abs=0.01)
    assert tost_power(3 * bound, 3.0, n, 0.05) == pytest.approx(tost_power(bound, 1.0, n, 0.05), rel=1e-12)


@pytest.mark.parametrize(("bound", "n", "alpha"), [(0.3, 8, 0.05), (0.6, 15, 0.01), (1.2, 6, 0.05)])
def test_equivalence_is_shown_as_often_as_planned(bound, n, alpha):
    samples = np.random.default_rng(5).standard_normal((100_000, n))
    half = stats.t.isf(alpha, n - 1) * samples.std(axis=1, ddof=1) / math.sqrt(n)
    share = float((np.abs(samples.mean(axis=1)) + half < bound).mean())
    assert_share(share, tost_power(bound, 1.0, n, alpha), 100_000)


def test_equivalence_at_the_edges():
    assert tost_power(0.1, 0.0, 5, 0.05) == 1.0
    assert tost_power(0.0, 1.0, 5, 0.05) == tost_power(0.5, 1.0, 1, 0.05) == 0.0
    assert tost_power(100.0, 1.0, 10, 0.05) == pytest.approx(1.0)
