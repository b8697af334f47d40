"""How long a study will take, from its counts and from what a calibration timed.

Trials of equal length run in waves, one trial a lane; the last wave of a stage may leave lanes empty, which then
trains fewer steps a second. A search costs at most what is said, since only the saving of one in `reduction` passing
each rung is counted.
"""

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search_spaces import extent
from study.halving import rung_steps
from study.protocol import trial_counts
from study.records import Phase
from study.spec import StudySpec

if TYPE_CHECKING:
    from trainers.calibrated import Calibration

STAGES = (
    (Phase.SEARCH,),
    (Phase.SENSITIVITY, Phase.LR_SLICE, Phase.FACTOR_SLICE),
    (Phase.CONFIRMATION,),
)
"""Phases whose trials share the lanes; a stage begins when the one before has ended."""
MOST_LANES = 32
"""No more lanes are tried, however many trials there are."""
CLIENT_START_S = 2.0
"""Processor seconds until a lane's client can ask for its first report, nearly all of them Ray's own imports."""


def most_lanes(spec: StudySpec, packs: int) -> int:
    """Lanes of a pack beyond which some would stay empty even in the largest stage.

    Args:
        spec: a study with the trials that its claims ask for.
        packs: how many packs share the trials.
    """
    counts = trial_counts(spec)
    largest = max(sum(sum(counts[phase].values()) for phase in stage) for stage in STAGES)
    return max(1, min(MOST_LANES, -(-largest // packs)))


def quickest_lanes(spec: StudySpec, calibration: "Calibration", *, packs: int, cpus: int) -> int:
    """Lanes with which the study ends first: more train faster, but each has a client to be started.

    Args:
        spec: a study with the trials that its claims ask for.
        calibration: whose numbers of lanes are compared, up to the one that it found best.
        packs: how many packs train at once.
        cpus: processor cores of each, on which its clients start.
    """

    def seconds(lanes: int) -> float:
        hours: float = predicted(spec, calibration, packs=packs, lanes=lanes)["hours"]
        return 3600 * hours + lanes * CLIENT_START_S / cpus

    return min(sorted(lanes for lanes in calibration.step_s if lanes <= calibration.lanes), key=seconds)


def launch_prediction(
    spec: StudySpec, calibration: "Calibration", packs: int, lanes: int | None = None
) -> dict[str, Any]:
    """What `predicted` says of a whole study at its launch, with families that cost the same.

    Args:
        spec: a study with the trials that its claims ask for.
        calibration: of one of its packs while all of them calibrated.
        packs: how many packs train at once.
        lanes: of each pack; None: as calibrated.
    """
    return predicted(spec, calibration, packs=packs, lanes=lanes)


def predicted(
    spec: StudySpec,
    calibration: "Calibration",
    *,
    packs: int,
    lanes: int | None = None,
    solo_s: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Trials, steps, device-seconds and wall-clock seconds of a study, as plain JSON.

    Device-seconds are those of packs. By phase: `trials`, `steps` and `seconds` (wall-clock); by phase and family:
    `device_seconds`; of the whole study: `device_hours`, `hours`, `packs` and `lanes`.

    Args:
        spec: a study with the trials that its claims ask for.
        calibration: seconds of steps and evaluations.
        packs: how many packs train at once, each as fast as the one that was calibrated.
        lanes: of each pack; None: as calibrated.
        solo_s: seconds of each family's own step, by which families then differ; None: they do not.
    """
    lanes = lanes or calibration.lanes
    counts = {phase: families for phase, families in trial_counts(spec).items() if any(families.values())}
    device_s: dict[str, dict[str, float]] = {}
    wall_s: dict[str, float] = {}
    for stage in STAGES:
        here = {phase: counts[phase] for phase in stage if phase in counts}
        for phase, families in here.items():
            cost = _StageCost(spec, calibration, lanes, phase)
            numbers = _dealt(sum(sum(mine.values()) for mine in here.values()), packs)
            share = sum(families.values()) / sum(numbers)
            weights = _weights(families, solo_s)
            training_s = share * sum(map(cost.training_s, numbers)) / sum(families.values())
            device_s[phase.value] = {
                family: number * (training_s * weights[family] + cost.evaluation_s)
                for family, number in families.items()
            }
            wall_s[phase.value] = share * (cost.training_s(max(numbers)) + max(numbers) * cost.evaluation_s)
    total_s = sum(sum(families.values()) for families in device_s.values())
    return {
        "packs": packs,
        "lanes": lanes,
        "trials": {phase.value: sum(families.values()) for phase, families in counts.items()},
        "steps": {
            phase.value: round(sum(families.values()) * spec.training.steps * _steps_fraction(spec, phase))
            for phase, families in counts.items()
        },
        "device_seconds": device_s,
        "seconds": wall_s,
        "device_hours": total_s / 3600,
        "hours": (sum(wall_s.values()) + (calibration.load_s or 0.0)) / 3600,
    }


class _StageCost:
    """What trials of one phase cost a pack."""

    def __init__(self, spec: StudySpec, calibration: "Calibration", lanes: int, phase: Phase) -> None:
        self._calibration = calibration
        self._lanes = lanes
        self._steps = spec.training.steps * _steps_fraction(spec, phase)
        self.evaluation_s = _evaluations_s(spec, calibration, phase)
        """Seconds of all evaluations of a trial, during which no other lane trains."""

    def training_s(self, num_trials: int) -> float:
        """Seconds of the steps of trials that share a pack's lanes."""
        waves, rest = divmod(num_trials, self._lanes)
        full_s, rest_s = (self._calibration.joint_step_s(lanes) for lanes in (self._lanes, rest))
        return self._steps * (waves * full_s + rest_s)


def _dealt(num_trials: int, packs: int) -> list[int]:
    """Trials of each pack when all have as many."""
    each, rest = divmod(num_trials, packs)
    return [each + (number < rest) for number in range(packs)]


def _weights(families: Mapping[str, int], solo_s: Mapping[str, float] | None) -> dict[str, float]:
    """A step's cost by family, relative to the mean over the trials."""
    costs = {family: 1.0 if solo_s is None else solo_s[family] for family in families}
    mean = statistics.fmean(costs.values(), weights=list(families.values()))
    return {family: cost / mean for family, cost in costs.items()}


def _evaluations_s(spec: StudySpec, calibration: "Calibration", phase: Phase) -> float:
    """Seconds of the evaluations of one trial; before the first step it shares the bare base's."""
    num_select = -(-spec.training.steps // spec.training.eval_every)
    num_report = 1 + (_num_perturbed(spec) if phase is Phase.CONFIRMATION else 0)
    seconds = calibration.evaluation_s
    return _steps_fraction(spec, phase) * (num_select * seconds["select"] + num_report * seconds["report"])


def _num_perturbed(spec: StudySpec) -> int:
    """Evaluations of a confirmed adapter while it is disturbed, at the most."""
    declared = spec.phases.confirmation.perturbations if spec.phases.confirmation else ()
    most_experts = max(int(extent(spec.space(name).dimensions["num_experts"])[1]) for name in spec.families)
    return sum(most_experts if one.kind == "expert_dropped" else 1 for one in declared)


def _steps_fraction(spec: StudySpec, phase: Phase) -> float:
    """Mean share of the full budget that a trial spends: less than all of it in a search that stops trials."""
    search, steps = spec.phases.search, spec.training.steps
    if phase is not Phase.SEARCH or search is None:
        return 1.0
    edges = (*rung_steps(search.grace_steps, search.reduction, steps), steps)
    spent, share, before = 0.0, 1.0, 0
    for edge in edges:
        spent += share * (edge - before)
        share, before = share / search.reduction, edge
    return spent / steps
