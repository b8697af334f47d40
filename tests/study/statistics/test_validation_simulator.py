"""The simulator itself: its closed forms against scipy, its tables against its estimands, its halving against Ray's."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from search_spaces import Category, LogFloat, Space
from study.halving import OrderedHalving
from study.records import Phase, PlannedTrial
from study.statistics.trials import COLUMNS, KEY, read_trials
from tests.validation import estimands
from tests.validation.asha import RUNGS, halve, search_losses
from tests.validation.planted import BASELINE, PLANTED, at_home, life, planted_loss
from tests.validation.surface import (
    INIT,
    LEVELS,
    STEPS,
    Surface,
    capped_mean,
    draw_noise,
    noise_cdf,
    noise_quantile,
    noise_shortfall,
)
from tests.validation.tables import EVALUATED, Layout, curve_table, design_params, trial_table, trials_of

KINDS = ("normal", "t5", "lognormal")
A = Surface(name="a", slopes={"num_experts": 0.02, "rank": -0.03, "top_k": 0.01}, noise=0.1)
B = replace(A, name="b", center=-1.6, shape="cliff", floor=1.05, noise_kind="lognormal", replicate_noise=0.02)
STUDIES = 100
TARGET = 1.2


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """A hundred studies of ten replicates, read as the engine reads them."""
    return read_trials(trial_table((A, B), Layout(), seed=5, num_studies=STUDIES)).frame


def rows_of(table: pd.DataFrame, surface: Surface, phase: str, slice_name: str = "") -> pd.DataFrame:
    chosen = (table["family"] == surface.name) & (table["phase"] == phase) & (table["slice"] == slice_name)
    return table[chosen]


def assert_mean(values: pd.Series, truth: float) -> None:
    """The mean of independent values is within four standard errors of the truth."""
    error = float(values.std() / np.sqrt(len(values)))
    assert abs(float(values.mean()) - truth) < 4 * error


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_mean_zero_and_unit_variance_and_its_closed_forms_agree_with_quadrature(kind):
    q = (np.arange(200_000) + 0.5) / 200_000
    z = noise_quantile(kind, q)
    assert np.allclose(noise_cdf(kind, z), q, atol=1e-10)
    assert abs(z.mean()) < 2e-4
    assert z.std() == pytest.approx(1.0, abs=0.01)
    least = max(-60.0, float(noise_quantile(kind, np.asarray(0.0))))
    for k in (-0.9, 0.3, 2.0):
        below = integrate.quad(lambda x: float(noise_cdf(kind, np.asarray(x))), least, k, limit=300)[0]
        assert float(noise_shortfall(kind, np.asarray(k))) == pytest.approx(below, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_noise_follows_its_distribution(kind):
    drawn = draw_noise(kind, (4000,), np.random.default_rng(3))
    assert stats.kstest(drawn, lambda z: noise_cdf(kind, z)).pvalue > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_under_the_cap_agrees_with_draws(kind):
    surface = replace(A, noise=0.8, noise_kind=kind, shared_noise=0.4)
    rng = np.random.default_rng(4)
    losses = 2.5 + 0.8 * draw_noise(kind, (400_000,), rng) + 0.4 * rng.standard_normal(400_000)
    assert_mean(pd.Series(np.minimum(losses, INIT)), float(capped_mean(surface, np.asarray(2.5))))


@pytest.mark.parametrize("surface", [A, B], ids=["quadratic", "cliff"])
def test_the_design_estimates_what_quadrature_says_of_the_space(table, surface):
    rows = rows_of(table, surface, "sensitivity")
    by = rows["replicate"]
    assert_mean(rows["capped"].groupby(by).mean(), estimands.space_loss(surface))
    assert_mean((rows["capped"] <= TARGET).groupby(by).mean(), estimands.usable_mass(surface, TARGET))
    assert_mean((rows["outcome"] == "diverged").groupby(by).mean(), estimands.divergence_rate(surface))


@pytest.mark.parametrize("surface", [A, B], ids=["quadratic", "cliff"])
def test_the_slices_estimate_what_quadrature_says_of_width_area_and_levels(table, surface):
    layout = Layout()
    rows = rows_of(table, surface, "lr_slice", "lr")
    by = rows["replicate"]
    step = layout.step_decades
    width = step * (rows["capped"] <= TARGET).groupby(by).sum()
    area = step * (INIT - rows["capped"]).groupby(by).sum()
    assert_mean(width, estimands.lr_width(surface, TARGET, layout.window))
    assert_mean(area, estimands.basin_area(surface, layout.window))
    for factor, levels in LEVELS.items():
        truth = estimands.factor_losses(surface, factor)
        losses = rows_of(table, surface, "factor_slice", factor)
        for level, value in zip(levels, truth, strict=True):
            assert_mean(losses.loc[losses[f"param.{factor}"] == level, "capped"], value)


def test_the_confirmation_estimates_tuned_losses_and_the_win_probability(table):
    a, b = (rows_of(table, s, "confirmation").set_index("seed")["capped"] for s in (A, B))
    assert_mean(a, estimands.tuned_loss(A))
    assert_mean(b, estimands.tuned_loss(B))
    wins = (a < b).astype(float) + 0.5 * (a == b)
    assert_mean(wins, estimands.win_probability(A, B))
    assert estimands.win_probability(A, A) == pytest.approx(0.5, abs=1e-6)


def test_curves_end_at_the_select_loss_and_reach_targets_when_quadrature_says(table):
    rows = rows_of(table, B, "confirmation")
    curves = curve_table(rows, (A, B)).set_index("trial")
    last = curves[curves["step"] == STEPS]["value"]
    finished = rows[rows["outcome"] == "finished"].set_index("trial")
    assert np.allclose(last[finished.index], finished["select_value"])
    reached = curves["step"].where(curves["value"] <= TARGET, STEPS).groupby(level=0).min()
    noisier = replace(B, shared_noise=float(np.hypot(B.shared_noise, B.select_noise)))
    assert_mean(reached, estimands.steps_to_target(noisier, TARGET, EVALUATED))


def test_families_share_design_points_and_seeds_and_no_two_units_share_a_seed(table):
    for phase, slice_name in (("sensitivity", ""), ("lr_slice", "lr"), ("confirmation", "")):
        a, b = (rows_of(table, s, phase, slice_name) for s in (A, B))
        assert a["seed"].tolist() == b["seed"].tolist()
        assert a["param.num_experts"].tolist() == b["param.num_experts"].tolist()
    assert not table[table["family"] == "a"].duplicated(subset=["seed"]).any()
    assert set(COLUMNS) <= set(table.columns)


def test_design_points_become_the_hyperparameters_that_a_space_gives():
    space = Space(
        name="four",
        version=1,
        dimensions={
            "lr": LogFloat(1e-5, 1e1),
            "num_experts": Category(LEVELS["num_experts"]),
            "top_k": Category(LEVELS["top_k"], at_most="num_experts"),
            "rank": Category(LEVELS["rank"]),
        },
    )
    u = np.random.default_rng(8).random((64, 4))
    found = design_params(u)
    for i, point in enumerate(u):
        expected = space.from_unit(point)
        assert {name: int(values[i]) for name, values in found.items()} == {
            name: expected[name] for name in ("num_experts", "top_k", "rank")
        }


def test_the_same_seed_gives_the_same_table_and_another_seed_another():
    small = Layout(replicates=2, points=4, seeds=3)
    first, again, other = (trial_table((A, B), small, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not np.array_equal(first["value"], other["value"], equal_nan=True)


def test_halving_of_many_studies_stops_the_trials_that_the_study_would_stop():
    rng = np.random.default_rng(6)
    losses = search_losses(A, 3, 12, rng)
    found = halve(losses)
    for study in range(3):
        halving = OrderedHalving(family="a", grace_steps=RUNGS[0], reduction=3, max_steps=STEPS)
        assert halving.rungs == RUNGS
        keys = [f"t{i}" for i in range(12)]
        halving.plan(keys)
        for i, key in enumerate(keys):
            for rung, loss in zip(RUNGS, losses[study, i], strict=False):
                halving.arrive(key, rung, float(loss))
                halving.decide()
                if halving.decision(key, rung).action == "stop":
                    break
            stops = [halving.decision(key, rung) for rung in RUNGS]
            expected = next(
                (j for j, one in enumerate(stops) if one is None or one.action == "stop"), len(RUNGS)
            )
            assert found.reached[study, i] == expected


def planned(family: str, lr: float, seed: int) -> PlannedTrial:
    return PlannedTrial(
        key=f"confirmation/{family}/r00",
        phase=Phase.CONFIRMATION,
        slice="",
        family=family,
        replicate=0,
        point=0,
        seed=seed,
        params={"lr": lr, "num_experts": 8, "top_k": 4, "rank": 4},
        steps=12,
    )


def test_a_planted_trial_is_a_function_of_its_name_and_shares_its_seeds_noise():
    surfaces = {name: at_home(replace(PLANTED["baseline"], noise=0.0), name) for name in ("adamw", "radamw")}
    params = {"lr": 10 ** surfaces["adamw"].center}
    first, again = (planted_loss(surfaces["adamw"], params, 7) for _ in range(2))
    other = planted_loss(surfaces["radamw"], params, 7)
    assert first == again
    assert first.loss == pytest.approx(other.loss)
    assert planted_loss(surfaces["adamw"], params, 8).loss != first.loss


def test_a_planted_life_reports_from_the_initial_loss_to_the_ending():
    surface = at_home(BASELINE, "adamw")
    reports = life({"adamw": surface}, planned("adamw", 10**surface.center, 3), eval_every=4)
    assert [report.step for report in reports] == [0, 4, 8, 12]
    assert reports[0].metrics["init_loss_nats"] == INIT
    ending = reports[-1].ending
    assert ending is not None
    assert ending.outcome == "finished"
    assert reports[-1].metrics["select_loss_nats"] == pytest.approx(ending.select_value)


def test_a_planted_trial_far_above_its_threshold_diverges_without_a_loss():
    surface = at_home(PLANTED["unstable"], "adamw")
    reports = life({"adamw": surface}, planned("adamw", 10 ** (surface.center + 2.5), 3), eval_every=4)
    ending = reports[-1].ending
    assert ending is not None
    assert (ending.outcome, ending.value, reports[-1].step) == ("diverged", None, 8)


def test_trials_made_at_once_are_those_that_the_reader_makes_of_the_table():
    layout = Layout(replicates=3, points=4, seeds=4, matched={"m": ("a", "b", lambda lr: 2 * lr)})
    at_once = trials_of((A, B), layout, seed=9, num_studies=2, curves=True)
    read = read_trials(trial_table((A, B), layout, seed=9, num_studies=2))
    ordered = at_once.frame.sort_values(list(KEY), kind="stable").reset_index(drop=True)
    pd.testing.assert_frame_equal(ordered[read.frame.columns], read.frame, check_dtype=False)
