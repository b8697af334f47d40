"""The mixed model against balanced analyses of variance."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.statistics.contrast import NotEvaluableError
from study.statistics.descriptive.mixed_model import mixed_model
from tests.study.statistics.metrics.tables import WORKLOAD, confirmation, design, row, trials


def designs(rng, *, replicates=6, points=8, config=0.3, noise=0.1, difference=0.1, lr=None):
    """Both families at the same points, b worse by `difference`."""
    shared = 2.0 + config * rng.standard_normal((replicates, points))
    lr = lr if lr is not None else np.tile(np.arange(1.0, points + 1), (replicates, 1))
    params = {"lr": lr + 100 * np.arange(replicates)[:, None]}
    a, b = (shared + gap + noise * rng.standard_normal(shared.shape) for gap in (0.0, difference))
    return a, b, trials(design("a", a, params=params), design("b", b, params=params))


def test_estimate_and_components_are_those_of_the_balanced_analysis_of_variance():
    rng = np.random.default_rng(0)
    num_points, num_seeds = 8, 6
    y_SPF = 2.0 + rng.normal(0, 0.1, (num_seeds, num_points, 2)) + np.array([0.0, 0.2])
    y_SPF += rng.normal(0, 0.3, (num_points, 1)) + rng.normal(0, 0.2, (num_points, 2))
    y_SPF += rng.normal(0, 0.2, (num_seeds, 1, 1))
    rank = {"rank": np.tile(np.arange(num_points), (num_seeds, 1)) + 1}
    data = trials(design("a", y_SPF[..., 0], params=rank), design("b", y_SPF[..., 1], params=rank))
    found = mixed_model(data, "a", "b", WORKLOAD)

    cell_PF, seed_S = y_SPF.mean(axis=0), y_SPF.mean(axis=(1, 2))
    crossed_PF = cell_PF - cell_PF.mean(axis=0) - cell_PF.mean(axis=1, keepdims=True) + cell_PF.mean()
    rest = y_SPF - cell_PF - (seed_S - y_SPF.mean())[:, None, None]
    noise = (rest**2).sum() / ((num_seeds - 1) * (2 * num_points - 1))
    crossed = num_seeds * (crossed_PF**2).sum() / (num_points - 1)
    points = 2 * num_seeds * cell_PF.mean(axis=1).var(ddof=1)
    seeds = 2 * num_points * seed_S.var(ddof=1)
    expected = {
        "noise": noise,
        "configuration x family": (crossed - noise) / num_seeds,
        "configuration": (points - crossed) / (2 * num_seeds),
        "replicate": (seeds - noise) / (2 * num_points),
    }
    assert found.components == pytest.approx({k: np.sqrt(v) for k, v in expected.items()}, rel=1e-3)
    error = np.sqrt(2 * crossed / (num_points * num_seeds))
    assert found.estimate == pytest.approx(cell_PF[:, 1].mean() - cell_PF[:, 0].mean())
    assert found.interval.high - found.estimate == pytest.approx(stats.norm.isf(0.025) * error, rel=1e-3)
    assert found.converged


def test_paired_points_give_the_paired_standard_error():
    a, b, data = designs(np.random.default_rng(1), replicates=8, points=16)
    found = mixed_model(data, "a", "b", WORKLOAD)
    differences = (b - a).ravel()
    half = stats.norm.isf(0.025) * differences.std(ddof=1) / np.sqrt(differences.size)
    assert found.estimate == pytest.approx(differences.mean())
    assert found.interval.high - found.estimate == pytest.approx(half, rel=0.02)
    assert set(found.components) == {"replicate", "configuration", "noise"}
    assert found.formula.startswith("capped ~ is_b * log_lr + (1 | replicate)")
    assert found.num_trials == 256


def test_swapping_families_turns_the_estimate():
    _, _, data = designs(np.random.default_rng(2))
    found, turned = mixed_model(data, "a", "b", WORKLOAD), mixed_model(data, "b", "a", WORKLOAD)
    assert found.estimate == pytest.approx(-turned.estimate)
    assert found.p == pytest.approx(turned.p, rel=1e-3)


def test_seeds_that_cross_replicates_have_a_component_of_their_own():
    rng = np.random.default_rng(3)
    seeds = 0.5 * rng.standard_normal(4)
    rows = [
        row(
            family,
            2.0 + seeds[(r + p) % 4] + 0.05 * rng.standard_normal(),
            phase="sensitivity",
            replicate=r,
            point=p,
            seed=(r + p) % 4,
            params={"lr": 1.0 + 10 * r + p},
        )
        for family in "ab"
        for r in range(5)
        for p in range(4)
    ]
    found = mixed_model(trials(pd.DataFrame(rows)), "a", "b", WORKLOAD)
    assert found.components["seed"] == pytest.approx(seeds.std(ddof=1), rel=0.2)
    assert found.components["noise"] == pytest.approx(0.05, rel=0.5)


def test_warnings_of_the_fit_are_told_and_not_raised(recwarn):
    _, _, data = designs(np.random.default_rng(4), config=0.0)
    found = mixed_model(data, "a", "b", WORKLOAD)
    assert any("boundary" in note for note in found.notes)
    assert not [one for one in recwarn if "boundary" in str(one.message)]


def test_without_a_design_there_is_no_model():
    with pytest.raises(NotEvaluableError, match="no sensitivity trials"):
        mixed_model(trials(confirmation("a", [1.0]), confirmation("b", [1.0])), "a", "b", WORKLOAD)
