"""V- and U-statistics of the expected best of k trials."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opda.nonparametric import EmpiricalDistribution

from study.statistics.descriptive.tuning_estimators import u_curve, u_weights, v_curve, v_weights

SCORES = [0.1, 0.8, 0.5, 0.4, 0.6]
SIZES = st.tuples(st.integers(1, 400), st.integers(1, 500))


def test_known_values():
    np.testing.assert_allclose(
        v_curve(SCORES, [1, 2, 5], better="greater"), [0.48, 0.608, 0.725568], rtol=1e-12
    )
    np.testing.assert_allclose(u_curve(SCORES, [1, 2, 5], better="greater"), [0.48, 0.64, 0.8], rtol=1e-12)


@pytest.mark.parametrize("better", ["less", "greater"])
def test_curves_are_those_of_opda(better):
    scores = np.random.default_rng(0).normal(size=50)
    oracle, ks = EmpiricalDistribution(scores), [1, 2, 3, 8, 20, 50, 80]
    minimize = better == "less"
    np.testing.assert_allclose(
        v_curve(scores, ks, better=better), oracle.v_tuning_curve(ks, minimize=minimize)
    )
    np.testing.assert_allclose(
        u_curve(scores, ks, better=better), oracle.u_tuning_curve(ks, minimize=minimize)
    )


def test_weights_of_subsets_are_counted_exactly():
    expected = [comb(j - 1, 3) / comb(30, 4) for j in range(1, 31)]
    np.testing.assert_allclose(u_weights(30, 4), expected, rtol=1e-12)


@given(SIZES)
def test_weights_sum_to_one_and_favour_the_better(sizes):
    for weigh in (u_weights, v_weights):
        weights = weigh(*sizes)
        assert weights.sum() == pytest.approx(1.0)
        assert (weights >= 0).all()
        assert (np.diff(weights) >= -1e-12).all()


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40), st.sampled_from([u_curve, v_curve]))
def test_more_trials_are_never_worse(losses, curve):
    best = curve(losses, range(1, len(losses) + 1), better="less")
    assert (np.diff(best) <= 1e-9 * (1 + np.abs(best[1:]))).all()
    assert best[0] == pytest.approx(np.mean(losses), abs=1e-9)


@pytest.mark.parametrize("sizes", [(0, 1), (3, 0)])
def test_no_trials_and_no_budget_have_no_curve(sizes):
    for weigh in (u_weights, v_weights):
        with pytest.raises(ValueError, match="needs one trial"):
            weigh(*sizes)
