import numpy as np
import pytest

from study.statistics.contrast import NotEvaluableError
from study.statistics.descriptive.lr_sensitivity import (
    cross_fit_parts,
    lr_sensitivity,
    plug_in_sensitivity,
)
from tests.study.statistics.metrics import tables

GRID = {"low": -4.0, "high": -0.5, "step": 0.5}
BY_HAND = [3.0, 2.5, 2.2, 2.1, 2.3, 9.0, np.nan]
"""Losses at seven learning rates, the loss at initialisation being 5: the mean of the capped ones is 22.1 / 7."""


def trials(losses, **more: object):
    """Slices from losses of shape (replicates, 7), all on one grid."""
    losses = np.atleast_2d(losses)

    def loss(x, r):
        return losses[r, round((x - GRID["low"]) / GRID["step"])]

    return tables.trials(tables.lr_slices("a", loss, **GRID, offsets=[0.0] * len(losses), **more))


def of(losses):
    return lr_sensitivity(trials(losses), "a", tables.WORKLOAD)


def test_the_hand_example():
    found = of(BY_HAND)
    assert found.plug_in == pytest.approx(1.0571428571, abs=1e-10)
    assert (found.cross_fit, found.plug_in_se, found.noise, found.num_replicates) == (None, None, None, 1)
    assert found.span == pytest.approx(5 - 2.1)


def test_equal_seeds_have_the_same_sensitivity_both_ways_and_no_error():
    found = of([BY_HAND] * 4)
    assert found.plug_in == pytest.approx(1.0571428571, abs=1e-10)
    assert found.cross_fit == pytest.approx(1.0571428571, abs=1e-10)
    assert found.plug_in_se == pytest.approx(0.0, abs=1e-12)
    assert found.cross_fit_se == pytest.approx(0.0, abs=1e-12)
    assert found.noise == pytest.approx(0.0, abs=1e-12)


def test_two_seeds_are_scored_where_the_other_is_best():
    """Best of seed 1 is lr 0, of seed 2 it is lr 1; scored on the other: 2 and 3, against means of 2 and 5/3."""
    capped = np.array([[1.0, 2.0, 3.0], [3.0, 0.0, 2.0]])
    np.testing.assert_allclose(cross_fit_parts(capped), [2 - 2, 5 / 3 - 3])
    assert plug_in_sensitivity(capped) == pytest.approx((2 + 1 + 2.5) / 3 - 1)


def test_a_flat_curve_with_noise_looks_sensitive_by_plug_in_and_not_by_cross_fit():
    """The expected minimum of 7 normal means is 1.352 standard errors below their mean."""
    rng = np.random.default_rng(4)
    plug_in, cross_fit = [], []
    for _ in range(400):
        capped = rng.normal(3.0, 0.3, (10, 7))
        plug_in.append(plug_in_sensitivity(capped))
        cross_fit.append(cross_fit_parts(capped).mean())
    assert np.mean(plug_in) == pytest.approx(1.3522 * 0.3 / np.sqrt(10), rel=0.05)
    assert np.mean(cross_fit) == pytest.approx(0.0, abs=4 * np.std(cross_fit) / 20)


def test_errors_are_those_of_a_mean_where_the_best_learning_rate_is_clear():
    """Then the sensitivity is a mean over seeds of mean loss minus one loss, of variance 6/7 of the noise's."""
    curve = np.array([3.0, 2.5, 1.0, 2.5, 3.0, 3.5, 3.5])
    found = of(curve + np.random.default_rng(5).normal(0.0, 0.1, (100, 7)))
    assert found.noise == pytest.approx(0.1 / 10, rel=0.1)
    assert found.plug_in_se == pytest.approx(0.1 / 10 * np.sqrt(6 / 7), rel=0.2)
    assert found.cross_fit_se == pytest.approx(found.plug_in_se, rel=0.05)
    assert found.plug_in == pytest.approx(found.cross_fit, rel=1e-12)
    assert "makes the plug-in too high" in found.note


def test_one_replicate_says_that_its_noise_is_unknown():
    assert "One replicate tells nothing of the noise" in of(BY_HAND).note


def test_the_bootstrap_is_repeatable_and_moves_with_its_seed():
    table = trials(np.random.default_rng(6).normal(3.0, 0.3, (6, 7)))
    first, again, other = (
        lr_sensitivity(table, "a", tables.WORKLOAD, seed=seed).plug_in_se for seed in (1, 1, 2)
    )
    assert first == again != other


def test_one_seed_has_no_cross_fit():
    with pytest.raises(NotEvaluableError, match="leaves no other on which to choose"):
        cross_fit_parts(np.ones((1, 3)))


def test_a_family_without_slices_is_not_evaluable():
    with pytest.raises(NotEvaluableError, match="no lr_slice trials of family b"):
        lr_sensitivity(trials(BY_HAND), "b", tables.WORKLOAD)
