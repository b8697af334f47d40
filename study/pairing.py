"""What pairs the families: a trial's seed derives from its place in the design, and never from its family.

The place is (study seed, phase, replicate, point); the phase is in it, so the seeds of the confirmation are fresh by
construction. Every trial of a study has the same number of steps.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from search_spaces import ROLES, Param, derived_seed
from study.records import Phase, PlannedTrial
from study.spec import StudySpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def planned_trial(
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
    """A trial with the seed of its place.

    Args:
        spec: the study.
        phase: where it belongs.
        path: its key, after the phase.
        family_name: what trains it.
        params: its configuration.
        replicate: number of the repeat.
        point: number of the configuration within the repeat.
        slice_name: as in the trial table; only a factor's slice has seeds of its own.
    """
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


def family_points(spec: StudySpec, family_name: str, design: "NDArray[np.float64]") -> list[list[float]]:
    """The coordinates of `design` (points x roles) that a family has, in its own order."""
    columns = [list(ROLES).index(role) for role in spec.space(family_name).dimensions]
    points: list[list[float]] = design[:, columns].tolist()
    return points
