"""The trials of each phase, as pure functions of the spec and, after the search, of the tuned configurations.

Families meet on equal ground. A design is drawn once in the unit cube of all hyperparameters (`ROLES`, in
order); each family reads the coordinates that it has and maps them into its own space. A trial's seed derives
from (study seed, phase, replicate, point) and never from the family; the phase is in it, so the seeds of the
confirmation are fresh by construction. Every trial of a study has the same number of steps.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from search_spaces import (
    ROLES,
    Category,
    Dimension,
    Param,
    derived_seed,
    extent,
    factor_levels,
    family,
    lr_slice,
    random_points,
    slice_length,
    slice_offset,
    sobol_points,
)
from search_spaces.errors import LedgerError
from study.phases import AroundTuned, LrSlice, Sensitivity
from study.records import Outcome, Phase, PlannedTrial, TrialRecord
from study.spec import StudySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
        for point, u in enumerate(_family_points(spec, family_name, design))
    ]


def search_trial(spec: StudySpec, family_name: str, point: int, u: Sequence[float]) -> PlannedTrial:
    """The search trial number `point` of a family, at `u` in the unit cube of the family's own space."""
    params = spec.space(family_name).from_unit(u)
    path = f"{family_name}/p{point:03d}"
    return _trial(spec, Phase.SEARCH, path, family_name=family_name, point=point, params=params)


def sensitivity_trials(
    spec: StudySpec, tuned: Mapping[str, Mapping[str, Param]] | None = None
) -> list[PlannedTrial]:
    """The design over the spaces, then the slices around each family's tuned configuration.

    Without `tuned`, the design alone. A family that is absent from `tuned` has no slices.
    """
    sensitivity = spec.phases.sensitivity
    if sensitivity is None:
        return []
    trials = [trial for name in spec.families for trial in _space_design(spec, sensitivity, name)]
    for name in spec.families:
        if tuned is not None and name in tuned:
            trials += _lr_slice(spec, sensitivity, name, tuned[name])
            trials += _factor_slices(spec, sensitivity, name, tuned[name])
    return trials


def confirmation_trials(spec: StudySpec, tuned: Mapping[str, Mapping[str, Param]]) -> list[PlannedTrial]:
    """Each tuned configuration on the same fresh seeds, seed by seed, so that every look is balanced."""
    confirmation = spec.phases.confirmation
    if confirmation is None:
        return []
    return [
        _trial(
            spec,
            Phase.CONFIRMATION,
            f"{name}/r{replicate:02d}",
            family_name=name,
            replicate=replicate,
            params=tuned[name],
        )
        for replicate in range(confirmation.seeds)
        for name in spec.families
        if name in tuned
    ]


def trial_counts(spec: StudySpec) -> dict[Phase, dict[str, int]]:
    """Trials per phase and family, before anything is tuned.

    Exact but for the factor slices, where it is an upper bound: a top_k above the tuned num_experts is left
    out there.
    """
    search, sensitivity, confirmation = spec.phases.search, spec.phases.sensitivity, spec.phases.confirmation
    counts: dict[Phase, dict[str, int]] = {phase: dict.fromkeys(spec.families, 0) for phase in Phase}
    for name in spec.families:
        counts[Phase.SEARCH][name] = search.trials if search else 0
        counts[Phase.CONFIRMATION][name] = confirmation.seeds if confirmation else 0
        if sensitivity is None:
            continue
        per_replicate = {
            Phase.SENSITIVITY: sensitivity.points,
            Phase.LR_SLICE: _slice_points(sensitivity.lr_slice, name),
            Phase.FACTOR_SLICE: sum(_most_levels(spec, name, factor) for factor in sensitivity.factor_slices),
        }
        for phase, num_points in per_replicate.items():
            counts[phase][name] = sensitivity.replicates * num_points
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
    its slices and its confirmation altogether.

    Raises:
        LedgerError: the trials are not those of the spec.
    """
    found = {phase: dict.fromkeys(spec.families, 0) for phase in Phase}
    for trial in trials:
        if trial.steps != spec.training.steps:
            raise LedgerError(
                f"Trial {trial.key} has {trial.steps} steps, but every trial of study {spec.name} has "
                f"{spec.training.steps}: start the study anew under another name."
            )
        found[trial.phase][trial.family] = found[trial.phase].get(trial.family, 0) + 1
    for phase, planned in trial_counts(spec).items():
        if phase is Phase.FACTOR_SLICE:
            continue
        needs_tuned = phase in {Phase.LR_SLICE, Phase.CONFIRMATION}
        for name, count in found[phase].items():
            if count != planned.get(name) and not (needs_tuned and count == 0):
                raise LedgerError(
                    f"Family {name} has {count} {phase} trials, but equal budgets give every family "
                    f"{planned.get(name, 0)}: start the study anew under another name."
                )


def default_params(spec: StudySpec) -> dict[str, dict[str, Param]]:
    """Each family's defaults, moved into the study's space: what a study without a search confirms."""
    return {name: spec.space(name).nearest(family(name).defaults) for name in spec.families}


def _trial(
    spec: StudySpec,
    phase: Phase,
    path: str,
    *,
    family_name: str,
    params: Mapping[str, Param],
    replicate: int = 0,
    point: int = 0,
    slice_name: str = "",
) -> PlannedTrial:
    seed_path = f"{phase}/{slice_name}" if phase is Phase.FACTOR_SLICE else str(phase)
    return PlannedTrial(
        key=f"{phase}/{path}",
        phase=phase,
        slice=slice_name,
        family=family_name,
        replicate=replicate,
        point=point,
        seed=derived_seed(spec.seed, seed_path, replicate, point),
        params=dict(params),
        steps=spec.training.steps,
    )


def _family_points(spec: StudySpec, family_name: str, design: "NDArray[np.float64]") -> list[list[float]]:
    """The coordinates of `design` (points x roles) that a family has, in its own order."""
    columns = [list(ROLES).index(role) for role in spec.space(family_name).dimensions]
    points: list[list[float]] = design[:, columns].tolist()
    return points


def _space_design(spec: StudySpec, sensitivity: Sensitivity, family_name: str) -> list[PlannedTrial]:
    space = spec.space(family_name)
    trials = []
    for replicate in range(sensitivity.replicates):
        seed = derived_seed(spec.seed, Phase.SENSITIVITY, "design", replicate)
        design = sobol_points(sensitivity.points, len(ROLES), seed)
        for point, u in enumerate(_family_points(spec, family_name, design)):
            path = f"{family_name}/r{replicate:02d}/p{point:02d}"
            trials.append(
                _trial(
                    spec,
                    Phase.SENSITIVITY,
                    path,
                    family_name=family_name,
                    replicate=replicate,
                    point=point,
                    params=space.from_unit(u),
                )
            )
    return trials


def _window(lr: LrSlice, family_name: str, tuned_lr: float) -> tuple[float, float]:
    """Lowest and highest learning rate of a family's slice."""
    match lr.window:
        case AroundTuned(decades_below=below, decades_above=above):
            return tuned_lr * 10**-below, tuned_lr * 10**above
        case dict(windows):
            return windows[family_name]
        case (low, high):
            return low, high


def _slice_points(lr: LrSlice | None, family_name: str) -> int:
    return slice_length(*_window(lr, family_name, 1.0), lr.step_decades) if lr else 0


def _lr_slice(
    spec: StudySpec, sensitivity: Sensitivity, family_name: str, params: Mapping[str, Param]
) -> list[PlannedTrial]:
    lr = sensitivity.lr_slice
    if lr is None:
        return []
    low, high = _window(lr, family_name, float(params["lr"]))
    trials = []
    for replicate in range(sensitivity.replicates):
        offset = slice_offset(derived_seed(spec.seed, Phase.LR_SLICE, "offset", replicate))
        for point, value in enumerate(lr_slice(low, high, lr.step_decades, offset)):
            path = f"{family_name}/r{replicate:02d}/p{point:02d}"
            moved = {**params, "lr": value}
            trials.append(
                _trial(
                    spec,
                    Phase.LR_SLICE,
                    path,
                    family_name=family_name,
                    replicate=replicate,
                    point=point,
                    params=moved,
                    slice_name="lr",
                )
            )
    return trials


def _factor_slices(
    spec: StudySpec, sensitivity: Sensitivity, family_name: str, params: Mapping[str, Param]
) -> list[PlannedTrial]:
    """One factor at a time around the tuned configuration; a level of num_experts may lower top_k to fit."""
    space = spec.space(family_name)
    factors = [f for f in sensitivity.factor_slices if f in space.dimensions]
    return [
        _trial(
            spec,
            Phase.FACTOR_SLICE,
            f"{family_name}/{factor}/r{replicate:02d}/p{point:02d}",
            family_name=family_name,
            replicate=replicate,
            point=point,
            params=space.nearest({**params, factor: level}),
            slice_name=factor,
        )
        for factor in factors
        if _varies(space.dimensions[factor])
        for replicate in range(sensitivity.replicates)
        for point, level in enumerate(factor_levels(space.dimensions[factor], params))
        if level is not None
    ]


def _varies(dimension: Dimension) -> bool:
    return not isinstance(dimension, Category) or len(dimension.choices) > 1


def _most_levels(spec: StudySpec, family_name: str, factor: str) -> int:
    dimension = spec.space(family_name).dimensions.get(factor)
    if dimension is None or not _varies(dimension):
        return 0
    largest = {role: extent(d)[1] for role, d in spec.space(family_name).dimensions.items()}
    return sum(level is not None for level in factor_levels(dimension, largest))
