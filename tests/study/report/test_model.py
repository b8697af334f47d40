"""The report's numbers, recomputed by another way from the same tables."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.report import ReportModel, Snapshot, build
from tests.study.report import synthetic


def capped(table: pd.DataFrame) -> pd.Series:
    """Capped loss by pandas alone."""
    value = table["value"].clip(upper=table["init_value"])
    return value.where(table["outcome"] == "finished", table["init_value"])


def test_tuned_loss_is_the_mean_over_confirmation_seeds(whole: Snapshot, model: ReportModel) -> None:
    for result in model.tuned:
        mine = whole.trials.query("phase == 'confirmation' and family == @result.family")
        expected = stats.ttest_1samp(capped(mine), 0).confidence_interval(0.95)
        assert result.loss is not None
        assert result.loss.interval is not None
        assert result.loss.mean == pytest.approx(capped(mine).mean())
        assert (result.loss.interval.low, result.loss.interval.high) == pytest.approx(tuple(expected))
        assert result.accuracy is not None
        assert result.accuracy.mean == pytest.approx(mine["report_accuracy"].mean())
        assert result.params == synthetic.tuned(result.family)


def test_best_of_search_is_the_lowest_select_loss_at_full_budget(whole: Snapshot, model: ReportModel) -> None:
    finished = whole.trials.query("phase == 'search' and outcome == 'finished'")
    expected = finished.groupby("family")["select_value"].min().to_dict()
    assert {r.family: r.search_loss for r in model.tuned} == pytest.approx(expected)


def test_a_diverged_seed_counts_with_the_initial_loss_and_a_lost_one_not_at_all() -> None:
    maker = synthetic.Maker()
    synthetic.confirmation(maker, "rsgd", seeds=5)
    values = [t["value"] for t in maker.trials]
    maker.trials[1].update(outcome="diverged", value=None, report_accuracy=None)
    maker.trials[2].update(outcome="infra_failed", value=None, report_accuracy=None, reason="Host lost.")
    (result,) = build(synthetic.snapshot(maker, state="finished", families=("rsgd",))).tuned
    assert result.loss is not None
    assert result.accuracy is not None
    assert result.loss.mean == pytest.approx(np.mean([values[0], synthetic.INIT, values[3], values[4]]))
    assert (result.loss.num_units, result.accuracy.num_units) == (4, 3)
    assert (result.num_seeds, result.num_diverged) == (5, 1)


def test_every_trial_is_counted_once(whole: Snapshot, model: ReportModel) -> None:
    assert len(model.trials) == len(whole.trials)
    assert sum(c.planned for c in model.accounting.counts) == len(whole.trials)
    expected = whole.trials.groupby(["phase", "family"])["outcome"].value_counts().to_dict()
    found = {
        (str(c.phase), c.family, outcome): n
        for c in model.accounting.counts
        for outcome, n in c.by_outcome.items()
        if n
    }
    assert found == {tuple(key): n for key, n in expected.items()}
    assert model.accounting.totals["open"] == 0
    assert sum(len(group.trials) for group in model.accounting.lost) == 2


def test_divergence_rate_leaves_lost_trials_out(whole: Snapshot, model: ReportModel) -> None:
    design = whole.trials.query("phase == 'sensitivity'")
    for found in model.divergence_maps:
        mine = design[(design["family"] == found.family) & design["outcome"].isin(["finished", "diverged"])]
        assert found.rate is not None
        assert found.rate.num_units == len(mine)
        assert found.rate.mean == pytest.approx((mine["outcome"] == "diverged").mean())
        assert len(found.points) == len(mine)


def test_tuning_curve_is_a_search_by_select_loss(whole: Snapshot, model: ReportModel) -> None:
    design = whole.trials.query("phase == 'sensitivity'")
    for curve in model.tuning_curves:
        mine = design[design["family"] == curve.family].sort_values("point")
        complete = [
            g for _, g in mine.groupby("replicate") if g["outcome"].isin(["finished", "diverged"]).all()
        ]
        assert curve.num_replicates == len(complete)
        assert [p.x for p in curve.points] == [1, 2, 4, 8, 16]
        for point in curve.points:
            chosen = []
            for group in complete:
                first = group.head(int(point.x))
                select = first["select_value"].fillna(math.inf).to_numpy()
                chosen.append(capped(first).to_numpy()[int(np.argmin(select))])
            expected = stats.ttest_1samp(chosen, 0).confidence_interval(1 - 0.05 / 5)
            assert point.y.mean == pytest.approx(np.mean(chosen))
            assert point.y.interval is not None
            assert point.y.interval.low == pytest.approx(max(0.0, expected.low))
            assert point.y.interval.high == pytest.approx(expected.high)


def test_factor_slices_are_means_over_seeds(whole: Snapshot, model: ReportModel) -> None:
    table = whole.trials.query("phase == 'factor_slice'")
    for found in model.factor_slices:
        mine = table[(table["slice"] == found.factor) & (table["family"] == found.family)]
        expected = capped(mine).groupby(mine[f"param.{found.factor}"]).mean()
        assert {level.level: level.loss.mean for level in found.levels} == pytest.approx(expected.to_dict())
        assert [level.level for level in found.levels] == sorted(expected.index)
        assert {level.loss.num_units for level in found.levels} == {6}


def test_learning_rate_curve_follows_the_truth(model: ReportModel) -> None:
    for curve in model.lr_curves:
        assert curve.num_seeds == 6
        lowest = min(curve.mean, key=lambda p: p.y.mean)
        assert lowest.x == pytest.approx(synthetic.OPTIMUM[curve.family], abs=0.3)
        assert max(p.y.mean for p in curve.mean) <= synthetic.INIT + 1e-12
        assert all(p.loss <= synthetic.INIT for p in curve.points)


def test_stopped_trials_enter_no_curve(whole: Snapshot, model: ReportModel) -> None:
    ended = whole.trials["outcome"].isin(["finished", "diverged"])
    drawn = ended & whole.trials["phase"].isin(["search", "sensitivity", "lr_slice"])
    assert sum(len(c.points) for c in model.lr_curves) == int(drawn.sum())


def test_survival_ends_with_the_trials_that_finished(whole: Snapshot, model: ReportModel) -> None:
    for found in model.survival:
        mine = whole.trials.query("phase == 'search' and family == @found.family")
        assert found.alive[0] == found.num_trials == len(mine)
        assert found.alive[-1] == int((mine["outcome"] == "finished").sum())
        assert list(found.alive) == sorted(found.alive, reverse=True)
        assert [r.rung for r in found.rungs] == [20, 60]
        assert all(r.arrived == r.continued + r.stopped for r in found.rungs)


def test_a_diverged_trial_stays_in_the_mean_training_curve() -> None:
    maker = synthetic.Maker()
    synthetic.confirmation(maker, "rsgd", seeds=3)
    bad = maker.trials[0]
    bad.update(outcome="diverged", value=None, steps=40)
    maker.curves = [c for c in maker.curves if c["trial"] != bad["trial"] or c["step"] <= 40]
    curves = pd.DataFrame(maker.curves).set_index(["trial", "step"])["select_loss_nats"]
    (curve,) = build(synthetic.snapshot(maker, state="finished", families=("rsgd",))).training_curves
    start = curves[bad["trial"], 0]
    others = [curves[t["trial"], 200] for t in maker.trials[1:]]
    assert curve.loss[-1].x == 200
    assert curve.loss[-1].y.mean == pytest.approx(np.mean([start, *others]))


def test_costs_add_up(whole: Snapshot, model: ReportModel) -> None:
    total = sum(c.device_seconds for c in model.budget.costs)
    assert total == pytest.approx(whole.trials["device_seconds"].sum())
    assert all(check.holds for check in model.budget.checks)


@pytest.mark.parametrize(
    ("change", "name", "evidence"),
    [
        (lambda t: t[~((t["phase"] == "search") & (t["family"] == "sgd"))], "same number of trials", "sgd 0"),
        (
            lambda t: t.assign(steps=t["steps"].where(t.index != t.index[-1], 150)),
            "same number of opt",
            "150",
        ),
        (lambda t: t[t["trial"] != "confirmation/rsgd/r03/p00"], "Confirmation: every seed", "11 of 12"),
        (lambda t: t.assign(seed=7), "no other phase", "1 of 1"),
    ],
)
def test_unequal_ground_is_seen(whole: Snapshot, change: object, name: str, evidence: str) -> None:
    assert callable(change)
    checks = build(dataclasses.replace(whole, trials=change(whole.trials))).budget.checks
    (check,) = [c for c in checks if name in c.name]
    assert check.holds is False
    assert evidence in check.evidence


def test_an_unfinished_study_says_what_is_missing(partial: Snapshot) -> None:
    found = build(partial)
    assert found.accounting.missing == (
        "The study is running: every number here is of this moment.",
        "Search: 57 of 64 trials have not ended.",
        "Sensitivity: no trial.",
        "Learning-rate slice: no trial.",
        "Factor slices: no trial.",
        "Confirmation: 24 of 24 trials have not ended.",
    )
    assert found.accounting.totals["planned"] == 88
    assert [r.source for r in found.tuned] == ["search", "search"]
    assert [r.loss for r in found.tuned] == [None, None]


def test_a_finished_study_counts_what_it_had_and_names_whom_a_phase_lacks(whole: Snapshot) -> None:
    plan = {"trial_counts": {"lr_slice": dict.fromkeys(synthetic.FAMILIES, 70), "search": {"sgd": 40}}}
    bare = whole.trials.query("not (phase == 'confirmation' and family == 'sgd')")
    found = build(dataclasses.replace(whole, plan=plan, trials=bare)).accounting
    assert found.totals["open"] == 0
    assert found.totals["planned"] == len(bare)
    assert found.missing == ("Sensitivity: 2 trials were lost.", "Confirmation: no trial of sgd.")


def test_the_plans_upper_bound_gives_way_once_a_phase_has_begun(whole: Snapshot) -> None:
    plan = {"trial_counts": {"lr_slice": dict.fromkeys(synthetic.FAMILIES, 70), "search": {"sgd": 40}}}
    found = build(dataclasses.replace(whole, plan=plan, state="running")).accounting
    planned = {(str(c.phase), c.family): c.planned for c in found.counts}
    assert planned["lr_slice", "sgd"] == 66
    assert planned["search", "sgd"] == 40


def test_a_study_that_always_diverged_sits_at_the_cap(diverged: Snapshot) -> None:
    found = build(diverged)
    for result in found.tuned:
        assert result.loss is not None
        assert result.loss.mean == pytest.approx(synthetic.INIT)
        assert result.accuracy is None
        assert result.num_diverged == 4
    assert all(m.rate is not None and m.rate.mean == 1.0 for m in found.divergence_maps)


def test_an_empty_study_is_a_report_too(empty: Snapshot) -> None:
    found = build(empty)
    assert found.trials == ()
    assert found.families == ("rsgd",)
    assert found.tuned[0].source == "none"
    assert [check.holds for check in found.budget.checks] == [None] * 5


def test_the_order_of_rows_changes_nothing_but_the_list_of_trials(
    whole: Snapshot, model: ReportModel
) -> None:
    shuffled = dataclasses.replace(whole, trials=whole.trials.sample(frac=1, random_state=3))
    again = build(shuffled)
    assert again.tuned == model.tuned
    assert again.tuning_curves == model.tuning_curves
    assert again.accounting.totals == model.accounting.totals


def test_families_stand_in_the_studys_order(whole: Snapshot) -> None:
    spec = dict(whole.spec) | {"families": ["gradamw", "sgd"]}
    found = build(dataclasses.replace(whole, spec=spec))
    assert found.families[:2] == ("gradamw", "sgd")
    assert set(found.families) == set(synthetic.FAMILIES)
