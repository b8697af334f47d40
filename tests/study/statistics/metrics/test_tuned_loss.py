from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.tuned_loss import TUNED_LOSS, tuned_loss
from tests.study.statistics.metrics import tables

LOSS_A = [2.10, 2.05, 1.98, 2.20, 2.07, 2.11]
LOSS_B = [2.30, 2.02, 2.10, 2.31, 2.15, 2.09]


def pair(a=LOSS_A, b=LOSS_B, **more: Any):
    return tables.trials(tables.confirmation("a", a, **more), tables.confirmation("b", b, **more))


def found(trials, **part: Any):
    return TUNED_LOSS.contrast(trials, tables.question("tuned_loss", **part))


def test_differences_are_b_minus_a_by_seed_in_the_order_of_replicates():
    contrast = found(pair())
    np.testing.assert_allclose(contrast.differences, np.subtract(LOSS_B, LOSS_A), rtol=1e-12)
    assert list(contrast.differences.index) == [1_000_000 + 1000 * r for r in range(6)]
    assert (contrast.unit, contrast.null, contrast.binary) == ("seed", 0.0, False)
    np.testing.assert_array_equal(contrast.a_values, LOSS_A)
    np.testing.assert_array_equal(contrast.b_values, LOSS_B)


def test_the_t_test_on_the_differences_is_scipys_paired_t_test():
    ours = stats.ttest_1samp(found(pair()).differences, 0.0)
    oracle = stats.ttest_rel(LOSS_B, LOSS_A)
    assert ours.statistic == pytest.approx(oracle.statistic, rel=1e-12)
    assert ours.pvalue == pytest.approx(oracle.pvalue, rel=1e-12)


def test_the_sign_flip_of_the_differences_is_scipys_paired_permutation():
    differences = found(pair()).differences.to_numpy()
    flips = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    means = (flips * differences).mean(axis=1)
    ours = np.mean(np.abs(means) >= abs(differences.mean()) - 1e-12)
    oracle = stats.permutation_test(
        (LOSS_B, LOSS_A), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
    )
    assert ours == pytest.approx(oracle.pvalue, rel=1e-12)


def test_a_diverged_seed_counts_with_the_loss_at_initialisation():
    contrast = found(pair(a=[2.0, np.nan, 2.0], b=[2.5, 2.5, 2.5]))
    np.testing.assert_allclose(contrast.differences, [0.5, 2.5 - tables.INIT, 0.5])


def test_a_loss_above_initialisation_is_capped():
    contrast = found(pair(a=[2.0, 2.0], b=[9.0, 7.0]))
    np.testing.assert_allclose(contrast.b_values, [tables.INIT, tables.INIT])


def test_swapping_the_families_negates():
    forward, backward = found(pair()), found(pair(), a="b", b="a")
    pd.testing.assert_series_equal(forward.differences, -backward.differences)


def test_more_seeds_leave_the_first_ones_as_they_were():
    few, many = found(pair()), found(pair(a=[*LOSS_A, 1.9], b=[*LOSS_B, 2.4]))
    pd.testing.assert_series_equal(many.differences.iloc[:6], few.differences)


def test_rows_in_any_order_and_twice_change_nothing():
    frame = tables.table(tables.confirmation("a", LOSS_A), tables.confirmation("b", LOSS_B))
    shuffled = pd.concat([frame, frame]).sample(frac=1.0, random_state=3)
    pd.testing.assert_series_equal(found(tables.trials(shuffled)).differences, found(pair()).differences)


def test_a_seed_with_several_trials_counts_once_with_their_mean():
    twice = tables.table(
        tables.confirmation("a", [2.0, 3.0]),
        tables.confirmation("a", [2.4, 3.4], point=1, seed=1_000_000),
    )
    twice["seed"] = 7
    assert tuned_loss(tables.trials(twice).frame).to_dict() == {7: pytest.approx(2.7)}


def test_under_a_transformation_family_b_is_read_from_the_slice_of_the_claim():
    trials = tables.trials(
        tables.confirmation("a", LOSS_A),
        tables.confirmation("b", [4.0] * 6),
        tables.confirmation("b", LOSS_B, slice="C1"),
    )
    contrast = found(trials, at=dict)
    np.testing.assert_array_equal(contrast.b_values, LOSS_B)


def test_a_transformation_without_trials_laid_out_for_it_is_not_evaluable():
    with pytest.raises(NotEvaluableError, match="no confirmation trials of family b"):
        found(pair(), at=dict)


def test_a_claim_on_one_family_is_not_evaluable():
    with pytest.raises(NotEvaluableError, match="tuned_loss compares two families"):
        found(pair(), b="")


def test_unpaired_seeds_are_not_evaluable():
    trials = tables.trials(tables.confirmation("a", LOSS_A), tables.confirmation("b", LOSS_B, seed=5))
    with pytest.raises(NotEvaluableError, match="share no replicate and point and seed"):
        found(trials)


def test_a_missing_pair_is_not_evaluable():
    trials = tables.trials(tables.confirmation("a", LOSS_A), tables.confirmation("b", LOSS_B[:5]))
    with pytest.raises(NotEvaluableError, match="1 of 6 planned pairs of a and b lack a half, more than 2 %"):
        found(trials)


def test_a_stopped_trial_is_not_evaluable():
    frame = tables.confirmation("a", LOSS_A)
    frame.loc[2, "outcome"] = "stopped"
    with pytest.raises(NotEvaluableError, match="1 confirmation trials of family a were stopped early"):
        found(tables.trials(frame, tables.confirmation("b", LOSS_B)))


def test_one_lost_pair_of_fifty_is_left_out_and_told():
    a = tables.confirmation("a", np.full(50, 2.0))
    a.loc[0, ["outcome", "value"]] = ["infra_failed", np.nan]
    contrast = found(tables.trials(a, tables.confirmation("b", np.full(50, 2.5))))
    assert contrast.differences.size == 49
    assert contrast.notes == ("1 of 50 planned pairs lack a half and are left out.",)


def test_a_family_lost_more_often_than_by_chance_is_not_evaluable():
    a = tables.confirmation("a", np.full(400, 2.0))
    a.loc[:7, "outcome"] = "out_of_memory"
    with pytest.raises(NotEvaluableError, match="lost 8 and b 0 trials to their surroundings"):
        found(tables.trials(a, tables.confirmation("b", np.full(400, 2.0))))


def test_a_search_is_no_confirmation():
    search = tables.table(*(tables.confirmation(name, LOSS_A, phase="search") for name in "ab"))
    with pytest.raises(NotEvaluableError, match="no confirmation trials of family a"):
        found(tables.trials(search))
