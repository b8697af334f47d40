"""Spread over a factor's levels and loss at the worst level."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from SALib.analyze.sobol import analyze
from SALib.sample.sobol import sample
from scipy import stats
from statsmodels.stats.anova import anova_lm

from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.factors import FACTOR_SD, FACTOR_WORST, factor_variance, worst_level_loss
from tests.study.statistics.metrics.tables import factor_slices, question, row, table, trials

LEVELS = (2, 4, 8, 16)


def noisy(seed, *, sd, noise, replicates=10, levels=LEVELS):
    """Losses (replicates x levels) around 2 nats, whose expected values have the standard deviation `sd`."""
    effect = np.linspace(-1, 1, len(levels))
    effect = sd * effect / effect.std(ddof=1)
    return 2.0 + effect + noise * np.random.default_rng(seed).standard_normal((replicates, len(levels)))


def of(losses_a, losses_b, factor="num_experts", levels=LEVELS):
    return trials(factor_slices("a", factor, levels, losses_a), factor_slices("b", factor, levels, losses_b))


def sd(losses_a, losses_b, **more: Any):
    return FACTOR_SD.contrast(of(losses_a, losses_b), question("factor_sd", factor="num_experts", **more))


def rows(losses, factor="num_experts", levels=LEVELS):
    return trials(factor_slices("a", factor, levels, losses)).frame


def test_variance_is_the_expected_mean_squares_of_a_balanced_analysis_of_variance():
    losses = noisy(1, sd=0.1, noise=0.3)
    long = pd.DataFrame(losses).reset_index(names="r").melt("r", var_name="e", value_name="y")
    anova = anova_lm(smf.ols("y ~ C(e) + C(r)", long).fit())
    expected = (anova.loc["C(e)", "mean_sq"] - anova.loc["Residual", "mean_sq"]) / len(losses)
    assert factor_variance(rows(losses), factor="num_experts").mean() == pytest.approx(expected, abs=1e-12)


def test_variance_is_the_sobol_numerator_of_a_discrete_factor():
    levels = np.array([0.0, 1.0, 2.0, 5.0])
    problem = {"num_vars": 2, "names": ["factor", "noise"], "bounds": [[0, 1], [-1, 1]]}
    points = sample(problem, 2**12, calc_second_order=False, seed=0)
    y = levels[np.minimum((points[:, 0] * 4).astype(int), 3)] + points[:, 1] * 3.0
    first = analyze(problem, y, calc_second_order=False, seed=0)["S1"][0] * y.var()
    drawn = levels + np.random.default_rng(0).uniform(-3, 3, (4000, 4))
    found = factor_variance(rows(drawn - 3.0), factor="num_experts").mean() * 3 / 4
    assert found == pytest.approx(first, rel=0.05)
    assert found == pytest.approx(levels.var(), rel=0.05)


def test_variance_has_no_bias_from_noise():
    found = [
        factor_variance(rows(noisy(seed, sd=0.09, noise=0.3)), factor="num_experts").mean()
        for seed in range(80)
    ]
    assert np.mean(found) == pytest.approx(0.09**2, abs=3 * np.std(found) / np.sqrt(80))
    naive = [noisy(seed, sd=0.09, noise=0.3).mean(axis=0).var(ddof=1) for seed in range(80)]
    assert np.mean(naive) > 1.5 * 0.09**2


def test_pseudo_values_are_those_of_leaving_one_replicate_out():
    losses = noisy(2, sd=0.1, noise=0.1, replicates=5)

    def estimate(kept):
        pairs = [np.cov(kept[r], kept[s])[0, 1] for r in range(len(kept)) for s in range(len(kept)) if r != s]
        return np.mean(pairs)

    whole = estimate(losses)
    expected = [5 * whole - 4 * estimate(np.delete(losses, r, axis=0)) for r in range(5)]
    found = factor_variance(rows(losses), factor="num_experts")
    np.testing.assert_allclose(found.to_numpy(), expected, atol=1e-12)


def test_mean_difference_is_the_difference_of_standard_deviations_in_nats():
    found = sd(noisy(3, sd=0.1, noise=0.01), noisy(4, sd=0.3, noise=0.01))
    assert found.unit == "replicate"
    assert found.differences.mean() == pytest.approx(0.2, abs=0.01)
    assert found.a_values.mean() == pytest.approx(0.1, abs=0.01)
    assert found.b_values.mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(found.differences, found.b_values - found.a_values)


def test_t_against_no_difference_is_that_of_the_variances():
    a, b = noisy(5, sd=0.1, noise=0.1), noisy(6, sd=0.15, noise=0.2)
    variances = [factor_variance(rows(losses), factor="num_experts") for losses in (a, b)]
    expected = stats.ttest_rel(variances[1], variances[0])
    found = stats.ttest_1samp(sd(a, b).differences, 0.0)
    assert found.statistic == pytest.approx(expected.statistic)


def test_no_effect_in_either_family_gives_a_small_bounded_difference():
    found = sd(noisy(7, sd=0.0, noise=0.05), noisy(8, sd=0.0, noise=0.05))
    assert abs(found.differences.mean()) < 0.05


def test_losses_without_any_spread_differ_by_nothing():
    flat = np.full((5, 4), 2.0)
    assert sd(flat, flat).differences.tolist() == [0.0] * 5


def test_swapping_families_turns_the_sign():
    a, b = noisy(9, sd=0.1, noise=0.1), noisy(10, sd=0.2, noise=0.1)
    np.testing.assert_allclose(sd(a, b).differences, -sd(b, a).differences)


def test_one_family_alone_gives_its_own_spread_with_the_sign_turned():
    losses = noisy(11, sd=0.2, noise=0.01)
    found = sd(losses, losses, b="")
    assert found.differences.mean() == pytest.approx(-0.2, abs=0.01)
    assert found.b_values is None


def test_experts_is_another_word_for_num_experts():
    data = of(noisy(1, sd=0.1, noise=0.1), noisy(2, sd=0.1, noise=0.1))
    by_alias = FACTOR_SD.contrast(data, question("factor_sd", factor="experts"))
    by_name = FACTOR_SD.contrast(data, question("factor_sd", factor="num_experts"))
    np.testing.assert_array_equal(by_alias.differences, by_name.differences)


def test_levels_of_one_family_alone_are_left_out_and_named():
    a, b = noisy(1, sd=0.1, noise=0.1), noisy(2, sd=0.1, noise=0.1)
    data = trials(
        factor_slices("a", "rank", (2, 4, 8, 16), a), factor_slices("b", "rank", (2, 4, 8), b[:, :3])
    )
    found = FACTOR_SD.contrast(data, question("factor_sd", factor="rank"))
    same = trials(
        factor_slices("a", "rank", (2, 4, 8), a[:, :3]), factor_slices("b", "rank", (2, 4, 8), b[:, :3])
    )
    np.testing.assert_allclose(
        found.differences, FACTOR_SD.contrast(same, question("factor_sd", factor="rank")).differences
    )
    assert found.notes == ("Levels of rank that one family alone has are left out: 16.",)


def test_worst_level_is_the_one_with_the_greatest_mean():
    losses = np.array([[1.0, 3.0, 2.0], [1.0, 2.5, 2.6], [1.2, 3.1, 2.0]])
    found = worst_level_loss(rows(losses, levels=(2, 4, 8)), factor="num_experts")
    assert found.tolist() == [3.0, 2.5, 3.1]


def test_worst_levels_are_compared_replicate_by_replicate_and_named():
    a = np.array([[1.0, 2.0], [1.1, 2.2], [0.9, 2.1]])
    b = np.array([[3.0, 2.0], [3.1, 2.2], [2.9, 2.1]])
    data = of(a, b, levels=(2, 4))
    found = FACTOR_WORST.contrast(data, question("factor_worst", factor="num_experts"))
    np.testing.assert_allclose(found.differences, [1.0, 0.9, 0.8])
    assert found.notes == ("The worst level of num_experts is 4 for a and 2 for b.",)


def test_worst_level_does_not_reject_a_true_null_too_often():
    p_values = [
        stats.ttest_1samp(
            worst(noisy(2 * seed, sd=0.1, noise=0.1)) - worst(noisy(2 * seed + 1, sd=0.1, noise=0.1)), 0.0
        ).pvalue
        for seed in range(400)
    ]
    assert np.mean(np.array(p_values) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def worst(losses):
    return losses[:, losses.mean(axis=0).argmax()]


def test_a_diverged_level_counts_with_the_loss_at_initialisation():
    losses = np.array([[1.0, np.nan], [1.0, np.nan], [1.0, np.nan]])
    assert worst_level_loss(rows(losses, levels=(2, 4)), factor="num_experts").tolist() == [5.0, 5.0, 5.0]


@pytest.mark.parametrize("metric", [FACTOR_SD, FACTOR_WORST])
def test_matched_hyperparameters_have_no_slices(metric):
    data = of(noisy(1, sd=0.1, noise=0.1), noisy(2, sd=0.1, noise=0.1))
    with pytest.raises(NotEvaluableError, match="none at matched hyperparameters"):
        metric.contrast(data, question(metric.name, factor="num_experts", at=dict))


@pytest.mark.parametrize(
    ("levels", "words"), [((2,), "two levels at least, but 1 of num_experts"), ((), "no factor_slice trials")]
)
def test_fewer_than_two_shared_levels_cannot_be_judged(levels, words):
    losses = noisy(1, sd=0.1, noise=0.1)
    parts = [factor_slices("a", "num_experts", LEVELS, losses)]
    parts.append(
        factor_slices("b", "num_experts", levels, losses[:, : len(levels)])
        if levels
        else table(pd.DataFrame([row("b", 1.0)]))
    )
    with pytest.raises(NotEvaluableError, match=words):
        FACTOR_SD.contrast(trials(*parts), question("factor_sd", factor="num_experts"))


def test_a_replicate_without_a_level_is_not_evaluable():
    data = table(
        factor_slices("a", "rank", LEVELS, noisy(1, sd=0.1, noise=0.1)),
        factor_slices("b", "rank", LEVELS, noisy(2, sd=0.1, noise=0.1)),
    )
    holed = data.drop(index=data.index[(data["family"] == "b") & (data["replicate"] == 3)][0])
    with pytest.raises(NotEvaluableError, match="1 of 10 replicates lack a level of rank"):
        FACTOR_SD.contrast(trials(holed), question("factor_sd", factor="rank"))


def test_two_replicates_are_too_few_for_a_spread():
    losses = noisy(1, sd=0.1, noise=0.1, replicates=2)
    with pytest.raises(NotEvaluableError, match="3 replicates at least, and there are 2"):
        sd(losses, losses)


def test_worst_level_needs_two_families():
    data = of(noisy(1, sd=0.1, noise=0.1), noisy(2, sd=0.1, noise=0.1))
    with pytest.raises(NotEvaluableError, match="between two families"):
        FACTOR_WORST.contrast(data, question("factor_worst", factor="num_experts", b=""))
