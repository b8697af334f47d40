"""The sensitivity phase: a design over each family's whole space, and slices through it.

Nothing is stopped here. A replicate is one randomisation of the design with fresh seeds; it is the unit of analysis.
"""

from collections.abc import Mapping

from search_spaces import (
    ROLES,
    Category,
    Dimension,
    Param,
    derived_seed,
    extent,
    factor_levels,
    lr_slice,
    slice_length,
    slice_offset,
    sobol_points,
)
from study.pairing import family_points, planned_trial
from study.phases import AroundTuned, LrSlice, Sensitivity
from study.records import Phase, PlannedTrial
from study.spec import StudySpec


def space_design(spec: StudySpec, sensitivity: Sensitivity, family_name: str) -> list[PlannedTrial]:
    """Every replicate of the design over one family's space."""
    space = spec.space(family_name)
    trials = []
    for replicate in range(sensitivity.replicates):
        seed = derived_seed(spec.seed, Phase.SENSITIVITY, "design", replicate)
        design = sobol_points(sensitivity.points, len(ROLES), seed)
        for point, u in enumerate(family_points(spec, family_name, design)):
            path = f"{family_name}/r{replicate:02d}/p{point:02d}"
            trials.append(
                planned_trial(
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


def num_slice_points(lr: LrSlice | None, family_name: str) -> int:
    """Learning rates of one replicate of a family's slice."""
    return slice_length(*_window(lr, family_name, 1.0), lr.step_decades) if lr else 0


def lr_slice_trials(
    spec: StudySpec, sensitivity: Sensitivity, family_name: str, params: Mapping[str, Param]
) -> list[PlannedTrial]:
    """Learning rates over the window, all else as in `params`."""
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
                planned_trial(
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


def factor_slice_trials(
    spec: StudySpec, sensitivity: Sensitivity, family_name: str, params: Mapping[str, Param]
) -> list[PlannedTrial]:
    """One factor at a time around `params`; a level of num_experts may lower top_k to fit."""
    space = spec.space(family_name)
    factors = [f for f in sensitivity.factor_slices if f in space.dimensions]
    return [
        planned_trial(
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


def most_levels(spec: StudySpec, family_name: str, factor: str) -> int:
    """Levels of a factor slice where nothing that is tuned rules one out."""
    dimension = spec.space(family_name).dimensions.get(factor)
    if dimension is None or not _varies(dimension):
        return 0
    largest = {role: extent(d)[1] for role, d in spec.space(family_name).dimensions.items()}
    return sum(level is not None for level in factor_levels(dimension, largest))
