from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from study.statistics.contrast import NotEvaluableError
from study.statistics.descriptive.performance_profile import performance_profile, profile_difference
from study.statistics.metrics import space_score
from tests.study.statistics.metrics import tables

TAUS = (1.5, 2.0, 3.0, 4.0, 5.0)


def losses(seed, shape=(8, 16)):
    return np.random.default_rng(seed).uniform(1.5, 7.0, shape)


def trials():
    return tables.trials(tables.design("a", losses(1)), tables.design("b", losses(2)))


def test_points_are_the_empirical_distribution_of_the_capped_losses():
    profile = performance_profile(trials(), "a", tables.WORKLOAD, taus=TAUS)
    oracle = stats.ecdf(np.minimum(losses(1), tables.INIT).ravel()).cdf.evaluate(np.array(TAUS))
    np.testing.assert_allclose(profile.fraction, oracle, rtol=1e-12)
    assert (profile.num_replicates, profile.family, profile.versus, profile.level) == (8, "a", "", 0.95)


def test_the_area_under_the_curve_up_to_initialisation_is_the_space_score():
    taus = tables.INIT * (np.arange(500) + 0.5) / 500
    few = tables.trials(tables.design("a", losses(3, (2, 4))))
    profile = performance_profile(few, "a", tables.WORKLOAD, taus=taus)
    area = profile.fraction.mean() * tables.INIT
    score = space_score.space_score(few.frame, 3.0).mean()
    assert area / 3.0 == pytest.approx(score, abs=0.004)


def test_the_curve_rises_to_one_and_its_band_holds_it_within_zero_and_one():
    profile = performance_profile(trials(), "a", tables.WORKLOAD)
    assert (np.diff(profile.fraction) >= 0).all()
    assert profile.fraction[-1] == 1.0
    assert (profile.low <= profile.fraction).all()
    assert (profile.fraction <= profile.high).all()
    assert profile.low.min() >= 0.0
    assert profile.high.max() <= 1.0
    assert profile.tau[0] == losses(1).min()


def test_the_band_is_wider_than_the_pointwise_interval():
    profile = performance_profile(trials(), "a", tables.WORKLOAD, taus=TAUS)
    shares = (np.minimum(losses(1), tables.INIT) <= 3.0).mean(axis=1)
    pointwise = stats.t.isf(0.025, 7) * stats.sem(shares)
    half = (profile.high - profile.low)[2] / 2
    assert half > 1.2 * pointwise


def test_the_difference_is_that_of_the_curves_and_swapping_mirrors_it():
    table = trials()
    curves = [performance_profile(table, name, tables.WORKLOAD, taus=TAUS).fraction for name in "ab"]
    forward = profile_difference(table, "a", "b", tables.WORKLOAD, taus=TAUS)
    backward = profile_difference(table, "b", "a", tables.WORKLOAD, taus=TAUS)
    np.testing.assert_allclose(forward.fraction, curves[0] - curves[1], atol=1e-12)
    np.testing.assert_allclose(forward.low, -backward.high, atol=1e-12)
    assert (forward.family, forward.versus) == ("a", "b")


def test_the_band_of_the_difference_holds_the_whole_truth_at_its_level():
    """Two equal families: the difference is 0 at every target; 120 tables, 90 % bands, four standard errors."""
    rng = np.random.default_rng(8)
    table = tables.trials(*(tables.design(name, np.ones((10, 4))) for name in "ab"))
    held = 0
    for _ in range(120):
        drawn = replace(table, frame=table.frame.assign(capped=rng.uniform(1.5, 7.0, 80)))
        band = profile_difference(drawn, "a", "b", tables.WORKLOAD, taus=(2.0, 3.0, 4.0), level=0.9)
        held += bool((band.low <= 0).all() and (band.high >= 0).all())
    assert held / 120 == pytest.approx(0.9, abs=4 * np.sqrt(0.9 * 0.1 / 120))


def test_targets_are_sorted():
    profile = performance_profile(trials(), "a", tables.WORKLOAD, taus=(4.0, 2.0))
    assert list(profile.tau) == [2.0, 4.0]


def test_a_family_without_a_design_is_not_evaluable():
    with pytest.raises(NotEvaluableError, match="no sensitivity trials of family c"):
        performance_profile(trials(), "c", tables.WORKLOAD)


def test_unpaired_designs_have_no_difference():
    table = tables.trials(tables.design("a", losses(1)), tables.design("b", losses(2), seed=3))
    with pytest.raises(NotEvaluableError, match="share no replicate and point and seed"):
        profile_difference(table, "a", "b", tables.WORKLOAD)
