"""Region of practical equivalence and almost stochastic order."""

import baycomp
import numpy as np
import pytest
from scipy import stats

from study.statistics.contrast import NotEvaluableError
from study.statistics.descriptive.bayes import almost_stochastic_order, rope_probabilities

DIFFERENCES = np.array([0.12, 0.05, 0.20, -0.03, 0.09, 0.15, 0.02, 0.11, -0.08, 0.04])


@pytest.mark.parametrize("rope", [0.0, 0.02, 0.05, 0.1])
def test_probabilities_are_those_of_baycomp(rope):
    oracle = baycomp.SignedRankTest(np.zeros(10), DIFFERENCES, rope, nsamples=20_000, random_state=1).probs()
    found = rope_probabilities(DIFFERENCES, rope)
    np.testing.assert_allclose((found.b_better, found.equal, found.a_better), oracle, atol=0.015)


def test_probabilities_sum_to_one_and_repeat():
    found = rope_probabilities(DIFFERENCES, 0.05)
    assert found.a_better + found.equal + found.b_better == pytest.approx(1.0)
    assert found == rope_probabilities(DIFFERENCES, 0.05)


def test_turning_the_differences_turns_the_answer():
    found, turned = rope_probabilities(DIFFERENCES, 0.05), rope_probabilities(-DIFFERENCES, 0.05)
    assert found.a_better == pytest.approx(turned.b_better)
    assert found.equal == pytest.approx(turned.equal)


def test_small_differences_are_practically_equal():
    assert rope_probabilities(DIFFERENCES / 100, 0.05).equal == 1.0


def test_no_units_have_no_posterior():
    with pytest.raises(NotEvaluableError, match="no units"):
        rope_probabilities([], 0.1)


@pytest.mark.parametrize(
    ("a", "b", "violation"),
    [
        ([1.0, 2.0], [3.0, 4.0], 0.0),
        ([3.0, 4.0], [1.0, 2.0], 1.0),
        ([1.0, 2.0], [1.0, 2.0], 0.5),
        ([0.0, 3.0], [1.0, 2.0], 0.5),
        ([0.0, 4.0], [1.0, 2.0], 0.8),
        ([0.0], [-1.0, 2.0], 0.2),
    ],
)
def test_violation_of_step_quantiles_by_hand(a, b, violation):
    assert almost_stochastic_order(a, b, resamples=10).violation == pytest.approx(violation)


def test_violation_of_two_normals_is_that_of_their_quantiles():
    t = (np.arange(4000) + 0.5) / 4000
    a, b = stats.norm.ppf(t, -0.2, 1.3), stats.norm.ppf(t, 0.0, 1.0)
    gaps = (a - b) ** 2
    expected = gaps[a > b].sum() / gaps.sum()
    assert almost_stochastic_order(a, b, resamples=2).violation == pytest.approx(expected)
    crossing = stats.norm.cdf(0.2 / 0.3)
    inside = stats.norm.expect(lambda z: (0.3 * z - 0.2) ** 2, lb=stats.norm.ppf(crossing))
    assert expected == pytest.approx(inside / (0.3**2 + 0.2**2), abs=0.01)


def test_upper_limit_lies_above_the_violation_and_within_zero_and_one():
    rng = np.random.default_rng(0)
    found = almost_stochastic_order(rng.normal(0, 1, 15), rng.normal(0.5, 1, 12))
    assert found.violation <= found.epsilon_min <= 1.0
    clear = almost_stochastic_order(rng.normal(0, 1, 15), rng.normal(9, 1, 12))
    assert clear.epsilon_min == 0.0
