"""Ranks over workloads, against Demsar's table and scikit-posthocs."""

import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from scipy import stats
from statsmodels.stats.multitest import multipletests

from study.statistics.contrast import NotEvaluableError
from study.statistics.descriptive.ranks import (
    critical_difference,
    iman_davenport,
    rank_families,
    workload_losses,
)
from tests.study.statistics.metrics.tables import confirmation, trials

NAMES = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
DEMSAR = pd.DataFrame(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.0, 1.0, 1.0, 1.0],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ],
    columns=NAMES,
)
"""Areas under the curve: higher is better."""


def test_mean_ranks_are_the_published_ones():
    found = rank_families(-DEMSAR).mean_ranks
    np.testing.assert_allclose([found[name] for name in NAMES], [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    assert next(iter(found)) == "C4.5+m+cf"


def test_friedman_is_corrected_for_ties():
    found = rank_families(-DEMSAR)
    assert found.chi_square == pytest.approx(10.2283, abs=5e-5)
    assert found.p == pytest.approx(0.01672, abs=5e-6)


def test_iman_and_davenport_is_the_published_one():
    mean_ranks = rank_families(-DEMSAR).mean_ranks
    chi_square = 12 * 14 / 20 * (sum(rank**2 for rank in mean_ranks.values()) - 4 * 25 / 4)
    assert chi_square == pytest.approx(9.279, abs=5e-4)
    f, p = iman_davenport(chi_square, 14, 4)
    assert f == pytest.approx(3.686, abs=5e-4)
    assert p == pytest.approx(stats.f.sf(f, 3, 39))


def test_critical_difference_is_the_published_one():
    assert critical_difference(4, 14) == pytest.approx(1.2536, abs=5e-5)


def test_critical_difference_is_where_nemenyi_turns_significant():
    found = rank_families(-DEMSAR)
    p = scikit_posthocs.posthoc_nemenyi_friedman(-DEMSAR)
    upper = p.to_numpy()[np.triu_indices(4, 1)]
    np.testing.assert_allclose(upper, [0.08867, 0.95618, 0.07418, 0.25923, 0.99986, 0.22670], atol=5e-6)
    for i, a in enumerate(NAMES):
        for b in NAMES[i + 1 :]:
            apart = abs(found.mean_ranks[a] - found.mean_ranks[b]) > found.critical_difference
            assert apart == (p.loc[a, b] < 0.05)


def test_groups_are_the_families_within_the_critical_difference():
    assert rank_families(-DEMSAR).groups == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)
    clear = pd.DataFrame(np.tile([1.0, 2.0, 3.0], (30, 1)) + np.arange(30)[:, None], columns=list("abc"))
    assert rank_families(clear).groups == ()


def test_pairs_are_sign_flip_tests_corrected_by_holm():
    found = {(pair.a, pair.b): pair for pair in rank_families(-DEMSAR).pairs}
    assert len(found) == 6
    first = found["C4.5", "C4.5+m+cf"]
    differences = (DEMSAR["C4.5"] - DEMSAR["C4.5+m+cf"]).to_numpy()
    oracle = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    assert first.p == pytest.approx(oracle.pvalue)
    assert first.difference == pytest.approx(differences.mean())
    adjusted = multipletests([pair.p for pair in found.values()], method="holm")[1]
    np.testing.assert_allclose([pair.p_adjusted for pair in found.values()], adjusted)


def test_the_same_order_everywhere_is_infinitely_significant():
    losses = pd.DataFrame(np.tile([1.0, 2.0, 3.0], (5, 1)), columns=list("abc"))
    assert rank_families(losses).f == np.inf
    assert rank_families(losses).p_f == 0.0


def test_families_that_tie_everywhere_have_no_statistic():
    found = rank_families(pd.DataFrame(np.ones((5, 3)), columns=list("abc")))
    assert np.isnan(found.chi_square)
    assert np.isnan(found.f)
    assert all(pair.p == 1.0 for pair in found.pairs)


def test_losses_are_means_of_the_confirmation_by_workload():
    data = trials(
        confirmation("a", [1.0, 3.0], workload="x"),
        confirmation("a", [2.0, 2.0], workload="y"),
        confirmation("b", [1.0, np.nan], workload="x"),
        confirmation("b", [4.0, 4.0], workload="y"),
    )
    expected = pd.DataFrame({"a": [2.0, 2.0], "b": [3.0, 4.0]}, index=["x", "y"])
    pd.testing.assert_frame_equal(workload_losses(data), expected)


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (pd.DataFrame(np.ones((5, 2))), "three families"),
        (pd.DataFrame(np.ones((1, 3))), "two workloads"),
        (pd.DataFrame([[1.0, 2.0, np.nan]] * 3), "every family on every workload"),
    ],
)
def test_too_small_a_table_has_no_ranks(losses, words):
    with pytest.raises(NotEvaluableError, match=words):
        rank_families(losses)
