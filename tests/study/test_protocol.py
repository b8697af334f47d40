"""The trials of each phase: pairing, seeds, counts, slices and the tuned configuration."""

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from scipy.stats import qmc

from search_spaces import FAMILIES, ROLES, Param, derived_seed
from search_spaces.errors import LedgerError
from study.protocol import (
    NUM_STARTUP_TRIALS,
    check_equal_budgets,
    confirmation_trials,
    default_params,
    search_trial,
    search_trials,
    sensitivity_trials,
    trial_counts,
    tuned,
)
from study.records import Ending, Outcome, Phase, PlannedTrial, TrialRecord
from study.spec import StudySpec, parse_spec

FACTORS = ["num_experts", "top_k", "rank", "damping"]


def make_spec(**changes: Any) -> StudySpec:
    phases = {
        "search": {"trials": 16},
        "sensitivity": {
            "replicates": 3,
            "points": 8,
            "lr_slice": {"step_decades": 0.5, "window": {"decades_below": 2, "decades_above": 1}},
            "factor_slices": FACTORS,
        },
        "confirmation": {"seeds": 6},
    }
    written = {
        "name": "s",
        "seed": 5,
        "base": {"model": "path:/models/x"},
        "task": {"name": "vader_movie"},
        "training": {"steps": 40},
        "families": list(FAMILIES),
        "phases": phases,
    }
    return parse_spec({**written, **changes}, "s.yaml")


def all_trials(spec: StudySpec, best: Mapping[str, Mapping[str, Param]] | None = None) -> list[PlannedTrial]:
    best = default_params(spec) if best is None else best
    searched = [trial for name in spec.families for trial in search_trials(spec, name)]
    return searched + sensitivity_trials(spec, best) + confirmation_trials(spec, best)


def test_every_trial_is_in_its_space_and_has_the_equal_budget():
    spec = make_spec()
    trials = all_trials(spec)
    assert len({trial.key for trial in trials}) == len(trials)
    for trial in trials:
        assert trial.steps == 40
        assert trial.key.startswith(f"{trial.phase}/{trial.family}/")
        params = dict(trial.params)
        if trial.phase is Phase.LR_SLICE:
            params["lr"] = spec.space(trial.family).nearest(params)["lr"]
        spec.space(trial.family).check(params)
    check_equal_budgets(spec, trials)


def test_the_counts_are_those_of_the_trials():
    spec = make_spec()
    found: dict[Phase, Counter[str]] = {phase: Counter() for phase in Phase}
    for trial in all_trials(spec):
        found[trial.phase][trial.family] += 1
    counts = trial_counts(spec)
    for phase in (Phase.SEARCH, Phase.SENSITIVITY, Phase.LR_SLICE, Phase.CONFIRMATION):
        assert counts[phase] == dict(found[phase])
        assert len(set(counts[phase].values())) == 1
    # 4 + 3 + 4 levels, and 5 of the damping where there is one; defaults leave top_k 8 of 8 experts in
    assert counts[Phase.FACTOR_SLICE] == {
        n: 3 * (16 if f.preconditioned else 11) for n, f in FAMILIES.items()
    }
    assert counts[Phase.FACTOR_SLICE] == dict(found[Phase.FACTOR_SLICE])
    assert counts[Phase.LR_SLICE]["sgd"] == 3 * 6


def test_no_phase_no_trials():
    spec = make_spec(phases={"sensitivity": {"replicates": 1, "points": 1}})
    assert [t.key for t in all_trials(spec) if t.family == "sgd"] == ["sensitivity/sgd/r00/p00"]
    assert trial_counts(spec)[Phase.SEARCH] == dict.fromkeys(FAMILIES, 0)
    assert confirmation_trials(spec, default_params(spec)) == []


def test_families_share_points_and_seeds():
    spec = make_spec()
    best = default_params(spec)
    by_place: dict[Any, list[PlannedTrial]] = {}
    for trial in all_trials(spec, best):
        by_place.setdefault((trial.phase, trial.slice, trial.replicate, trial.point), []).append(trial)
    for (phase, slice_name, _, _), pair in by_place.items():
        assert len({trial.seed for trial in pair}) == 1
        if slice_name != "damping":
            assert {trial.family for trial in pair} == set(FAMILIES)
        if phase in {Phase.SEARCH, Phase.SENSITIVITY}:
            quantiles = [spec.space(trial.family).to_unit(trial.params) for trial in pair]
            for coordinate in range(5):
                first = quantiles[0][coordinate]
                assert all(u[coordinate] == pytest.approx(first, abs=1e-9) for u in quantiles)
        if phase is Phase.LR_SLICE:
            factors = [float(t.params["lr"]) / float(best[t.family]["lr"]) for t in pair]
            assert factors == pytest.approx([factors[0]] * len(pair), rel=1e-8)


def test_seeds_derive_from_study_phase_replicate_and_point():
    trials = {trial.key: trial for trial in all_trials(make_spec())}
    assert trials["search/rsgd/p003"].seed == derived_seed(5, "search", 0, 3)
    assert trials["sensitivity/rsgd/r02/p05"].seed == derived_seed(5, "sensitivity", 2, 5)
    assert trials["lr_slice/rsgd/r01/p04"].seed == derived_seed(5, "lr_slice", 1, 4)
    assert trials["factor_slice/rsgd/rank/r01/p02"].seed == derived_seed(5, "factor_slice/rank", 1, 2)
    assert trials["confirmation/rsgd/r05"].seed == derived_seed(5, "confirmation", 5, 0)


def test_no_seed_serves_two_places():
    seeds: dict[int, set[Any]] = {}
    for trial in all_trials(make_spec()):
        seeds.setdefault(trial.seed, set()).add((trial.phase, trial.slice, trial.replicate, trial.point))
    assert all(len(places) == 1 for places in seeds.values())
    other = {trial.seed for trial in all_trials(make_spec(seed=6))}
    assert not other & set(seeds)


def test_trials_do_not_depend_on_which_families_are_compared():
    few = {trial.key: trial for trial in all_trials(make_spec(families=["grsgd", "sgd"]))}
    many = {trial.key: trial for trial in all_trials(make_spec())}
    assert few == {key: many[key] for key in few}


def test_the_search_is_a_scrambled_net():
    spec = make_spec()
    design = qmc.Sobol(len(ROLES), scramble=True, rng=derived_seed(5, "search", "design")).random(16)
    for name, columns in {
        "sgd": [0, 1, 2, 3, 4],
        "grsgd": [0, 1, 2, 3, 4, 5],
        "loraplus": [0, 1, 2, 3, 4, 6],
    }.items():
        expected = [FAMILIES[name].space.from_unit(point) for point in design[:, columns]]
        assert [trial.params for trial in search_trials(spec, name)] == expected


def test_an_adaptive_sampler_begins_with_shared_points():
    spec = make_spec(phases={"search": {"trials": 16, "sampler": "tpe"}})
    startup = search_trials(spec, "rsgd")
    assert startup == search_trials(make_spec(), "rsgd")[:NUM_STARTUP_TRIALS]
    drawn = search_trial(spec, "rsgd", 12, [0.5] * 6)
    assert drawn.key == "search/rsgd/p012"
    assert drawn.seed == derived_seed(5, "search", 0, 12)
    assert drawn.params["lr"] == pytest.approx(math.sqrt(1e-5))
    short = make_spec(phases={"search": {"trials": 3, "sampler": "tpe"}})
    assert len(search_trials(short, "rsgd")) == 3


def test_random_points_are_shared_and_no_net():
    spec = make_spec(phases={"search": {"trials": 16, "sampler": "random"}})
    lr = [spec.space("sgd").to_unit(trial.params)[0] for trial in search_trials(spec, "sgd")]
    assert lr == pytest.approx([spec.space("rsgd").to_unit(t.params)[0] for t in search_trials(spec, "rsgd")])
    assert sorted(int(u * 16) for u in lr) != list(range(16))


def test_replicates_of_the_design_differ():
    trials = [t for t in sensitivity_trials(make_spec()) if t.family == "sgd"]
    designs = [[t.params["lr"] for t in trials if t.replicate == r] for r in range(3)]
    assert all(a != b for a, b in itertools.combinations(designs, 2))
    assert {trial.phase for trial in trials} == {Phase.SENSITIVITY}


def test_a_learning_rate_slice_moves_nothing_else():
    spec = make_spec()
    best = default_params(spec)
    for trial in sensitivity_trials(spec, best):
        if trial.phase is Phase.LR_SLICE:
            assert {**trial.params, "lr": 0} == {**best[trial.family], "lr": 0}
            assert trial.slice == "lr"
            decade = math.log10(float(trial.params["lr"]) / float(best[trial.family]["lr"]))
            assert -2 + 0.5 * trial.point <= decade + 1e-9 < -2 + 0.5 * (trial.point + 1) + 2e-9


@pytest.mark.parametrize(
    ("window", "lowest"),
    [
        ([1e-3, 1e-1], {"sgd": 1e-3, "rsgd": 1e-3}),
        ({"sgd": [1, 100], "rsgd": [1e-4, 1e-2]}, {"sgd": 1.0, "rsgd": 1e-4}),
    ],
)
def test_a_declared_window_is_used(window: Any, lowest: dict[str, float]):
    lr_slice = {"step_decades": 0.25, "window": window}
    phases = {"sensitivity": {"replicates": 2, "points": 1, "lr_slice": lr_slice}}
    spec = make_spec(families=["sgd", "rsgd"], phases=phases)
    trials = [t for t in sensitivity_trials(spec, default_params(spec)) if t.phase is Phase.LR_SLICE]
    assert trial_counts(spec)[Phase.LR_SLICE] == {"sgd": 16, "rsgd": 16}
    assert len(trials) == 32
    for trial in trials:
        steps = math.log10(float(trial.params["lr"]) / lowest[trial.family]) / 0.25
        assert trial.point <= steps + 1e-6 < trial.point + 1 + 2e-6


def test_a_factor_slice_varies_one_factor():
    spec = make_spec()
    best = default_params(spec)
    for trial in sensitivity_trials(spec, best):
        if trial.phase is Phase.FACTOR_SLICE:
            changed = {name for name, value in trial.params.items() if value != best[trial.family][name]}
            assert changed <= {trial.slice, "top_k"}
            if "top_k" in changed and trial.slice != "top_k":
                assert (trial.params["num_experts"], trial.params["top_k"]) == (2, 2)


def test_a_factor_slice_leaves_out_what_the_tuned_experts_rule_out():
    spec = make_spec(families=["sgd", "adamw"])
    best = {**default_params(spec), "sgd": {**default_params(spec)["sgd"], "num_experts": 4}}
    levels = {
        name: {
            t.point: t.params["top_k"]
            for t in sensitivity_trials(spec, best)
            if t.slice == "top_k" and t.family == name
        }
        for name in spec.families
    }
    assert levels == {"sgd": {0: 2, 1: 4}, "adamw": {0: 2, 1: 4, 2: 8}}
    assert trial_counts(spec)[Phase.FACTOR_SLICE]["sgd"] == 3 * 11
    check_equal_budgets(spec, all_trials(spec, best))


def test_a_fixed_factor_has_no_slice():
    spec = make_spec(spaces={"all": {"rank": 4, "num_experts": 4, "top_k": [2, 4], "damping": 1e-6}})
    slices = {
        t.slice for t in sensitivity_trials(spec, default_params(spec)) if t.phase is Phase.FACTOR_SLICE
    }
    assert slices == {"top_k"}
    assert trial_counts(spec)[Phase.FACTOR_SLICE] == dict.fromkeys(FAMILIES, 6)


def test_a_family_without_a_tuned_configuration_has_the_design_alone():
    spec = make_spec(families=["sgd", "adamw"])
    best = {"adamw": default_params(spec)["adamw"]}
    phases = {t.phase for t in all_trials(spec, best) if t.family == "sgd"}
    assert phases == {Phase.SEARCH, Phase.SENSITIVITY}
    check_equal_budgets(spec, all_trials(spec, best))


def test_the_confirmation_goes_seed_by_seed():
    spec = make_spec(families=["sgd", "adamw"])
    best = default_params(spec)
    trials = confirmation_trials(spec, best)
    assert [(t.replicate, t.family) for t in trials] == [(r, f) for r in range(6) for f in ("sgd", "adamw")]
    assert all(trial.params == best[trial.family] for trial in trials)


def test_defaults_and_neighbours_are_confirmed_on_the_first_seeds():
    phases = {
        "search": {"trials": 2},
        "confirmation": {"seeds": 4, "default_seeds": 3, "perturbed_seeds": 2},
    }
    spec = make_spec(families=["sgd", "adamw"], phases=phases)
    best = {name: {**params, "lr": 0.01, "rank": 8} for name, params in default_params(spec).items()}
    trials = confirmation_trials(spec, best)
    assert [t.slice for t in trials].count("") == 8
    by_slice = {name: [t for t in trials if t.slice == name] for name in ("default", "lr_up", "lr_down")}
    assert {name: len(found) for name, found in by_slice.items()} == {"default": 6, "lr_up": 4, "lr_down": 4}
    seeds = [t.seed for t in trials if t.slice == "" and t.family == "sgd"]
    for slice_name, found in by_slice.items():
        for trial in found:
            assert trial.key == f"confirmation/{trial.family}/{slice_name}/r{trial.replicate:02d}"
            assert trial.seed == seeds[trial.replicate]
    assert all(dict(t.params) == default_params(spec)[t.family] for t in by_slice["default"])
    for name, factor in (("lr_up", math.sqrt(10)), ("lr_down", 1 / math.sqrt(10))):
        assert [t.params["lr"] for t in by_slice[name]] == pytest.approx([0.01 * factor] * 4)
        assert all({**t.params, "lr": 0} == {**best[t.family], "lr": 0} for t in by_slice[name])
    assert trial_counts(spec)[Phase.CONFIRMATION] == {"sgd": 11, "adamw": 11}
    check_equal_budgets(spec, all_trials(spec, best))


def test_a_family_that_was_not_tuned_is_confirmed_at_its_defaults_alone():
    phases = {"search": {"trials": 2}, "confirmation": {"seeds": 4, "default_seeds": 3, "perturbed_seeds": 2}}
    spec = make_spec(families=["sgd", "adamw"], phases=phases)
    best = {"adamw": default_params(spec)["adamw"]}
    trials = all_trials(spec, best)
    assert {t.slice for t in trials if t.family == "sgd" and t.phase is Phase.CONFIRMATION} == {"default"}
    check_equal_budgets(spec, trials)
    with pytest.raises(LedgerError, match="Family sgd has 2 confirmation trials in slice default"):
        check_equal_budgets(spec, [t for t in trials if t.key != "confirmation/sgd/default/r02"])


def test_without_a_search_the_defaults_are_confirmed_once():
    phases = {"confirmation": {"seeds": 4, "default_seeds": 3}}
    spec = make_spec(families=["sgd", "adamw"], phases=phases)
    assert {t.slice for t in confirmation_trials(spec, default_params(spec))} == {""}
    assert trial_counts(spec)[Phase.CONFIRMATION] == {"sgd": 4, "adamw": 4}


def finished(trial: PlannedTrial, value: float | None, **changes: Any) -> TrialRecord:
    facts = {"outcome": Outcome.FINISHED, "steps": trial.steps, "select_value": value, **changes}
    return TrialRecord(planned=trial, attempts=1, ending=Ending(**facts))


def test_the_tuned_configuration_is_the_best_at_full_budget():
    spec = make_spec(families=["sgd", "adamw"])
    sgd, adamw = search_trials(spec, "sgd"), search_trials(spec, "adamw")
    records = [
        finished(sgd[4], 0.5),
        finished(sgd[3], 0.5),
        finished(sgd[0], 0.7),
        finished(sgd[1], 0.1, steps=20),
        finished(sgd[2], 0.1, outcome=Outcome.STOPPED),
        finished(sgd[5], 0.1, outcome=Outcome.DIVERGED),
        finished(sgd[6], None),
        finished(sensitivity_trials(spec)[0], 0.1),
        finished(adamw[0], None, outcome=Outcome.DIVERGED),
        TrialRecord(planned=adamw[1], attempts=0, ending=None),
    ]
    assert tuned(records) == {"sgd": sgd[3].params}
    assert tuned(reversed(records)) == tuned(records)
    assert tuned([]) == {}


def test_defaults_move_into_the_studys_space():
    spec = make_spec(spaces={"all": {"num_experts": [2, 4], "rank": [16, 32], "lr": {"log": [1e-3, 1e-2]}}})
    params = default_params(spec)["sgd"]
    assert params == {"lr": 1e-2, "router_lr": 1e-4, "num_experts": 4, "top_k": 4, "rank": 16}
    assert default_params(make_spec()) == {name: f.defaults for name, f in FAMILIES.items()}


def test_unequal_budgets_are_refused():
    spec = make_spec(families=["sgd", "adamw"])
    trials = all_trials(spec)
    first = trials[0]
    longer = PlannedTrial(**{**vars(first), "steps": 41})
    with pytest.raises(
        LedgerError, match="Trial search/sgd/p000 has 41 steps, but every trial of study s has 40"
    ):
        check_equal_budgets(spec, [longer, *trials[1:]])
    with pytest.raises(
        LedgerError, match="Family sgd has 15 search trials, but equal budgets give every family 16"
    ):
        check_equal_budgets(spec, trials[1:])
    with pytest.raises(LedgerError, match="Family adamw has 5 confirmation trials"):
        check_equal_budgets(spec, trials[:-1])
    stranger = PlannedTrial(**{**vars(first), "family": "rsgd"})
    with pytest.raises(
        LedgerError, match="Family rsgd has 1 search trials, but equal budgets give every family 0"
    ):
        check_equal_budgets(spec, [*trials, stranger])
