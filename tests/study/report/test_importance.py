"""Importances against functions whose variance is known to split."""

import numpy as np
import pytest
from SALib.analyze.sobol import analyze
from SALib.sample.sobol import sample

from study.report.importance import METHODS, family_importance, importance
from study.statistics.contrast import NotEvaluableError
from tests.study.statistics.metrics.tables import confirmation, design, trials

BOUNDS = {"lr": (1e-4, 1.0), "damping": (0.0, 1.0), "router_lr": (0.0, 1.0)}


def surface(x):
    """A linear function of lr's exponent and damping; router_lr does nothing. Columns as in `BOUNDS`, in [0, 1]."""
    return 2.0 + 0.9 * x[..., 0] + 0.5 * x[..., 1]


def made(replicates=3, points=64, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(replicates, points, 3))
    params = {"lr": 10 ** (4 * x[..., 0] - 4), "damping": x[..., 1], "router_lr": x[..., 2]}
    losses = surface(x) + noise * rng.standard_normal((replicates, points))
    return trials(design("a", losses, params=params))


def first_order():
    """Shares of the variance by SALib, normalised to sum to 1."""
    problem = {"num_vars": 3, "names": list(BOUNDS), "bounds": [[0, 1]] * 3}
    indices = analyze(
        problem, surface(sample(problem, 1024, calc_second_order=False, seed=0)), calc_second_order=False
    )
    shares = np.clip(indices["S1"], 0, None)
    return dict(zip(BOUNDS, shares / shares.sum(), strict=True))


def test_fanova_approaches_sobol_indices_as_trials_grow():
    few, many = (
        family_importance(made(replicates=2, points=points), "a", "tiny", method="fanova", num_trees=4)
        for points in (16, 256)
    )
    expected = first_order()
    for name in expected:
        assert many.pooled[name] == pytest.approx(expected[name], abs=0.04)
        assert abs(many.pooled[name] - expected[name]) <= abs(few.pooled[name] - expected[name])


def test_a_logarithmic_axis_counts_as_the_design_drew_it():
    x = np.random.default_rng(0).uniform(size=(2, 128, 2))
    params = {"lr": 10 ** (6 * x[..., 0] - 6), "damping": x[..., 1]}
    data = trials(design("a", 2.0 + x.sum(axis=-1), params=params))
    found = importance(data.frame, method="fanova", num_trees=4).pooled
    assert found["lr"] == pytest.approx(0.5, abs=0.05)


def test_ped_anova_orders_hyperparameters_by_their_effect():
    found = family_importance(made(), "a", "tiny", method="ped_anova")
    assert list(found.shares) == ["lr", "damping", "router_lr"]
    assert found.pooled["lr"] > found.pooled["damping"] > found.pooled["router_lr"]


@pytest.mark.parametrize("method", METHODS)
def test_shares_sum_to_one_in_every_replicate_and_repeat(method):
    found = family_importance(made(points=16), "a", "tiny", method=method, num_trees=8)
    for shares in (found.pooled, *found.by_replicate.values()):
        assert sum(shares.values()) == pytest.approx(1.0)
    assert list(found.by_replicate) == [0, 1, 2]
    assert found == family_importance(made(points=16), "a", "tiny", method=method, num_trees=8)


def test_spread_is_over_replicates():
    found = family_importance(made(points=16, noise=0.3), "a", "tiny", method="ped_anova")
    values = [shares["lr"] for shares in found.by_replicate.values()]
    assert found.shares["lr"].mean == pytest.approx(np.mean(values))
    assert found.shares["lr"].num_units == 3
    assert found.shares["lr"].interval.low < np.mean(values) < found.shares["lr"].interval.high


def test_five_trials_at_least_are_among_the_best():
    assert family_importance(made(points=16), "a", "tiny", method="ped_anova").quantile == pytest.approx(
        5 / 16
    )
    assert family_importance(made(points=64), "a", "tiny", method="ped_anova").quantile == pytest.approx(0.1)


def test_levels_and_words_are_hyperparameters_too():
    rng = np.random.default_rng(0)
    rank, mode = rng.choice([4, 8, 16], (2, 32)), rng.choice(["x", "y"], (2, 32))
    data = trials(design("a", 2.0 + 0.1 * (mode == "x"), params={"rank": rank, "mode": mode}))
    found = importance(data.frame, method="ped_anova")
    assert found.pooled["mode"] > 0.8
    assert set(found.pooled) == {"rank", "mode"}


def test_a_replicate_of_equal_losses_says_nothing_of_any():
    data = trials(design("a", np.full((2, 16), 2.0), params={"lr": np.linspace(1, 9, 32).reshape(2, 16) / 3}))
    assert importance(data.frame, method="fanova").pooled == {"lr": 1.0}


def test_optunas_verbosity_is_left_as_it_was():
    import optuna

    before = optuna.logging.get_verbosity()
    family_importance(made(points=16), "a", "tiny", method="ped_anova")
    assert optuna.logging.get_verbosity() == before


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (trials(design("a", np.ones((2, 16)))), "no hyperparameter varies"),
        (made(points=8), "10 trials in every replicate, and one has 8"),
        (trials(confirmation("a", [1.0])), "no sensitivity trials"),
    ],
)
def test_what_has_no_importances_is_not_evaluable(data, words):
    with pytest.raises(NotEvaluableError, match=words):
        family_importance(data, "a", "tiny", method="fanova")
