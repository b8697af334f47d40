import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.usable_mass import USABLE_MASS
from tests.study.statistics.metrics import tables


def losses(seed, shape=(6, 8)):
    return np.random.default_rng(seed).uniform(1.5, 7.0, shape)


def found(losses_a, losses_b, tau=3.0, a="a", b="b"):
    trials = tables.trials(tables.design("a", losses_a), tables.design("b", losses_b))
    question = tables.question("usable_mass", direction="greater", tau=tau, a=a, b=b)
    return USABLE_MASS.contrast(trials, question)


def test_a_quadratic_basin_has_the_mass_of_its_width():
    """Loss 2 + (log lr + 3)^2 on log lr uniform over 4 decades is below 2 + .25 on a quarter of them."""
    log_lr = -5 + 4 * (np.arange(400) + 0.5) / 400
    basin = np.tile(2 + (log_lr + 3) ** 2, (3, 1))
    narrow = np.tile(2 + 4 * (log_lr + 3) ** 2, (3, 1))
    contrast = found(basin, narrow, tau=2.25)
    np.testing.assert_allclose(contrast.a_values, 1 / 4)
    np.testing.assert_allclose(contrast.b_values, 1 / 8)
    np.testing.assert_allclose(contrast.differences, 1 / 8)
    assert contrast.unit == "replicate"


def test_a_loss_equal_to_the_target_reaches_it_and_a_diverged_trial_does_not():
    contrast = found([[3.0, np.nan, 3.1, 2.9]], [[4.0, 4.0, 4.0, 4.0]])
    assert list(contrast.a_values) == [0.5]


def test_points_are_the_empirical_distribution_at_the_target():
    a = losses(1)
    for replicate, value in found(a, losses(2)).a_values.items():
        assert value == pytest.approx(stats.ecdf(a[replicate]).cdf.evaluate(3.0), rel=1e-12)


def test_swapping_the_families_negates():
    forward, backward = found(losses(1), losses(2)), found(losses(1), losses(2), a="b", b="a")
    pd.testing.assert_series_equal(forward.differences, -backward.differences)


def test_more_replicates_leave_the_first_ones_as_they_were():
    few = found(losses(1), losses(2))
    many = found(np.vstack([losses(1), losses(3)]), np.vstack([losses(2), losses(4)]))
    pd.testing.assert_series_equal(many.differences.iloc[:6], few.differences)


def test_a_target_that_nobody_reaches_is_not_evaluable():
    with pytest.raises(NotEvaluableError, match="tau = 1 nats is not reached by any trial of either family"):
        found(losses(1), losses(2), tau=1.0)


def test_a_target_that_one_family_reaches_is_evaluable():
    assert list(found([[2.0, 4.0]], [[4.0, 4.0]]).differences) == [0.5]


def test_without_a_target_there_is_no_mass():
    with pytest.raises(NotEvaluableError, match="usable_mass needs a target loss tau"):
        found(losses(1), losses(2), tau=None)


def test_unpaired_seeds_are_not_evaluable():
    trials = tables.trials(tables.design("a", losses(1)), tables.design("b", losses(2), seed=1))
    with pytest.raises(NotEvaluableError, match="share no replicate and point and seed"):
        USABLE_MASS.contrast(trials, tables.question("usable_mass", direction="greater", tau=3.0))


def test_a_missing_pair_is_not_evaluable():
    with pytest.raises(NotEvaluableError, match="8 of 48 planned pairs"):
        found(losses(1), losses(2)[:5])


def test_under_a_transformation_family_b_is_read_from_the_slice_of_the_claim():
    trials = tables.trials(
        tables.design("a", [[2.0, 2.0]]),
        tables.design("b", [[2.0, 2.0]]),
        tables.design("b", [[2.0, 4.0]], slice="C1"),
    )
    question = tables.question("usable_mass", direction="greater", tau=3.0, at=dict)
    assert list(USABLE_MASS.contrast(trials, question).differences) == [0.5]
