"""Trials beside the design, and what describes without deciding: recomputed by another way from the same table."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.report import ReportModel, Snapshot, build
from study.report.audit import audit
from study.report.snapshot import read_trials
from study.report.training import read_curves
from tests.study.report import synthetic


def own(table: pd.DataFrame, phase: str, family: str) -> pd.DataFrame:
    """The design's rows of one family in one phase."""
    return table[(table["phase"] == phase) & (table["family"] == family) & (table["slice"] == "")]


def capped(rows: pd.DataFrame) -> pd.Series:
    value = rows["value"].clip(upper=rows["init_value"])
    return value.where(rows["outcome"] == "finished", rows["init_value"])


def test_trials_beside_the_design_change_no_result_of_it(judged: Snapshot, judged_model: ReportModel) -> None:
    inside = judged.trials[
        ~(judged.trials["phase"].isin(["sensitivity", "confirmation"]) & (judged.trials["slice"] != ""))
    ]
    bare = build(dataclasses.replace(judged, trials=inside, claims=None))
    for name in ("tuned", "lr_curves", "tuning_curves", "divergence_maps", "factor_slices", "spaces"):
        assert getattr(judged_model, name) == getattr(bare, name), name
    assert len(judged_model.trials) == len(judged.trials) > len(bare.trials)


def test_trials_beside_the_design_are_counted_and_named(judged: Snapshot, judged_model: ReportModel) -> None:
    assert judged_model.accounting.totals["planned"] == len(judged.trials)
    assert judged_model.accounting.beside == (
        "Confirmation: 5 trials of rsgd at the family's default hyperparameters.",
        "Confirmation: 5 trials of rsgd at the tuned configuration with a raised learning rate.",
        "Confirmation: 5 trials of rsgd at the tuned configuration with a lowered learning rate.",
        "Confirmation: 5 trials of grsgd at the family's default hyperparameters.",
        "Confirmation: 5 trials of grsgd at the tuned configuration with a raised learning rate.",
        "Confirmation: 5 trials of grsgd at the tuned configuration with a lowered learning rate.",
        "Confirmation: 12 trials of rsgd laid out for claim C5.",
    )
    assert all(check.holds for check in judged_model.budget.checks)


def test_divergence_rates_are_those_of_the_design() -> None:
    maker = synthetic.Maker()
    synthetic.confirmation(maker, "rsgd", seeds=4)
    for replicate in range(4):
        maker.add("confirmation", "rsgd", replicate, 0, synthetic.tuned("rsgd") | {"lr": 1e3}, slice="lr_up")
    (cell,) = build(synthetic.snapshot(maker, state="finished", families=("rsgd",))).accounting.counts
    assert cell.by_outcome["diverged"] == 4
    assert cell.divergence is not None
    assert (cell.divergence.mean, cell.divergence.num_units) == (0.0, 4)


def test_defaults_and_shifts_are_means_over_their_own_seeds(
    judged: Snapshot, judged_model: ReportModel
) -> None:
    kinds = [(v.family, v.kind) for v in judged_model.variations]
    assert kinds == [(f, k) for f in ("rsgd", "grsgd") for k in ("tuned", "default", "lr_up", "lr_down")]
    for found in judged_model.variations:
        slice_ = "" if found.kind == "tuned" else found.kind
        mine = judged.trials[
            (judged.trials["phase"] == "confirmation")
            & (judged.trials["family"] == found.family)
            & (judged.trials["slice"] == slice_)
        ]
        assert found.loss is not None
        assert found.loss.mean == pytest.approx(capped(mine).mean())
        assert found.params["lr"] == pytest.approx(mine["param.lr"].iloc[0])


def test_a_perturbations_drop_is_paired_by_seed(judged: Snapshot, judged_model: ReportModel) -> None:
    assert len(judged_model.perturbations) == 4
    for found in judged_model.perturbations:
        mine = own(judged.trials, "confirmation", found.family)
        drops = mine[f"perturbed.{found.name}.loss"] - mine["value"]
        expected = stats.ttest_1samp(drops, 0).confidence_interval(0.95)
        assert found.drop is not None
        assert found.drop.interval is not None
        assert found.drop.mean == pytest.approx(drops.mean())
        assert (found.drop.interval.low, found.drop.interval.high) == pytest.approx(tuple(expected))
        assert found.accuracy_drop is not None
        assert found.accuracy_drop.mean == pytest.approx(0.03 if found.name == "drop_experts" else 0.008)


def test_the_plane_is_tuned_loss_against_the_spaces_mean(judged: Snapshot, judged_model: ReportModel) -> None:
    for found in judged_model.plane:
        space, seeds = (own(judged.trials, p, found.family) for p in ("sensitivity", "confirmation"))
        means, losses = capped(space).groupby(space["replicate"]).mean(), capped(seeds)
        assert found.sensitivity.mean == pytest.approx(means.mean() - losses.mean())
        error = math.hypot(stats.sem(means), stats.sem(losses))
        assert found.sensitivity.interval is not None
        assert found.sensitivity.interval.high == pytest.approx(found.sensitivity.mean + 1.959964 * error)
        assert (found.num_seeds, found.num_replicates) == (12, 10)


def test_a_cell_averages_pairs_of_the_same_point_and_level(
    judged: Snapshot, judged_model: ReportModel
) -> None:
    (experts, _) = judged_model.interactions
    a, b = (
        own(judged.trials, "sensitivity", f).set_index(["replicate", "point", "seed"])
        for f in ("grsgd", "rsgd")
    )
    same = a["param.num_experts"] == b["param.num_experts"]
    differences = (capped(b) - capped(a))[same]
    assert sum(cell.num_pairs for cell in experts.cells) == int(same.sum())
    total = sum(cell.difference * cell.num_pairs for cell in experts.cells)
    assert total == pytest.approx(differences.sum())
    lr = a["param.lr"][same]
    assert (experts.edges[0], experts.edges[-1]) == pytest.approx((lr.min(), lr.max()))
    first = differences[(lr < experts.edges[1]) & (a["param.num_experts"][same] == experts.levels[0])]
    (cell,) = [c for c in experts.cells if (c.column, c.row) == (0, 0)]
    assert cell.difference == pytest.approx(first.mean())


def test_the_audit_counts_the_best_that_the_first_rung_would_have_stopped() -> None:
    maker = synthetic.Maker()
    for point in range(9):
        maker.add("sensitivity", "rsgd", 0, point, synthetic.tuned("rsgd"))
    early = {0: 0.60, 1: 0.66, 2: 0.50, 3: 0.51, 4: 0.52, 5: 0.67, 6: 0.68, 7: 0.69, 8: 0.67}
    last = {0: 0.30, 1: 0.31, 2: 0.32, 3: 0.60, 4: 0.61, 5: 0.62, 6: 0.63, 7: 0.64, 8: 0.65}
    for point, trial in enumerate(maker.trials):
        trial["value"] = last[point]
    for row in maker.curves:
        point = int(row["trial"][-2:])
        row["select_loss_nats"] = {0: 0.70, 20: early[point]}.get(row["step"], last[point])
    frames = maker.frames()
    found = audit("rsgd", read_trials(frames["trials"]), read_curves(frames["curves"]), synthetic.spec())
    assert found is not None
    assert (found.step, found.reduction) == (20, 3)
    assert [p.best for p in found.points] == [True] * 3 + [False] * 6
    assert [p.would_stop for p in found.points] == [True, True, False, False, False, True, True, True, True]
    assert found.false_stop is not None
    assert (found.false_stop.mean, found.false_stop.num_units) == (pytest.approx(2 / 3), 3)
    expected = stats.spearmanr(list(early.values()), list(last.values())).statistic
    assert found.correlation == pytest.approx(expected)


def test_without_a_search_there_is_no_rung_to_audit(judged: Snapshot) -> None:
    assert audit("rsgd", read_trials(judged.trials), {}, {}) is None


def test_the_target_of_a_claim_is_the_engines(judged: Snapshot, judged_model: ReportModel) -> None:
    rows = own(judged.trials, "confirmation", "rsgd")
    reference = capped(rows).mean()
    tau = reference + 0.25 * (synthetic.INIT - reference)
    (target,) = judged_model.descriptive.targets
    assert target.tau == pytest.approx(tau)
    assert target.claims == ("C1",)


def test_arrivals_are_the_share_of_seeds_below_the_target(
    judged: Snapshot, judged_model: ReportModel
) -> None:
    for found in judged_model.descriptive.arrivals:
        trials = own(judged.trials, "confirmation", found.family)["trial"]
        curves = judged.curves[judged.curves["trial"].isin(trials)]
        reached = curves[curves["select_loss_nats"] <= found.tau].groupby("trial")["step"].min()
        assert found.num_seeds == len(trials) == 12
        assert found.budget == synthetic.STEPS
        for step, share in zip(found.steps, found.share, strict=True):
            assert share == pytest.approx((reached <= step).sum() / 12)
        assert found.share[-1] == pytest.approx(len(reached) / 12)


def test_profiles_are_shares_of_the_space(judged: Snapshot, judged_model: ReportModel) -> None:
    for found in judged_model.descriptive.profiles:
        losses = capped(own(judged.trials, "sensitivity", found.family))
        middle = found.tau[30]
        assert found.fraction[30] == pytest.approx((losses <= middle).mean())
        assert list(found.fraction) == sorted(found.fraction)
        assert all(
            low <= y <= high for low, y, high in zip(found.low, found.fraction, found.high, strict=True)
        )


def test_more_is_described_beside_claims_and_less_without(
    model: ReportModel, judged_model: ReportModel
) -> None:
    assert model.descriptive.importances == model.descriptive.mixed == model.descriptive.rope == ()
    found = judged_model.descriptive
    assert {one.method for one in found.importances} == {"fanova", "ped_anova"}
    assert next(iter(found.importances[0].shares)) == "lr"
    assert [(one.a, one.b) for one in found.mixed] == [("grsgd", "rsgd")]
    assert all(one.a_better + one.equal + one.b_better == pytest.approx(1) for one in found.rope)


def test_over_workloads_families_are_ranked_and_placed(many: ReportModel) -> None:
    found = many.descriptive
    assert found.ranking is not None
    means = {f: [t.loss.mean for t in many.tuned if t.loss and t.family == f] for f in many.families}
    table = pd.DataFrame(means, index=pd.Index(many.workloads))
    expected = table.rank(axis=1).mean().sort_values()
    assert dict(found.ranking.mean_ranks) == pytest.approx(expected.to_dict())
    assert {row.family for row in found.plane} == set(synthetic.THREE)
    assert {row.family for row in found.time_scores} == set(synthetic.THREE)
    assert all(len(row.ratios) == 5 for row in found.time_scores)


def test_workloads_are_never_mixed(many: ReportModel) -> None:
    assert many.workloads == synthetic.WORKLOADS
    assert [(t.workload, t.family) for t in many.tuned] == [
        (w, f) for w in synthetic.WORKLOADS for f in synthetic.THREE
    ]
    for result in many.tuned:
        losses = [
            r.capped
            for r in many.trials
            if (r.workload, r.family, str(r.phase)) == (result.workload, result.family, "confirmation")
        ]
        assert result.loss is not None
        assert result.loss.mean == pytest.approx(np.mean(losses))
        assert result.loss.num_units == 4
