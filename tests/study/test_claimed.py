"""What claims ask of a study: trials at transformed hyperparameters, and phases that must be there."""

import math
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import LedgerError, SpecError
from study.ledger import Ledger
from study.plan import counted_plan, plan_text, smallest_effects
from study.preflight import with_claims
from study.protocol import (
    check_equal_budgets,
    confirmation_trials,
    default_params,
    search_trials,
    sensitivity_trials,
    trial_counts,
    tuned,
)
from study.records import Ending, Outcome, Phase, PlannedTrial, TrialRecord
from study.spec import StudySpec, load_spec, parse_spec
from study.spec_matched import Matched
from study.tracking.aggregates import aggregates
from tests.study.claim_files import SHIFTED, claim, laid_out_study
from tests.study.simulation import World, coordinator_in, drive

ROOT = Path(__file__).parents[2]
SPEC = {
    "name": "claimed",
    "seed": 5,
    "base": {"model": "path:/models/x"},
    "task": {"name": "vader_movie"},
    "training": {"steps": 12, "batch": 4, "eval_every": 2, "max_evaluation_share": 1},
    "families": ["rsgd", "grsgd"],
    "phases": {
        "search": {"trials": 8, "reduction": 2, "grace_steps": 2},
        "sensitivity": {
            "replicates": 3,
            "points": 8,
            "lr_slice": {"step_decades": 1},
            "factor_slices": ["top_k", "rank"],
        },
        "confirmation": {"seeds": 4, "perturbations": ["expert_dropped", {"router_noise": 0.5}]},
    },
}
MATCHED = claim("H2", "matched_loss")
SEEDS = claim("H11", "seed_abs_dev")


def study(folder: Path, *claims: dict[str, Any], **changes: Any) -> StudySpec:
    return laid_out_study(folder, *claims, spec=SPEC, **changes)


def all_trials(spec: StudySpec) -> list[PlannedTrial]:
    best = default_params(spec)
    searched = [trial for name in spec.families for trial in search_trials(spec, name)]
    return searched + sensitivity_trials(spec, best) + confirmation_trials(spec, best)


def test_each_design_point_of_a_is_paired_at_the_transformed_values(tmp_path: Path):
    spec = study(tmp_path, MATCHED)
    trials = [trial for trial in sensitivity_trials(spec) if trial.phase is Phase.SENSITIVITY]
    pairs = {(t.replicate, t.point): t for t in trials if t.slice == "H2"}
    points = {(t.replicate, t.point): t for t in trials if t.family == "grsgd"}
    assert pairs.keys() == points.keys()
    assert len(pairs) == 24
    for place, b in pairs.items():
        a = points[place]
        assert (b.family, b.seed, b.key) == (
            "rsgd", a.seed, f"sensitivity/rsgd/at-H2/r{a.replicate:02d}/p{a.point:02d}",
        )  # fmt: skip
        expected = float(a.params["lr"]) * math.sqrt(float(a.params["top_k"]))
        assert b.params["lr"] == pytest.approx(expected, rel=1e-12)
        assert {**b.params, "lr": 0} == {**a.params, "lr": 0}


def test_a_pair_may_leave_the_space_of_b(tmp_path: Path):
    spec = study(tmp_path, MATCHED)
    high = [t for t in sensitivity_trials(spec) if t.slice == "H2" and float(t.params["lr"]) > 1.0]
    assert high
    with pytest.raises(SpecError):
        spec.space("rsgd").check(high[0].params)


def test_only_the_points_that_the_claim_looks_at_are_paired(tmp_path: Path):
    narrow = claim("H12", "matched_loss", where={"top_k": [4, 16]})
    spec = study(tmp_path, narrow)
    trials = sensitivity_trials(spec)
    wanted = [
        t for t in trials if t.family == "grsgd" and t.phase is Phase.SENSITIVITY and t.params["top_k"] >= 4
    ]
    found = [t for t in trials if t.slice == "H12"]
    assert [(t.replicate, t.point) for t in found] == [(t.replicate, t.point) for t in wanted]
    assert 0 < len(found) < 24
    assert trial_counts(spec)[Phase.SENSITIVITY] == {"rsgd": 24 + len(found), "grsgd": 24}


def test_parts_that_look_at_different_points_share_one_slice(tmp_path: Path):
    low = {"metric": "matched_loss", "direction": "less", "sesoi": 0.05, "where": {"top_k": {"max": 2}}}
    high = {**low, "where": {"top_k": {"min": 8}}}
    both = {"id": "C", "title": "both ends", "role": "secondary", "compare": SHIFTED, "all_of": [low, high]}
    spec = study(tmp_path, both)
    (matched,) = spec.matched
    assert matched.where == ({"top_k": (None, 2.0)}, {"top_k": (8.0, None)})
    assert {t.params["top_k"] for t in sensitivity_trials(spec) if t.slice == "C"} == {2, 8}
    whole = study(tmp_path, {**both, "all_of": [low, {**low, "where": {}}]})
    assert sum(t.slice == "C" for t in sensitivity_trials(whole)) == 24


def test_confirmation_metrics_pair_as_tuned_configuration_on_every_seed(tmp_path: Path):
    spec = study(tmp_path, SEEDS)
    best = default_params(spec)
    trials = confirmation_trials(spec, best)
    pairs = [t for t in trials if t.slice == "H11"]
    seeds = [t.seed for t in trials if t.family == "grsgd"]
    assert [(t.family, t.seed, t.replicate) for t in pairs] == [("rsgd", s, r) for r, s in enumerate(seeds)]
    assert {t.params["lr"] for t in pairs} == {best["grsgd"]["lr"] * 2}
    assert pairs[1].key == "confirmation/rsgd/at-H11/r01"
    assert [t for t in sensitivity_trials(spec, best) if t.slice == "H11"] == []


def test_b_takes_its_default_where_a_has_nothing_to_give():
    matched = Matched(claim="C", phase="sensitivity", a="sgd", b="grsgd", at={"lr": "b.lr = a.lr / 10"})
    spec = parse_spec({**SPEC, "families": ["sgd", "grsgd"], "matched": [matched.model_dump()]}, "x")
    (first, *_) = (t for t in sensitivity_trials(spec) if t.slice == "C")
    assert first.params["damping"] == spec.defaults("grsgd")["damping"]
    assert list(first.params) == list(spec.space("grsgd").dimensions)


def test_counts_and_equal_budgets_know_the_pairs(tmp_path: Path):
    spec = study(tmp_path, MATCHED, SEEDS)
    trials = all_trials(spec)
    check_equal_budgets(spec, trials)
    for phase in (Phase.SEARCH, Phase.SENSITIVITY, Phase.LR_SLICE, Phase.CONFIRMATION):
        for name, count in trial_counts(spec)[phase].items():
            assert count == sum(t.phase is phase and t.family == name for t in trials)
    with pytest.raises(LedgerError, match=r"Family rsgd has 23 sensitivity trials in slice H2, but .* 24"):
        check_equal_budgets(spec, [t for t in trials if t.key != "sensitivity/rsgd/at-H2/r01/p02"])
    with pytest.raises(LedgerError, match=r"Family rsgd has 24 sensitivity trials in slice H2, but .* 0"):
        check_equal_budgets(spec.model_copy(update={"matched": ()}), trials)
    untuned = [t for t in trials if not (t.phase is Phase.CONFIRMATION and t.slice == "H11")]
    check_equal_budgets(spec, untuned)


def test_the_plan_counts_pairs_under_a_line_of_their_own(tmp_path: Path):
    plan = counted_plan(study(tmp_path, MATCHED, SEEDS))
    assert plan["trial_counts"]["sensitivity"] == {"rsgd": 48, "grsgd": 24}
    assert plan["beside_counts"] == {"sensitivity/H2": {"rsgd": 24}, "confirmation/H11": {"rsgd": 4}}
    text = plan_text(plan | {"smallest_effects": smallest_effects(study(tmp_path, MATCHED))})
    assert "    of these at the hyperparameters that claim H2 pairs: rsgd 24" in text


def test_the_digest_follows_what_claims_lay_out_and_nothing_else_of_them(tmp_path: Path):
    plain = parse_spec(SPEC, "x")
    lays_nothing = study(tmp_path, claim("C", "tuned_loss", {"a": "grsgd", "b": "rsgd"}))
    assert lays_nothing.digest == plain.digest
    one, other_margin = study(tmp_path, MATCHED), study(tmp_path, {**MATCHED, "sesoi": 0.1, "title": "else"})
    assert one.digest == other_margin.digest != plain.digest
    other_formula = {**MATCHED, "compare": {**SHIFTED, "at": {"lr": "b.lr = a.lr * top_k"}}}
    assert study(tmp_path, other_formula).digest != one.digest
    again = parse_spec(one.canonical(), "ledger")
    assert again.digest == one.digest
    study(tmp_path, MATCHED)  # the file as it was
    assert with_claims(again) == again


def test_tuned_configurations_and_aggregates_never_see_the_pairs(tmp_path: Path):
    spec = study(tmp_path, MATCHED, SEEDS)
    trials = all_trials(spec)
    records = [
        TrialRecord(
            planned=t,
            attempts=1,
            ending=Ending(
                outcome=Outcome.FINISHED,
                steps=12,
                value=9.0 if t.slice in {"H2", "H11"} else 1.0,
                select_value=0.0 if t.slice in {"H2", "H11"} else 1.0,
                init_value=10.0,
            ),
        )
        for t in trials
    ]
    assert tuned(records)["rsgd"] == search_trials(spec, "rsgd")[0].params

    class Activity:
        def __init__(self, record: TrialRecord) -> None:
            self.record = record

    figures = aggregates([Activity(record) for record in records if record.planned.family == "rsgd"])
    assert figures["tuned_report_loss_nats"] == 1.0
    assert figures["tuned_seeds"] == 4
    assert figures["search_best_select_loss_nats"] == 1.0


def test_a_coordinator_runs_every_pair_and_the_budgets_are_as_planned(tmp_path: Path):
    phases = {
        "search": SPEC["phases"]["search"] | {"trials": 2},
        "sensitivity": {"replicates": 1, "points": 2},
        "confirmation": {"seeds": 2, "default_seeds": 1, "perturbed_seeds": 1},
    }
    spec = laid_out_study(tmp_path, MATCHED, SEEDS, spec={**SPEC, "phases": phases})
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        ledger.create_study(spec.name, spec.canonical(), spec.digest, {})
        world = World(seed=0, num_workers=3)
        coordinator = coordinator_in(world, spec, ledger)
        drive(coordinator, world)
        records = ledger.trials(spec.name)
        assert all(record.ending is not None for record in records)
        check_equal_budgets(spec, [record.planned for record in records])
        paired = {record.planned.slice for record in records}
        assert paired == {"", "H2", "H11", "default", "lr_up", "lr_down"}
        progress = coordinator.progress()
        assert sum(progress.planned.values()) == len(records)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (claim("C", "tuned_loss", {"a": "grsgd", "b": "sgd"}), "Unknown family of study claimed 'sgd'"),
        (
            claim("C", "lr_width", {"a": "grsgd", "b": "rsgd"}, direction="greater", tau={"ref": "sgd"}),
            "Unknown family of study claimed 'sgd'",
        ),
        (
            claim("C", "perturbation_drop", {"a": "grsgd", "b": "rsgd"}, perturbation="weights_4bit"),
            "claim C: Unknown perturbation of this study 'weights_4bit'",
        ),
        (
            claim("C", "factor_sd", {"a": "grsgd", "b": "rsgd"}, factor="num_experts"),
            "the slice of num_experts, but phases.sensitivity.factor_slices has top_k, rank: add it there.",
        ),
        (
            claim("C", "tuning_curve", {"a": "grsgd", "b": "rsgd"}, k=16),
            "claim C: tuning_curve has k = 16, but phases.sensitivity.points is 8: lower k.",
        ),
        (
            claim("default", "tuned_loss", SHIFTED),
            "claim default has the name of a slice of the confirmation: rename it.",
        ),
        (
            claim("C", "matched_loss", {**SHIFTED, "at": {"top_k": "b.top_k = a.num_experts * 2"}}),
            "which is more than there are: correct its formulas.",
        ),
        (
            claim("C", "matched_loss", {**SHIFTED, "at": {"lr": "b.lr = a.lr - 0.001"}}),
            "but a hyperparameter is a finite number above 0: correct the formula.",
        ),
    ],
)
def test_claims_that_do_not_fit_the_study_are_refused(tmp_path: Path, written: dict[str, Any], message: str):
    with pytest.raises(SpecError) as caught:
        study(tmp_path, written)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(tmp_path / "claims.yaml"))
    assert "\n" not in text


@pytest.mark.parametrize(
    ("phases", "metric", "message"),
    [
        (
            {"confirmation": {"seeds": 4}},
            "matched_loss",
            "needs phases.sensitivity, which the study has not: add it",
        ),
        ({"sensitivity": {"replicates": 3}}, "lr_width", "lr_width needs phases.sensitivity.lr_slice, which"),
        ({"sensitivity": {"replicates": 3}}, "tuned_loss", "tuned_loss needs phases.confirmation, which"),
        (
            {"sensitivity": {"replicates": 3, "lr_slice": {}}},
            "lr_width",
            "lr_width needs phases.confirmation, which",  # for the target loss
        ),
    ],
)
def test_a_phase_that_a_claim_reads_must_be_there(
    tmp_path: Path, phases: dict[str, Any], metric: str, message: str
):
    compare = SHIFTED if metric == "matched_loss" else {"a": "grsgd", "b": "rsgd"}
    width = {"tau": {"ref": "rsgd.confirmed"}, "direction": "greater"} if metric == "lr_width" else {}
    with pytest.raises(SpecError, match=f"claim C: .*{message}"):
        laid_out_study(tmp_path, claim("C", metric, compare, **width), spec={**SPEC, "phases": phases})


def test_a_factor_that_does_not_vary_is_refused(tmp_path: Path):
    spec = {**SPEC, "spaces": {"rsgd": {"rank": 4}}}
    with pytest.raises(SpecError, match="looks along rank, which has one value in the space of rsgd"):
        laid_out_study(
            tmp_path, claim("C", "factor_sd", {"a": "grsgd", "b": "rsgd"}, factor="rank"), spec=spec
        )


def test_sizes_that_were_registered_must_be_the_studys(tmp_path: Path):
    with pytest.raises(SpecError, match=r"design\.sensitivity\.replicates is 10, but the study has 3"):
        study(tmp_path, MATCHED, design={"sensitivity": {"replicates": 10}})


def test_a_study_file_may_not_lay_out_pairs_by_hand(tmp_path: Path):
    path = tmp_path / "study.yaml"
    path.write_text("name: x\nmatched: []\n")
    with pytest.raises(
        SpecError, match="the key 'matched' is written at launch, from the claims file: remove it"
    ):
        load_spec(path)


def test_the_papers_study_can_decide_its_claims():
    spec = with_claims(load_spec(ROOT / "examples" / "paper" / "study.yaml"))
    assert {"gsgd", "gadamw", "loraplus", "grsgd_zero", "grsgd_faithful"} <= set(spec.families)
    assert {matched.claim for matched in spec.matched} == {"H1", "H2", "H11", "H12"}
    plan = counted_plan(spec)
    text = (ROOT / "examples" / "paper" / "study.yaml").read_text()
    assert f"Cost: {plan['num_trials']:,} trials at the most" in text
    pairs = [counts for place, counts in plan["beside_counts"].items() if "/H" in place]
    assert f"{sum(sum(one.values()) for one in pairs)} more answer" in text
    assert smallest_effects(spec)["confirmation"]["n"] == 30
