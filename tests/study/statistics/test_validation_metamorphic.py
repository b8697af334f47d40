"""What must not change an analysis, and what must turn it round: exact relations, for every testable metric."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from study.statistics.analysis import analyze
from study.statistics.claims import Tau
from study.statistics.metrics import METRICS
from study.statistics.results import Grade, PartResult, Verdict
from study.statistics.trials import Trials, read_trials
from tests.validation.claim_sets import claim_set
from tests.validation.scenarios import ASKED, LAYOUT
from tests.validation.surface import INIT, Surface
from tests.validation.tables import curve_table, trial_table

A = Surface(name="a", floor=0.97, width=2.6, slopes={"num_experts": 0.02, "rank": -0.03}, noise=0.08)
B = replace(A, name="b", floor=1.0, width=1.8, diverge_above=1.0)
LOSSES = ("value", "select_value", "init_value", "perturbed.dropped.loss")
SYMMETRIC = tuple(name for name in ASKED if name not in {"space_score", "matched_loss"})
"""Metrics that treat both families alike: a score refers to family b, and matched trials are trained at a's."""


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return trial_table((A, B), replace(LAYOUT, replicates=6, seeds=12), seed=4)


@pytest.fixture(scope="module")
def curves(table: pd.DataFrame) -> pd.DataFrame:
    return curve_table(table, (A, B))


@pytest.fixture(scope="module")
def before(table: pd.DataFrame, curves: pd.DataFrame) -> dict[str, PartResult]:
    found = results(table, curves)
    assert all(part.verdict is not Verdict.NOT_EVALUABLE for part in found.values())
    return found


def results(table: pd.DataFrame, curves: pd.DataFrame, **names: object) -> dict[str, PartResult]:
    return of(read_trials(table, curves), **names)


def of(trials: Trials, **names: object) -> dict[str, PartResult]:
    analysis = analyze(trials, claim_set(**names))
    return {one.parts[0].metric: one.parts[0] for one in analysis.claims}


def test_the_planted_difference_is_found(before):
    supported = {name for name, part in before.items() if part.verdict is Verdict.SUPPORTED}
    assert {"basin_area", "space_score"} <= supported


def test_the_order_of_rows_and_columns_changes_nothing(table, curves, before):
    rng = np.random.default_rng(1)
    rows = table.sample(frac=1.0, random_state=1)
    assert (
        results(rows[list(rng.permutation(table.columns))], curves.sample(frac=1.0, random_state=2)) == before
    )


def test_rows_written_twice_count_once(table, curves, before):
    twice = pd.concat([table, table.sample(frac=0.5, random_state=3)])
    assert results(twice, curves) == before


def test_search_trials_in_the_table_change_nothing(table, curves, before):
    stopped = table[table["phase"] == "sensitivity"].assign(phase="search", value=0.0, outcome="stopped")
    assert results(pd.concat([table, stopped]), curves) == before


def test_the_way_through_a_text_file_changes_nothing(table, curves, before):
    copy = pd.read_csv(pd.io.common.StringIO(table.to_csv(index=False, float_format="%.17g")))
    assert results(copy, curves) == before


@pytest.mark.parametrize("metric", SYMMETRIC)
def test_swapping_the_families_turns_estimate_and_verdict_round(table, curves, before, metric):
    turned = results(table, curves, metrics=(metric,), a="b", b="a")[metric]
    part = before[metric]
    null = part.thresholds.null
    assert turned.estimate - null == pytest.approx(null - part.estimate, abs=1e-12)
    if metric == "misspecification_cost":
        return  # its interval is that of the anchor with the weakest verdict, another one after the turn
    assert turned.ci_low - null == pytest.approx(null - part.ci_high, abs=1e-9)
    assert turned.ci_high - null == pytest.approx(null - part.ci_low, abs=1e-9)
    assert (turned.p_t, turned.p_signflip) == pytest.approx((part.p_t, part.p_signflip), abs=1e-9)
    mirrored = {
        Verdict.SUPPORTED: (Verdict.REFUTED, Grade.REVERSED),
        Verdict.INCONCLUSIVE: (Verdict.INCONCLUSIVE, Grade.NONE),
    }
    if part.verdict in mirrored:
        assert (turned.verdict, turned.grade) == mirrored[part.verdict]
    elif part.grade is Grade.REVERSED:
        assert turned.verdict in {Verdict.SUPPORTED, Verdict.EQUIVALENT}
    else:
        assert turned.verdict in {part.verdict, Verdict.REFUTED}


def test_other_units_of_the_loss_leave_effect_sizes_p_values_and_verdicts(table, curves):
    scale, shift = 2.5, 0.7
    tau = Tau(ref="b", within=0.1)
    moved = table.assign(**{name: scale * table[name] + shift for name in LOSSES})
    moved_curves = curves.assign(value=scale * curves["value"] + shift)
    first = results(table, curves, tau=tau)
    second = results(moved, moved_curves, tau=tau, nats=scale)
    for name in ASKED:
        for figure in ("effect_size", "p_t", "p_signflip", "win_probability"):
            assert getattr(second[name], figure) == pytest.approx(
                getattr(first[name], figure), rel=1e-6, abs=1e-9
            )
        unit = scale if METRICS[name].unit.startswith("nats") else 1.0
        assert second[name].estimate == pytest.approx(unit * first[name].estimate, rel=1e-6, abs=1e-9)
        assert second[name].verdict is first[name].verdict


def test_a_constant_factor_on_one_familys_learning_rates_leaves_width_and_area(table, curves, before):
    moved = table.assign(
        **{"param.lr": table["param.lr"].where(table["family"] != "b", 7.3 * table["param.lr"])}
    )
    found = results(moved, curves, metrics=("lr_width", "basin_area", "misspecification_cost"))
    for name, part in found.items():
        assert part.estimate == pytest.approx(before[name].estimate, rel=1e-9)
        assert part.p_t == pytest.approx(before[name].p_t, rel=1e-6)


@pytest.mark.parametrize("metric", tuple(ASKED))
def test_a_missing_half_of_a_pair_is_not_evaluable(table, curves, metric):
    """One seed of twelve, four points of 96, or one replicate's slice: each is over 2 % of the pairs."""
    phase = METRICS[metric].phase
    ours = (table["family"] == "b") & (table["phase"] == phase)
    if phase == "sensitivity":
        gone = ours & table["replicate"].isin([0, 1, 2, 3]) & (table["point"] == 5)
    else:
        gone = ours & (table["replicate"] == 3)
    part = results(table[~gone], curves, metrics=(metric,))[metric]
    assert part.verdict is Verdict.NOT_EVALUABLE
    assert "more than 2 %" in part.reason


@pytest.mark.parametrize("metric", tuple(ASKED))
def test_a_table_of_search_trials_alone_decides_nothing(table, curves, metric):
    searched = table[table["phase"] == METRICS[metric].phase].assign(phase="search")
    part = results(searched, curves, metrics=(metric,))[metric]
    assert part.verdict is Verdict.NOT_EVALUABLE
    assert part.reason


@pytest.mark.parametrize("metric", ["divergence_rate", "matched_loss", "factor_trend"])
def test_a_claim_that_points_at_the_search_is_refused(table, metric):
    searched = table[table["phase"] == METRICS[metric].phase].assign(phase="search")
    claims = claim_set((metric,))
    part = replace(claims.claims[0].parts[0], phase="search")
    asked = replace(claims, claims=(replace(claims.claims[0], parts=(part,)),))
    found = analyze(read_trials(pd.concat([table, searched])), asked).claims[0]
    assert found.verdict is Verdict.NOT_EVALUABLE
    assert "search" in found.reason


def test_a_family_that_is_lost_more_often_than_the_other_is_not_evaluable(table, curves):
    ours = (table["family"] == "b") & (table["phase"] == "sensitivity") & (table["point"] < 2)
    lost = table.assign(
        outcome=table["outcome"].where(~ours, "infra_failed"), value=table["value"].where(~ours)
    )
    part = results(lost, curves, metrics=("usable_mass",))["usable_mass"]
    assert part.verdict is Verdict.NOT_EVALUABLE
    assert "Fisher" in part.reason


def test_losses_beyond_the_cap_count_as_the_cap(table, curves, before):
    above = table["value"] > INIT
    assert above.any()
    worse = table.assign(value=table["value"].where(~above, 1e6))
    unchanged = results(worse, curves, metrics=tuple(name for name in ASKED if name != "perturbation_drop"))
    assert all(part == before[name] for name, part in unchanged.items())
