import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from study.statistics.claims import Range
from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.divergence_rate import DIVERGENCE_RATE
from tests.study.statistics.metrics import tables


def surface(seed, rate, shape=(8, 16)):
    return np.where(np.random.default_rng(seed).uniform(size=shape) < rate, np.nan, 2.0)


def found(*frames: pd.DataFrame, a="a", b="b", **part: object):
    question = tables.question("divergence_rate", a=a, b=b, **part)
    return DIVERGENCE_RATE.contrast(tables.trials(*frames), question)


def designs(rate_a=0.1, rate_b=0.4, shape=(8, 16)):
    return tables.design("a", surface(1, rate_a, shape)), tables.design("b", surface(2, rate_b, shape))


def test_the_difference_is_bs_share_minus_as_by_replicate():
    a = tables.design("a", [[2.0, np.nan, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0]])
    b = tables.design("b", [[np.nan, np.nan, np.nan, 2.0], [np.nan, 2.0, 2.0, 2.0]])
    contrast = found(a, b)
    assert list(contrast.a_values) == [0.25, 0.0]
    assert list(contrast.b_values) == [0.75, 0.25]
    assert list(contrast.differences) == [0.5, 0.25]
    assert (contrast.unit, contrast.null, contrast.binary) == ("replicate", 0.0, False)


def test_a_cliff_in_the_learning_rate_diverges_beyond_it():
    """Learning rates even over four decades, a diverging on the last and b on the last two."""
    log_lr = np.tile(-4 + 4 * (np.arange(32) + 0.5) / 32, (3, 1))
    frames = [
        tables.design(name, np.where(log_lr > edge, np.nan, 2.0), params={"lr": 10**log_lr})
        for name, edge in (("a", -1.0), ("b", -2.0))
    ]
    contrast = found(*frames)
    np.testing.assert_allclose(contrast.a_values, 0.25)
    np.testing.assert_allclose(contrast.b_values, 0.5)


def test_a_finished_trial_without_a_finite_loss_diverged_and_a_capped_one_did_not():
    a = tables.design("a", [[2.0, 99.0]])
    b = tables.design("b", [[np.inf, 2.0]])
    contrast = found(a, b)
    assert list(contrast.differences) == [0.5]


def test_only_chosen_trials_count():
    lr = np.tile([1e-4, 1e-3, 1e-2, 1e-1], (2, 1))
    a = tables.design("a", np.tile([2.0, 2.0, np.nan, np.nan], (2, 1)), params={"lr": lr})
    b = tables.design("b", np.tile([2.0, np.nan, np.nan, np.nan], (2, 1)), params={"lr": lr})
    np.testing.assert_allclose(found(a, b, where={"lr": Range(high=1e-3)}).differences, 0.5)


def test_in_the_confirmation_each_seed_is_a_unit_and_mcnemar_reads_the_same_counts():
    losses_a = np.where(np.arange(20) < 2, np.nan, 2.0)
    losses_b = np.where((np.arange(20) >= 1) & (np.arange(20) < 9), np.nan, 2.0)
    frames = tables.confirmation("a", losses_a), tables.confirmation("b", losses_b)
    contrast = found(*frames, phase="confirmation")
    assert contrast.unit == "seed"
    assert set(contrast.a_values) == {0.0, 1.0}
    only_b, only_a = int((contrast.differences > 0).sum()), int((contrast.differences < 0).sum())
    assert (only_a, only_b) == (1, 7)
    oracle = mcnemar([[11, only_b], [only_a, 1]], exact=True).pvalue
    assert stats.binomtest(only_a, only_a + only_b).pvalue == pytest.approx(oracle, rel=1e-12)


def test_under_a_transformation_family_b_is_read_from_the_slice_of_the_claim():
    frames = [
        tables.design("a", [[2.0, 2.0]]),
        tables.design("b", [[2.0, 2.0]]),
        tables.design("b", [[2.0, np.nan]], slice="C1"),
    ]
    assert list(found(*frames, at=dict).differences) == [0.5]


def test_swapping_the_families_negates():
    frames = designs()
    forward, backward = found(*frames), found(*frames, a="b", b="a")
    pd.testing.assert_series_equal(forward.differences, -backward.differences)


def test_more_replicates_leave_the_first_ones_as_they_were():
    frames = designs()
    few = [frame[frame["replicate"] < 5] for frame in frames]
    pd.testing.assert_series_equal(found(*few).differences, found(*frames).differences.iloc[:5])


def test_other_phases_are_not_evaluable():
    with pytest.raises(NotEvaluableError, match="read in sensitivity or confirmation, not in lr_slice"):
        found(*designs(), phase="lr_slice")


def test_lost_trials_are_not_divergences():
    a, b = designs(shape=(50, 16))
    a.loc[[3, 90], "outcome"] = "out_of_memory"
    contrast = found(a, b)
    assert contrast.notes == ("2 of 800 planned pairs lack a half and are left out.",)
    assert contrast.a_values.iloc[0] == pytest.approx((a["outcome"][:16] == "diverged").sum() / 15)


def test_families_lost_at_different_rates_are_not_evaluable():
    a, b = designs(shape=(50, 16))
    a.loc[:11, "outcome"] = "infra_failed"
    with pytest.raises(NotEvaluableError, match=r"a lost 12 and b 0 trials .* differs by more than chance"):
        found(a, b)


def test_a_missing_pair_is_not_evaluable():
    a, b = designs()
    with pytest.raises(NotEvaluableError, match="16 of 128 planned pairs of a and b lack a half"):
        found(a, b[b["replicate"] != 7])


def test_a_stopped_trial_is_not_evaluable():
    a, b = designs()
    a.loc[0, "outcome"] = "stopped"
    with pytest.raises(NotEvaluableError, match="1 sensitivity trials of family a were stopped early"):
        found(a, b)
