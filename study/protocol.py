"""The trials of each phase, as pure functions of the spec and, after the search, of the tuned configurations.

Families meet on equal ground. A design is drawn once in the unit cube of all hyperparameters (`ROLES`, in
order); each family reads the coordinates that it has and maps them into its own space. A trial's seed derives
from (study seed, phase, replicate, point) and never from the family; the phase is in it, so the seeds of the
confirmation are fresh by construction. Every trial of a study has the same number of steps.
"""

from collections.abc import Iterable, Mapping, Sequence

from search_spaces import ROLES, Param, derived_seed, random_points, sobol_points
from search_spaces.errors import LedgerError
from study.matched import matched_confirmation, matched_design
from study.pairing import family_points, planned_trial
from study.records import Outcome, Phase, PlannedTrial, TrialRecord
from study.sensitivity import (
    factor_slice_trials,
    lr_slice_trials,
    most_levels,
    num_slice_points,
    space_design,
)
from study.spec import StudySpec

DEFAULT, LR_UP, LR_DOWN = "default", "lr_up", "lr_down"
"""Slices of the confirmation beside the tuned configurations, which are in none."""
HALF_DECADE = 10**0.5
NUM_STARTUP_TRIALS = 10
"""Sobol' trials with which an adaptive sampler begins: Optuna's own number of random ones."""


def search_trials(spec: StudySpec, family_name: str) -> list[PlannedTrial]:
    """The search trials of one family that are known before any has run.

    With the samplers sobol and random these are all, their points shared by the families. With tpe they are
    the first ones, Sobol' points too; the sampler draws the rest, and `search_trial` plans each.
    """
    search = spec.phases.search
    if search is None:
        return []
    num_trials = min(search.trials, NUM_STARTUP_TRIALS) if search.sampler == "tpe" else search.trials
    draw = random_points if search.sampler == "random" else sobol_points
    design = draw(num_trials, len(ROLES), derived_seed(spec.seed, Phase.SEARCH, "design"))
    return [
        search_trial(spec, family_name, point, u)
        for point, u in enumerate(family_points(spec, family_name, design))
    ]


def search_trial(spec: StudySpec, family_name: str, point: int, u: Sequence[float]) -> PlannedTrial:
    """The search trial number `point` of a family, at `u` in the unit cube of the family's own space."""
    params = spec.space(family_name).from_unit(u)
    path = f"{family_name}/p{point:03d}"
    return planned_trial(spec, Phase.SEARCH, path, family_name=family_name, point=point, params=params)


def sensitivity_trials(
    spec: StudySpec, tuned: Mapping[str, Mapping[str, Param]] | None = None
) -> list[PlannedTrial]:
    """The design over the spaces, the pairs that claims ask for, then the slices around each tuned configuration.

    Without `tuned`, no slices. A family that is absent from `tuned` has none.
    """
    sensitivity = spec.phases.sensitivity
    if sensitivity is None:
        return []
    trials = [trial for name in spec.families for trial in space_design(spec, sensitivity, name)]
    trials += [trial for matched in spec.matched for trial in matched_design(spec, matched)]
    for name in spec.families:
        if tuned is not None and name in tuned:
            trials += lr_slice_trials(spec, sensitivity, name, tuned[name])
            trials += factor_slice_trials(spec, sensitivity, name, tuned[name])
    return trials


def confirmation_trials(spec: StudySpec, tuned: Mapping[str, Mapping[str, Param]]) -> list[PlannedTrial]:
    """Each tuned configuration on the same fresh seeds, seed by seed, so that every look is balanced.

    Then, on the same seeds, what stands beside it: the defaults, the tuned configuration with its learning rate half
    a decade off, and the pairs that claims ask for.
    """
    confirmation = spec.phases.confirmation
    if confirmation is None:
        return []
    defaults = default_params(spec)
    moved = {
        slice_name: {name: {**params, "lr": float(params["lr"]) * factor} for name, params in tuned.items()}
        for slice_name, factor in ((LR_UP, HALF_DECADE), (LR_DOWN, 1 / HALF_DECADE))
    }
    groups: list[tuple[str, int, Mapping[str, Mapping[str, Param]]]] = [
        ("", confirmation.seeds, tuned),
        (DEFAULT, num_default_seeds(spec), defaults),
        *((slice_name, confirmation.perturbed_seeds, params) for slice_name, params in moved.items()),
    ]
    trials = [
        planned_trial(
            spec,
            Phase.CONFIRMATION,
            "/".join(filter(None, (name, slice_name, f"r{replicate:02d}"))),
            family_name=name,
            replicate=replicate,
            params=params[name],
            slice_name=slice_name,
        )
        for slice_name, num_seeds, params in groups
        for replicate in range(num_seeds)
        for name in spec.families
        if name in params
    ]
    return trials + [t for matched in spec.matched for t in matched_confirmation(spec, matched, tuned)]


def num_default_seeds(spec: StudySpec) -> int:
    """Seeds on which the defaults are confirmed; none without a search, where the defaults are what is tuned."""
    confirmation = spec.phases.confirmation
    return confirmation.default_seeds if confirmation and spec.phases.search else 0


def trial_counts(spec: StudySpec) -> dict[Phase, dict[str, int]]:
    """Trials per phase and family, before anything is tuned.

    Exact but for the factor slices, where it is an upper bound: a top_k above the tuned num_experts is left
    out there.
    """
    counts: dict[Phase, dict[str, int]] = {phase: dict.fromkeys(spec.families, 0) for phase in Phase}
    for (phase, _), families in slice_counts(spec).items():
        for name, number in families.items():
            counts[phase][name] += number
    return counts


def counted(trials: Iterable[PlannedTrial]) -> dict[Phase, dict[str, int]]:
    """Trials per phase and family of some that stand already."""
    counts: dict[Phase, dict[str, int]] = {phase: {} for phase in Phase}
    for trial in trials:
        counts[trial.phase][trial.family] = counts[trial.phase].get(trial.family, 0) + 1
    return counts


def slice_counts(spec: StudySpec) -> dict[tuple[Phase, str], dict[str, int]]:
    """Trials per phase and slice, by family; exact as `trial_counts`."""
    search, sensitivity, confirmation = spec.phases.search, spec.phases.sensitivity, spec.phases.confirmation
    counts: dict[tuple[Phase, str], dict[str, int]] = {}
    if search:
        counts[Phase.SEARCH, ""] = dict.fromkeys(spec.families, search.trials)
    if sensitivity:
        replicates, lr = sensitivity.replicates, sensitivity.lr_slice
        counts[Phase.SENSITIVITY, ""] = dict.fromkeys(spec.families, replicates * sensitivity.points)
        counts[Phase.LR_SLICE, "lr"] = {
            name: replicates * num_slice_points(lr, name) for name in spec.families
        }
        for factor in sensitivity.factor_slices:
            levels = {name: most_levels(spec, name, factor) for name in spec.families}
            counts[Phase.FACTOR_SLICE, factor] = {
                name: replicates * number for name, number in levels.items()
            }
    if confirmation:
        extra = confirmation.perturbed_seeds
        seeds = {"": confirmation.seeds, DEFAULT: num_default_seeds(spec), LR_UP: extra, LR_DOWN: extra}
        counts |= {
            (Phase.CONFIRMATION, slice_name): dict.fromkeys(spec.families, number)
            for slice_name, number in seeds.items()
        }
    for matched in spec.matched:
        phase = Phase(matched.phase)
        seeds_of_claim = confirmation.seeds if confirmation and phase is Phase.CONFIRMATION else 0
        counts[phase, matched.claim] = {matched.b: len(matched_design(spec, matched)) or seeds_of_claim}
    return counts


def tuned(records: Iterable[TrialRecord]) -> dict[str, Mapping[str, Param]]:
    """The best configuration of each family: least select loss of the search trials that had all their steps.

    A tie goes to the lower key. A family without a finished search trial is absent.
    """
    best: dict[str, tuple[float, str, Mapping[str, Param]]] = {}
    for record in records:
        planned, ending = record.planned, record.ending
        if planned.phase is not Phase.SEARCH or ending is None or ending.outcome is not Outcome.FINISHED:
            continue
        if ending.select_value is None or ending.steps < planned.steps:
            continue
        candidate = (ending.select_value, planned.key, planned.params)
        if planned.family not in best or candidate[:2] < best[planned.family][:2]:
            best[planned.family] = candidate
    return {name: params for name, (_, _, params) in best.items()}


def check_equal_budgets(spec: StudySpec, trials: Iterable[PlannedTrial]) -> None:
    """Refuse a record in which one family has had more trials or longer ones than another.

    Search and sensitivity must be complete for every family; a family without a tuned configuration may lack
    its slices and its confirmation altogether. What a claim pairs must be there for the family that it pairs.

    Raises:
        LedgerError: the trials are not those of the spec.
    """
    planned = slice_counts(spec)
    found = {place: dict.fromkeys(families, 0) for place, families in planned.items()}
    for trial in trials:
        if trial.steps != spec.training.steps:
            raise LedgerError(
                f"Trial {trial.key} has {trial.steps} steps, but every trial of study {spec.name} has "
                f"{spec.training.steps}: start the study anew under another name."
            )
        families = found.setdefault((trial.phase, trial.slice), {})
        families[trial.family] = families.get(trial.family, 0) + 1
    for (phase, slice_name), families in found.items():
        if phase is Phase.FACTOR_SLICE:
            continue
        needs_tuned = phase is Phase.LR_SLICE or (phase is Phase.CONFIRMATION and slice_name != DEFAULT)
        where = f" in slice {slice_name}" if slice_name not in {"", "lr"} else ""
        for name, count in families.items():
            wanted = planned.get((phase, slice_name), {}).get(name, 0)
            if count != wanted and not (needs_tuned and count == 0):
                raise LedgerError(
                    f"Family {name} has {count} {phase} trials{where}, but equal budgets give every family "
                    f"{wanted}: start the study anew under another name."
                )


def default_params(spec: StudySpec) -> dict[str, dict[str, Param]]:
    """Each family's defaults, moved into the study's space: what a study without a search confirms."""
    return {name: spec.defaults(name) for name in spec.families}
