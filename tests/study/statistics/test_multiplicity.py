"""Corrections against statsmodels, scipy, hand-worked examples and their promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from study.statistics.multiplicity import HolmStep, benjamini_hochberg, e_bh, holm_levels

EXAMPLE = (0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216)
few = settings(max_examples=10, deadline=None)  # statsmodels collects garbage at every call
P_VALUES = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=12)


def test_the_worked_example_of_holm():
    steps = holm_levels(EXAMPLE, 0.05)
    assert [step.adjusted_p for step in steps] == pytest.approx([0.01, 0.072, *[0.312] * 5, *[0.615] * 3])
    assert [step.rejected for step in steps] == [True] + [False] * 9
    assert [step.level for step in steps] == pytest.approx([0.005] + [0.05 / 9] * 9)


def test_levels_follow_the_rank_and_stop_at_the_first_failure():
    steps = holm_levels((0.03, 0.001, 0.2, 0.011), 0.05)
    assert [step.level for step in steps] == pytest.approx([0.025, 0.0125, 0.025, 0.05 / 3])
    assert [step.rejected for step in steps] == [False, True, False, True]


def test_the_last_claim_has_the_whole_level_where_all_others_are_rejected():
    steps = holm_levels((0.04, 0.001, 0.002), 0.05)
    assert [step.level for step in steps] == pytest.approx([0.05, 0.05 / 3, 0.025])
    assert all(step.rejected for step in steps)


def test_a_claim_without_p_counts_among_the_others_and_is_never_rejected():
    steps = holm_levels((0.02, None, math.nan), 0.05)
    assert steps[0] == HolmStep(level=0.05 / 3, adjusted_p=pytest.approx(0.06), rejected=False)
    assert [step.rejected for step in steps[1:]] == [False, False]
    assert [step.adjusted_p for step in steps[1:]] == [1.0, 1.0]
    assert holm_levels((0.01, None), 0.05)[1] == HolmStep(level=0.05, adjusted_p=1.0, rejected=False)


@few
@given(P_VALUES)
def test_holm_is_that_of_statsmodels_and_never_below_p(p):
    steps = holm_levels(p, 0.05)
    rejected, adjusted, *_ = multipletests(p, alpha=0.05, method="holm")
    assert [step.rejected for step in steps] == list(rejected)
    assert [step.adjusted_p for step in steps] == pytest.approx(adjusted.tolist(), rel=1e-12)
    assert all(step.adjusted_p >= value for step, value in zip(steps, p, strict=True))
    assert all(step.rejected == (value <= step.level) for step, value in zip(steps, p, strict=True))


def test_holm_rejects_any_of_ten_true_nulls_as_rarely_as_promised():
    p = np.random.default_rng(4).random((3000, 10))
    wrong = sum(any(step.rejected for step in holm_levels(row.tolist(), 0.05)) for row in p)
    truth = 1 - (1 - 0.005) ** 10
    assert abs(wrong / 3000 - truth) < 4 * math.sqrt(truth * (1 - truth) / 3000)


def test_the_worked_example_of_benjamini_and_hochberg():
    adjusted = benjamini_hochberg(EXAMPLE)
    expected = [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.74 / 7, 0.216, 0.216, 0.216]
    assert adjusted == pytest.approx(expected, rel=1e-12)
    assert sum(p <= 0.05 for p in adjusted) == 2


@few
@given(P_VALUES)
def test_benjamini_and_hochberg_is_that_of_statsmodels(p):
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1].tolist(), rel=1e-12)


def test_a_missing_p_counts_as_one():
    assert benjamini_hochberg((0.01, None)) == pytest.approx((0.02, 1.0))


def test_e_bh_rejects_the_largest_k_that_are_large_enough():
    assert e_bh((100.0, 1.0, 30.0, 0.5), 0.05) == (True, False, False, False)
    assert e_bh((100.0, 1.0, 40.0, 0.5), 0.05) == (True, False, True, False)
    assert e_bh((math.inf, None, math.nan), 0.05) == (True, False, False)
    assert e_bh((19.0,), 0.05) == (False,)


@few
@given(P_VALUES)
def test_e_bh_on_inverse_p_values_is_benjamini_and_hochberg(p):
    rejected = multipletests(p, alpha=0.05, method="fdr_bh")[0]
    assert list(e_bh([1 / value for value in p], 0.05)) == list(rejected)


def test_nothing_to_correct_gives_nothing():
    assert holm_levels((), 0.05) == benjamini_hochberg(()) == e_bh((), 0.05) == ()
