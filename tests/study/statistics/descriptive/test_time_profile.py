"""AlgoPerf's profile and score."""

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from scipy import integrate

from study.statistics.contrast import NotEvaluableError
from study.statistics.descriptive.time_profile import (
    arrival_curve,
    arrival_times,
    profile_scores,
    time_profiles,
    time_ratios,
)
from tests.study.statistics.metrics.tables import confirmation, trials

INF = np.inf


def test_score_of_the_hand_example_is_five_sixths_for_both():
    np.testing.assert_allclose(profile_scores(time_ratios([[1, 2], [2, 1]])), 5 / 6)


def test_score_is_the_integral_of_the_profile():
    times = {("a", "x"): [3.0], ("a", "y"): [5.0], ("a", "z"): [INF]}
    times |= {("b", "x"): [2.0], ("b", "y"): [9.0], ("b", "z"): [7.0]}
    for profile in time_profiles(times, resamples=1):
        knots = [r for r in profile.ratios if 1 < r < 4]
        area, _ = integrate.quad(profile.fraction, 1, 4, points=knots)
        assert profile.score == pytest.approx(area / 3)


def test_a_target_that_nobody_reaches_scores_nothing():
    ratios = time_ratios([[1.0, INF], [INF, INF]])
    np.testing.assert_array_equal(ratios, [[1.0, INF], [INF, INF]])
    np.testing.assert_allclose(profile_scores(ratios), [0.5, 0.0])


def test_a_target_reached_before_the_first_step_is_the_fastest():
    np.testing.assert_array_equal(time_ratios([[0.0], [10.0], [INF]]), [[1.0], [INF], [INF]])


def test_medians_count_a_miss_as_infinite():
    times = {("a", "x"): [10.0, INF, 30.0], ("b", "x"): [20.0, INF], ("c", "x"): [10.0, 30.0]}
    found = {profile.family: profile.medians["x"] for profile in time_profiles(times, resamples=1)}
    assert found == {"a": 30.0, "b": INF, "c": 20.0}


def test_profiles_come_best_first_with_an_interval_around_the_score():
    rng = np.random.default_rng(0)
    times = {(f, w): rng.uniform(low, low + 40, 11) for f, low in (("slow", 60), ("fast", 20)) for w in "xyz"}
    fast, slow = time_profiles(times, resamples=200)
    assert (fast.family, slow.family) == ("fast", "slow")
    assert slow.interval.low <= slow.score <= slow.interval.high < 1
    assert fast.num_seeds == 11


def test_families_are_compared_on_the_same_workloads():
    with pytest.raises(NotEvaluableError, match="family b has no times on y"):
        time_profiles({("a", "x"): [1.0], ("a", "y"): [1.0], ("b", "x"): [1.0]})


def test_arrivals_are_read_from_the_curves_of_the_confirmation():
    frames = [confirmation("a", [1.0, 1.0], workload="x"), confirmation("b", [1.0, np.nan], workload="x")]
    names = pd.concat(frames)["trial"].tolist()
    curves = pd.DataFrame(
        [
            {"trial": name, "step": step, "value": value}
            for name, values in zip(names, [(3, 2, 1), (3, 3, 3), (3, 1, 1)], strict=False)
            for step, value in zip((0, 50, 100), values, strict=True)
        ]
    )
    found = arrival_times(trials(*frames, curves=curves), {"x": 2.0})
    assert {key: values.tolist() for key, values in found.items()} == {
        ("a", "x"): [50.0, INF],
        ("b", "x"): [50.0, INF],
    }


def test_without_curves_there_are_no_arrivals():
    with pytest.raises(NotEvaluableError, match="there are none"):
        arrival_times(trials(confirmation("a", [1.0])), {"tiny": 2.0})


def test_arrival_curve_is_one_minus_kaplan_and_meier():
    times = np.array([20.0, 20.0, 40.0, INF, 80.0, INF])
    found = arrival_curve(times)
    fitted = KaplanMeierFitter().fit(np.minimum(times, 100), times < 100)
    expected = 1 - fitted.survival_function_at_times(found.index).to_numpy()
    np.testing.assert_allclose(found.to_numpy(), expected)
    assert found.iloc[-1] == pytest.approx(4 / 6)
