"""One endpoint from paired differences to a verdict."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.statistics.claims import Direction, Part
from study.statistics.contrast import Contrast, NotEvaluableError
from study.statistics.endpoint import Endpoint, Plan, judge, p_value
from study.statistics.results import Grade, PartResult, Verdict
from study.statistics.sequential import confidence_sequence, nominal_levels, t_mixture_log_e

SAMPLE = np.array([0.12, 0.05, 0.20, -0.03, 0.09, 0.15, 0.02, 0.11])
LOOKS = (10, 20, 30)


def endpoint(
    values,
    *,
    looks=(),
    planned=None,
    unit="replicate",
    null=0.0,
    binary=False,
    b=None,
    anchors=(),
    **part: Any,
):
    series = pd.Series(np.asarray(values, dtype=float))
    return Endpoint(
        contrast=Contrast(
            differences=series,
            unit=unit,
            null=null,
            binary=binary,
            b_values=None if b is None else pd.Series(b),
            anchors=tuple(pd.Series(one) for one in anchors),
        ),
        part=Part(
            metric="tuned_loss", **({"direction": Direction.LESS, "sesoi": 0.1, "equivalence": 0.02} | part)
        ),
        plan=Plan(looks=looks, num_planned=planned, spending="obf", power=0.8),
    )


def judged(one: Endpoint, alpha: float = 0.05) -> PartResult:
    blank = PartResult(
        metric="tuned_loss",
        title="tuned loss",
        unit="nats",
        direction=one.part.direction,
        factor="",
        workload="w",
        a="a",
        b="b",
        verdict=Verdict.NOT_EVALUABLE,
    )
    return judge(one, blank, alpha)


def test_a_small_sample_has_the_known_tests_and_scipys_interval():
    found = judged(endpoint(SAMPLE))
    expected = stats.ttest_1samp(SAMPLE, 0).confidence_interval(0.95)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high))
    assert found.p_t == pytest.approx(0.0112565, abs=1e-7)
    assert found.p_signflip == pytest.approx(0.0234375)
    assert found.effect_size == pytest.approx(SAMPLE.mean() / SAMPLE.std(ddof=1))
    assert (found.verdict, found.grade) == (Verdict.SUPPORTED, Grade.MEANINGFUL)  # wins seven of eight
    assert (found.win_probability, found.n, found.n_unit) == (7 / 8, 8, "replicate")
    assert found.reason == f"The interval from {expected.low:.4g} to {expected.high:.4g} nats lies above 0."


def test_swapping_the_families_mirrors_the_result():
    there, back = judged(endpoint(SAMPLE)), judged(endpoint(-SAMPLE))
    assert (back.verdict, back.grade) == (Verdict.REFUTED, Grade.REVERSED)
    assert back.estimate == -there.estimate
    assert (back.ci_low, back.ci_high) == (-there.ci_high, -there.ci_low)
    assert (back.p_t, back.p_signflip) == (there.p_t, there.p_signflip)


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_another_unit_of_loss_changes_neither_p_nor_effect_size_nor_verdict(factor):
    there = judged(endpoint(SAMPLE))
    scaled = judged(endpoint(factor * SAMPLE, sesoi=0.1 * factor, equivalence=0.02 * factor))
    for name in ("p_t", "p_signflip", "effect_size"):
        assert getattr(scaled, name) == pytest.approx(getattr(there, name), rel=1e-9)
    assert (scaled.verdict, scaled.grade) == (there.verdict, there.grade)


def test_the_interval_and_the_p_decide_alike_at_every_level():
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(200):
        one = endpoint(rng.normal(rng.choice([0, 0.5, 1]), 1, 12), margin=0.2, sesoi=0.4, equivalence=None)
        found = judged(one, alpha=0.03)
        if not found.ci_kind.startswith("t over"):
            continue
        excluded = found.ci_low > 0.2 or found.ci_high < 0.2
        assert excluded == (p_value(one) < 0.03)
        seen.add(excluded)
    assert seen == {True, False}


def test_a_skewed_continuous_sample_has_a_bootstrap_t_interval_and_says_so():
    skewed = endpoint([0.1, 0.12, 0.15, 0.11, 0.2, 0.14, 0.13, 1.9, 0.1, 0.16])
    assert judged(skewed).ci_kind == "t over replicates"
    assert judged(replace(skewed, may_be_skewed=True)).ci_kind == "bootstrap-t over replicates"


def test_a_planned_look_has_the_interval_of_its_own_level():
    values = np.random.default_rng(0).normal(0.8, 1, 20)
    one = endpoint(values, looks=LOOKS, unit="seed", equivalence=None)
    found = judged(one)
    nominal = nominal_levels(LOOKS, 0.05, "obf")[1]
    expected = stats.ttest_1samp(values, 0).confidence_interval(1 - nominal)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high))
    assert found.level == pytest.approx(1 - nominal)
    assert (found.look, found.n, found.n_planned) == (2, 20, 30)
    assert found.ci_kind == "t over seeds at look 2 of 3"


def test_the_repeated_p_is_the_level_whose_boundary_the_look_just_meets():
    nominal = nominal_levels(LOOKS, 0.02, "obf")[1]
    values = np.random.default_rng(3).normal(0, 1, 20)
    values = (values - values.mean()) / values.std(ddof=1)
    shift = stats.t.isf(nominal / 2, 19) / math.sqrt(20)
    assert p_value(endpoint(values + shift, looks=LOOKS, unit="seed")) == pytest.approx(0.02, rel=0.02)


def test_a_number_of_seeds_that_was_never_planned_is_read_by_anytime_methods():
    values = np.random.default_rng(0).normal(1.0, 1, 25)
    one = endpoint(values, looks=LOOKS, unit="seed", equivalence=None)
    found = judged(one)
    expected = confidence_sequence(values, 0.05)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.low, expected.high))
    assert found.ci_kind == "t-mixture confidence sequence"
    assert found.look is None
    assert p_value(one) == pytest.approx(math.exp(-t_mixture_log_e(values)))
    assert found.e_value == pytest.approx(math.exp(t_mixture_log_e(values)))


def test_one_seed_lost_of_fifty_is_still_the_last_look():
    found = judged(endpoint(np.random.default_rng(0).normal(1, 1, 49), looks=(25, 50), unit="seed"))
    assert found.look == 2


def test_margins_may_be_relative_to_the_mean_of_family_b():
    b = np.full(8, 2.0)
    found = judged(endpoint(SAMPLE, b=b, relative=True, margin=0.01, sesoi=0.05, equivalence=0.005))
    assert (found.thresholds.margin, found.thresholds.sesoi, found.thresholds.equivalence) == (
        0.02,
        0.1,
        0.01,
    )
    with pytest.raises(NotEvaluableError, match="a relative margin needs"):
        judged(endpoint(SAMPLE, relative=True))


def test_a_non_inferiority_tests_against_minus_its_margin():
    found = judged(endpoint(SAMPLE - 0.1, direction=Direction.NONINFERIOR, margin=0.15, sesoi=0.15))
    assert found.p_t == pytest.approx(stats.ttest_1samp(SAMPLE - 0.1, -0.15).pvalue)
    assert found.verdict is Verdict.SUPPORTED
    assert found.thresholds.equivalence is None


def test_a_claim_of_equality_has_the_p_of_two_one_sided_tests():
    values = np.random.default_rng(2).normal(0.01, 0.05, 20)
    one = endpoint(values, direction=Direction.EQUIVALENT, sesoi=0.05, equivalence=0.05)
    lower = stats.ttest_1samp(values, -0.05, alternative="greater").pvalue
    upper = stats.ttest_1samp(values, 0.05, alternative="less").pvalue
    found = judged(one)
    assert found.p_t == pytest.approx(max(lower, upper))
    assert found.verdict is Verdict.EQUIVALENT
    assert found.e_value is None


def test_a_win_probability_has_an_exact_test_and_an_interval_of_a_share():
    scores = np.array([1.0] * 13 + [0.0] * 2)
    found = judged(endpoint(scores, null=0.5, binary=True, unit="seed", sesoi=0.25, equivalence=None))
    expected = stats.binomtest(13, 15)
    interval = expected.proportion_ci(0.95, "exact")
    assert found.p_t == found.p_signflip == pytest.approx(expected.pvalue)
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high))
    assert (found.verdict, found.grade) == (Verdict.SUPPORTED, Grade.MEANINGFUL)


def test_the_least_favourable_anchor_decides():
    weaker = SAMPLE - SAMPLE.mean()
    assert judged(endpoint(SAMPLE)).verdict is Verdict.SUPPORTED
    found = judged(endpoint(SAMPLE, anchors=(weaker, SAMPLE)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.p_t == pytest.approx(1.0)
    ends = [stats.ttest_1samp(values, 0).confidence_interval(0.95) for values in (SAMPLE, weaker)]
    assert (found.ci_low, found.ci_high) == pytest.approx((ends[1].low, ends[0].high))
    assert found.ci_low < found.estimate < found.ci_high
    assert p_value(endpoint(SAMPLE, anchors=(weaker,))) == pytest.approx(1.0)


def test_too_few_units_to_reach_the_level_are_no_evidence_either_way():
    with pytest.raises(
        NotEvaluableError, match=r"5 paired replicates cannot give a sign-flip p below 0\.0625"
    ):
        judged(endpoint(SAMPLE[:5]))
    with pytest.raises(NotEvaluableError, match="too few"):
        judged(endpoint(SAMPLE[:2]))
    with pytest.raises(NotEvaluableError, match="not a finite number"):
        judged(endpoint([*SAMPLE, math.nan]))


def test_what_is_inconclusive_tells_how_many_more_units_the_registered_effect_needs():
    values = np.random.default_rng(5).normal(0, 1, 10)
    found = judged(endpoint(values, sesoi=0.5, equivalence=None))
    spread = values.std(ddof=1) * math.sqrt(9 / stats.chi2.ppf(0.2, 9))
    total = found.n + found.extra
    reach = [
        spread * (stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)) / math.sqrt(n)
        for n in (total - 1, total)
    ]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert reach[0] > 0.5 >= reach[1]
    assert found.half_sesoi_n > 10


def test_a_disagreement_of_t_and_sign_flip_is_marked():
    values = np.array([0.9, 1.1, 1.0, 0.95, 1.05, -0.02])
    assert judged(endpoint(values, equivalence=None), alpha=0.05).fragile
    assert not judged(endpoint(SAMPLE, equivalence=None)).fragile


def test_families_that_never_differ_are_equivalent_and_never_supported():
    found = judged(endpoint(np.zeros(10)))
    assert found.verdict is Verdict.EQUIVALENT
    assert (found.p_t, found.p_signflip) == (1.0, 1.0)
