import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from study.statistics.contrast import NotEvaluableError
from study.statistics.intervals import wilson
from study.statistics.metrics.win_probability import WIN_PROBABILITY, wins
from tests.study.statistics.metrics import tables


def found(losses_a, losses_b, a="a", b="b"):
    trials = tables.trials(tables.confirmation("a", losses_a), tables.confirmation("b", losses_b))
    question = tables.question("win_probability", direction="greater", a=a, b=b)
    return WIN_PROBABILITY.contrast(trials, question)


def test_a_lower_loss_scores_one_an_equal_one_half_and_a_higher_one_none():
    contrast = found([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert list(contrast.differences) == [1.0, 0.5, 0.0]
    assert (contrast.null, contrast.binary, contrast.unit) == (0.5, True, "seed")


def test_two_diverged_trials_are_a_tie():
    assert list(found([np.nan, np.nan], [np.nan, 2.0]).differences) == [0.5, 0.0]


def test_losses_beyond_initialisation_tie_with_a_diverged_trial():
    assert list(found([9.0], [np.nan]).differences) == [0.5]


def test_swapping_the_families_mirrors_at_one_half():
    rng = np.random.default_rng(1)
    a, b = rng.normal(2, 0.2, 12), rng.normal(2, 0.2, 12)
    forward, backward = found(a, b), found(a, b, "b", "a")
    np.testing.assert_array_equal(forward.differences, 1 - backward.differences)


def test_a_monotone_map_of_the_loss_changes_nothing():
    rng = np.random.default_rng(2)
    a, b = rng.uniform(1, 2, 12), rng.uniform(1, 2, 12)
    np.testing.assert_array_equal(found(a, b).differences, found(np.exp(a) / 3, np.exp(b) / 3).differences)


def test_over_all_pairs_of_runs_the_mean_score_is_rliables_probability_of_improvement():
    """Two tasks, scores x against y where more is better: 1/3 by hand."""
    rliable = pytest.importorskip("rliable.metrics")
    x, y = np.array([[1, 2], [2, 2], [1, 1], [2, 1]]), np.array([[1, 1], [2, 2], [3, 3]])
    tasks = []
    for task in (0, 1):
        pairs = [(-i, -j) for i in x[:, task] for j in y[:, task]]
        losses_a, losses_b = (pd.Series(side, dtype=float) for side in zip(*pairs, strict=True))
        tasks.append(wins(losses_a, losses_b).mean())
    assert np.mean(tasks) == pytest.approx(1 / 3, rel=1e-12)
    assert np.mean(tasks) == pytest.approx(rliable.probability_of_improvement(x, y), rel=1e-12)


def test_the_interval_of_the_scores_is_statsmodels_wilson():
    scores = found([1.0] * 15 + [3.0] * 5, [2.0] * 20).differences
    oracle = proportion_confint(15, 20, alpha=0.05, method="wilson")
    ours = wilson(float(scores.sum()), scores.size, 0.95)
    assert (ours.low, ours.high) == pytest.approx(oracle, rel=1e-12)


def test_more_seeds_leave_the_first_ones_as_they_were():
    few, many = found([1.0, 3.0], [2.0, 2.0]), found([1.0, 3.0, 1.0], [2.0, 2.0, 2.0])
    pd.testing.assert_series_equal(many.differences.iloc[:2], few.differences)


def test_under_a_transformation_family_b_is_read_from_the_slice_of_the_claim():
    trials = tables.trials(
        tables.confirmation("a", [1.0, 1.0]),
        tables.confirmation("b", [0.5, 0.5]),
        tables.confirmation("b", [2.0, 2.0], slice="C1"),
    )
    question = tables.question("win_probability", direction="greater", at=dict)
    assert list(WIN_PROBABILITY.contrast(trials, question).differences) == [1.0, 1.0]


def test_a_relative_margin_has_nothing_to_relate_to():
    with pytest.raises(NotEvaluableError, match="this metric has none"):
        _ = found([1.0], [2.0]).scale


def test_a_missing_pair_is_not_evaluable():
    with pytest.raises(NotEvaluableError, match="1 of 3 planned pairs"):
        found([1.0, 1.0, 1.0], [2.0, 2.0])
