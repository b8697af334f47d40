"""Sensitivity across workloads."""

import numpy as np
import pandas as pd
import pytest

from study.statistics.contrast import NotEvaluableError
from study.statistics.descriptive.cross_workload import (
    Grid,
    cross_fit,
    effective_dimension,
    normalised_scores,
    plane,
    sensitivity,
    shared_grid,
)
from tests.study.statistics.metrics.tables import confirmation, row, trials

SETTINGS = pd.DataFrame({"lr": [1, 1, 2, 2], "rank": [4, 8, 4, 8]})


def grid(expected, *, noise=0.0, replicates=8, seed=0, settings=SETTINGS):
    """Losses around `expected` (workloads x settings)."""
    expected = np.asarray(expected, dtype=float)
    drawn = noise * np.random.default_rng(seed).standard_normal((*expected.shape, replicates))
    workloads = tuple(f"w{e}" for e in range(len(expected)))
    return Grid(settings=settings, workloads=workloads, losses=expected[..., None] + drawn)


def test_sensitivity_by_hand():
    assert sensitivity(np.array([[1.0, 0.6, 0.0], [0.0, 0.6, 1.0]])) == pytest.approx(1.0 - 0.6)


def test_one_setting_that_is_best_everywhere_has_no_sensitivity():
    assert sensitivity(np.array([[1.0, 0.6], [0.9, 0.1]])) == 0.0


def test_cross_fit_of_scores_without_noise_is_the_plug_in():
    scores = np.array([[1.0, 0.6, 0.0], [0.0, 0.6, 1.0]])
    assert cross_fit(scores, scores) == (1.0, pytest.approx(sensitivity(scores)))


def test_noise_alone_makes_the_plug_in_sensitive_but_not_the_cross_fit():
    rng = np.random.default_rng(0)
    plug_in, crossed = [], []
    for _ in range(400):
        halves = rng.standard_normal((2, 3, 10))
        plug_in.append(sensitivity(halves.mean(axis=0)))
        crossed.append(cross_fit(*halves)[1])
    assert np.mean(plug_in) > 0.4
    assert abs(np.mean(crossed)) < 3 * np.std(crossed) / 20


def test_dimension_counts_what_must_be_tuned_per_workload():
    lr_only = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.9, 0.9]])
    both = np.array([[1.0, 0.5, 0.5, 0.0], [0.0, 0.5, 0.5, 0.9]])
    neither = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    found = [effective_dimension(scores, scores, SETTINGS) for scores in (neither, lr_only, both)]
    assert found == [0, 1, 2]


def test_scores_put_the_fifth_and_ninety_fifth_percentile_at_one_and_zero():
    losses = {"a": np.linspace(0, 10, 11).reshape(1, 11, 1), "b": np.linspace(0, 10, 11).reshape(1, 11, 1)}
    pooled = np.concatenate([losses["a"].ravel(), losses["b"].ravel()])
    expected = (np.percentile(pooled, 95) - losses["a"]) / (
        np.percentile(pooled, 95) - np.percentile(pooled, 5)
    )
    np.testing.assert_allclose(normalised_scores(losses)["a"], expected)


def test_plane_finds_the_family_that_must_be_tuned_per_workload():
    robust = grid([[1.0, 2.0, 2.0, 3.0], [1.0, 2.0, 2.0, 3.0]], noise=0.05)
    fragile = grid([[1.0, 2.0, 2.0, 3.0], [3.0, 2.0, 2.0, 1.0]], noise=0.05, seed=1)
    points = {point.family: point for point in plane({"robust": robust, "fragile": fragile}, resamples=100)}
    assert points["robust"].sensitivity == pytest.approx(0.0, abs=0.03)
    assert points["fragile"].sensitivity == pytest.approx(0.5, abs=0.05)
    assert points["fragile"].sensitivity_interval.low > points["robust"].sensitivity_interval.high
    assert points["robust"].dimension == 0
    assert points["fragile"].dimension == 2
    assert points["robust"].tuned_score == pytest.approx(points["fragile"].tuned_score, abs=0.05)


def test_the_same_seed_gives_the_same_plane():
    made = {"a": grid([[1.0, 2.0, 2.0, 3.0], [3.0, 2.0, 2.0, 1.0]], noise=0.3)}
    assert plane(made, resamples=20) == plane(made, resamples=20)


def test_losses_that_are_all_alike_have_no_scores():
    with pytest.raises(NotEvaluableError, match="are alike"):
        plane({"a": grid(np.ones((2, 4)))})


def test_families_on_other_workloads_are_not_compared():
    one = grid(np.eye(4)[:2])
    other = Grid(settings=SETTINGS, workloads=("x", "y"), losses=one.losses)
    with pytest.raises(NotEvaluableError, match="same workloads"):
        plane({"a": one, "b": other})


def swept(workload, *, replicates=3, lrs=(1e-3, 1e-2)):
    """Two learning rates repeated, and one tried once."""
    frames = [
        row(
            "a", lr * 100 + r, phase="sensitivity", replicate=r, point=p, params={"lr": lr}, workload=workload
        )
        for r in range(replicates)
        for p, lr in enumerate(lrs)
    ]
    once = row("a", 1.0, phase="sensitivity", replicate=0, point=9, params={"lr": 0.5}, workload=workload)
    return pd.DataFrame([*frames, once])


def test_grid_holds_the_settings_that_every_workload_repeats():
    found = shared_grid(trials(swept("x"), swept("y", replicates=4)), "a", "sensitivity")
    assert found.settings["lr"].tolist() == [1e-3, 1e-2]
    assert found.workloads == ("x", "y")
    assert found.losses.shape == (2, 2, 3)
    np.testing.assert_allclose(found.losses[0], [[0.1, 1.1, 2.1], [1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([swept("x")], "two workloads at least"),
        ([swept("x"), swept("y", lrs=(1e-3, 2e-2))], "1 settings of family a were repeated"),
        ([confirmation("a", [1.0], workload=w) for w in "xy"], "no sensitivity trials"),
    ],
)
def test_without_repeated_settings_there_is_no_grid(frames, words):
    with pytest.raises(NotEvaluableError, match=words):
        shared_grid(trials(*frames), "a", "sensitivity")
