"""Paired tests against scipy, pingouin, brute force and published values."""

import itertools
import math
import warnings

import numpy as np
import pingouin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from study.statistics.contrast import NotEvaluableError
from study.statistics.intervals import clopper_pearson
from study.statistics.paired import (
    MOST_EXACT,
    _share_of_all_signs,
    binomial_p,
    effect_size,
    effect_size_interval,
    mcnemar_p,
    sign_flip_p,
    t_p,
    win_score,
)

DIFFERENCES = (0.12, 0.05, 0.20, -0.03, 0.09, 0.15, 0.02, 0.11)
TESTS = (t_p, sign_flip_p)


def by_hand(values: np.ndarray) -> float:
    """Share of all assignments of signs that are at least as extreme, one by one."""
    sums = [abs(np.dot(signs, values)) for signs in itertools.product((-1.0, 1.0), repeat=len(values))]
    return sum(total >= abs(values.sum()) - 1e-12 for total in sums) / len(sums)


def test_the_worked_example_of_both_tests():
    assert sign_flip_p(DIFFERENCES) == 0.0234375
    assert t_p(DIFFERENCES) == pytest.approx(0.0112565, abs=5e-8)


def test_t_p_is_that_of_scipy_and_pingouin():
    rng = np.random.default_rng(1)
    a, b = rng.normal(1.0, 1.0, 14), rng.normal(0.7, 1.0, 14)
    assert t_p(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-12)
    assert t_p(a - b) == pytest.approx(float(pingouin.ttest(a, b, paired=True)["p_val"].iloc[0]), rel=1e-9)
    assert t_p(a - b, 0.4) == pytest.approx(stats.ttest_1samp(a - b, 0.4).pvalue, rel=1e-12)


def test_sign_flips_are_those_of_scipy():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.6, 1.0, 11), rng.normal(0.0, 1.0, 11)
    expected = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip_p(a - b) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_sign_flips_are_those_counted_by_hand(n):
    rng = np.random.default_rng(n)
    for values in (rng.normal(0.4, 1.0, n), rng.integers(-2, 4, n).astype(float)):
        assert sign_flip_p(values) == by_hand(values)


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5).map(lambda v: v / 10), min_size=1, max_size=20))
def test_an_exact_p_counts_whole_assignments_of_signs_and_ignores_order_and_orientation(values):
    p = sign_flip_p(values)
    assert 0.0 < p <= 1.0
    assert (p * 2 ** len(values)).is_integer()
    assert sign_flip_p(values[::-1]) == p
    assert sign_flip_p([-v for v in values]) == p


def test_units_that_all_favour_one_family_give_the_smallest_p():
    for n in (3, 10, 20, MOST_EXACT):
        assert sign_flip_p(np.linspace(1.0, 2.0, n)) == 2.0 ** (1 - n)


def test_random_flips_count_the_observed_signs_among_them():
    assert sign_flip_p(np.linspace(1.0, 2.0, 60)) == 1 / 100_001


def test_random_flips_agree_with_all_of_them():
    values = np.random.default_rng(5).normal(0.0, 1.0, MOST_EXACT + 4) + 0.6
    exact = _share_of_all_signs(values, abs(values.sum()) - 1e-9)
    assert 0.005 < exact < 0.2
    assert abs(sign_flip_p(values) - exact) < 4 * math.sqrt(exact * (1 - exact) / 1e5)
    assert sign_flip_p(values) == sign_flip_p(values)


def test_both_tests_keep_their_level_and_agree_under_the_null():
    rng, n = np.random.default_rng(6), 2000
    samples = rng.normal(0.0, 1.0, (n, 10))
    rejected = {test: sum(test(sample) <= 0.05 for sample in samples) for test in TESTS}
    for number in rejected.values():
        assert abs(number / n - 0.05) < 4 * math.sqrt(0.05 * 0.95 / n)


@pytest.mark.parametrize("null", [0.0, 0.5, -0.2])
def test_a_null_is_a_shift(null):
    shifted = np.array(DIFFERENCES) + null
    for test in TESTS:
        assert test(shifted, null) == pytest.approx(test(DIFFERENCES), rel=1e-9)
    assert effect_size(shifted, null) == pytest.approx(effect_size(DIFFERENCES), rel=1e-9)
    assert win_score(DIFFERENCES, 0.09) == 4.5


def test_differences_that_are_all_equal_are_an_answer():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same, other = [0.02] * 6, [0.1, 0.3 - 0.2, 0.1, 0.1, 0.1, 0.1]
        assert t_p(same, 0.02) == sign_flip_p(same, 0.02) == 1.0
        assert sign_flip_p([0.3 - 0.2] * 6, 0.1) == t_p([0.3 - 0.2] * 6, 0.1) == 1.0
        assert t_p(other) == 0.0
        assert sign_flip_p(other) == 2.0**-5
        assert effect_size(same, 0.02) == 0.0
        assert effect_size(other) == math.inf
        assert effect_size(other, 0.2) == -math.inf
        assert effect_size_interval(other, 0.95).low == -math.inf


def test_one_unit_shows_nothing_and_none_cannot_be_evaluated():
    assert t_p([3.0]) == sign_flip_p([3.0]) == 1.0
    assert math.isnan(effect_size([3.0]))
    for function in (*TESTS, effect_size, win_score):
        with pytest.raises(NotEvaluableError, match="no units"):
            function([])


def test_effect_size_is_pingouins():
    expected = pingouin.compute_effsize(np.array(DIFFERENCES), 0.0, eftype="cohen")
    assert effect_size(DIFFERENCES) == pytest.approx(expected, rel=1e-12)


def test_the_interval_of_an_effect_has_the_published_limits_of_a_noncentral_t():
    """Kelley (2007), Journal of Statistical Software 20: t = 2.83 with 126 degrees of freedom."""
    values = stats.zscore(np.random.default_rng(0).normal(size=127), ddof=1) + 2.83 / math.sqrt(127)
    found = effect_size_interval(values, 0.95)
    assert (found.low * math.sqrt(127), found.high * math.sqrt(127)) == pytest.approx(
        (0.8337502, 4.815359), abs=2e-5
    )


def test_the_interval_of_an_effect_turns_with_the_differences():
    found, turned = (effect_size_interval(sign * np.array(DIFFERENCES), 0.9) for sign in (1, -1))
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-8)
    assert found.low < effect_size(DIFFERENCES) < found.high


def test_a_large_effect_still_has_an_interval():
    found = effect_size_interval(10.0 + 0.01 * np.arange(10), 0.95)
    assert 0 < found.low < effect_size(10.0 + 0.01 * np.arange(10)) < found.high < math.inf


def test_wins_and_half_the_ties_are_counted():
    assert win_score([0.1, 0.0, -0.2, 0.3]) == 2.5
    assert win_score([1.0, 0.5, 0.0], 0.5) == 1.5


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 6), (8, 10), (29, 40)])
def test_binomial_p_is_scipys(hits, n):
    assert binomial_p(hits, n) == stats.binomtest(hits, n).pvalue


def test_half_a_hit_goes_to_the_side_that_is_behind():
    assert binomial_p(8.5, 10) == binomial_p(8, 10) > binomial_p(9, 10)
    assert binomial_p(1.5, 10) == binomial_p(2, 10)
    assert binomial_p(2.5, 5) == 1.0
    assert binomial_p(0, 0) == 1.0
    with pytest.raises(ValueError, match="6 hits in 5"):
        binomial_p(6, 5)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(0, 80), st.sampled_from([0.8, 0.95, 0.99]))
def test_binomial_p_and_the_exact_interval_decide_alike(n, doubled, level):
    hits = min(doubled, 2 * n) / 2
    interval = clopper_pearson(hits, n, level)
    assert (binomial_p(hits, n) <= 1 - level) == (not interval.low < 0.5 < interval.high)


def test_mcnemar_counts_discordant_pairs():
    assert mcnemar_p(1, 9) == 22 / 1024
    assert mcnemar_p(9, 1) == 22 / 1024
    assert mcnemar_p(4, 4) == mcnemar_p(0, 0) == 1.0
    with pytest.raises(ValueError, match="not negative"):
        mcnemar_p(-1, 2)
