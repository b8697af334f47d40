"""A planted study on a real Ray, with the real actors of packs and real clients: only training is slept through."""

import itertools
import math
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planted import short_spec
from planted_pack import planted_packs
from simulated_pack import Costs

from study.cluster import Packs, connected
from study.coordinator import Coordinator
from study.home import Home
from study.ledger import Ledger, StudyState
from study.spec import StudySpec

KEPT_FRAC = 0.95
BUSY_FRAC = 0.75
"""Of the clients: the others are between two trials, or still starting."""
NO_WORK = Costs(step_s={1: 0.0}, evaluation_s=0.0)
TRAINING_STEP_S, TRAINING_EVAL_EVERY = 0.05, 20
"""A measurement a second: five times as often as SmolLM2-135M measures on two cores."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """When what happened, in Unix seconds, ascending."""

    started_s: list[float]
    """One a trial."""
    first_said_s: list[float]
    """Each trial's first measurement."""
    turnovers_s: list[tuple[float, float]]
    """Each trial's start, and the seconds from there to its first measurement."""
    measured_s: list[float]
    ended_s: list[float]

    @property
    def makespan_s(self) -> float:
        """From the first measurement, when the first client has started, to the last trial's end."""
        return self.ended_s[-1] - self.first_said_s[0]


def run_really(
    spec: StudySpec, place: Path, costs: Costs, *, packs: int, lanes: int, address: str | None = None
) -> Timeline:
    """Run a planted study to its end, in a process of its own: Ray reads its environment once in a process.

    Args:
        spec: the study.
        place: a new folder.
        costs: how long packs sleep.
        packs: how many there are, of one CPU each.
        lanes: trials in each at once.
        address: a Ray cluster; None: one within this process.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        return processes.submit(_run, spec, Home(root=place), costs, (packs, lanes), address).result()


def _run(spec: StudySpec, home: Home, costs: Costs, shape: tuple[int, int], address: str | None) -> Timeline:
    packs, lanes = shape
    home.empty_dir.mkdir(parents=True)
    resources = spec.resources.model_copy(update={"packs": packs, "cpus_per_pack": 1, "gpus_per_pack": 0})
    bench = {"costs": costs, "eval_every": spec.training.eval_every}
    with Ledger.open(home.ledger_url) as ledger:
        ledger.create_study(spec.name, spec.canonical(), spec.digest, {})
        ledger.set_study_state(spec.name, StudyState.RUNNING)
        with connected(address, home, resources) as found:
            _tune(Coordinator(spec, ledger), found, bench, home, lanes)
        return _timeline(ledger, spec.name)


def _tune(coordinator: Coordinator, packs: Packs, bench: dict[str, Any], home: Home, lanes: int) -> None:
    from study.packs.desk import PackDesk
    from study.packs.lanes import wait_for_packs
    from study.packs.tuning import tune_trials

    with planted_packs(), PackDesk(packs, bench, most_lanes=lanes) as desk:
        desk.set_lanes(lanes, "highest")
        wait_for_packs(desk, lambda: False, for_all=True)
        tune_trials(
            coordinator,
            desk,
            name="planted",
            notes_dir=home.ray_dir,
            is_over=lambda: False,
        )


def driver_limits(place: Path, clients: int, *, quick: bool = False) -> dict[str, float]:
    """What Ray Tune and the driver take, from a pack that never trains and so keeps them busy; see `busy_costs`.

    Args:
        place: a new folder.
        clients: trials at once.
        quick: whether a tiny study will do.
    """
    steps, seeds = (20, 3) if quick else (80, 3 * clients)
    spec = short_spec(search=0, seeds=seeds, steps=steps, eval_every=1, name="saturated")
    seen = run_really(spec, place, NO_WORK, packs=1, lanes=clients)
    return {
        "clients": clients,
        "trials": len(seen.started_s),
        "measurements": len(seen.measured_s),
        **busy_costs(seen, clients),
    }


def handover_between_trainings(place: Path, clients: int, *, quick: bool = False) -> float:
    """Mean seconds between two trials of a lane where clients train, each in a lane of one pack; see `handover`.

    Args:
        place: a new folder.
        clients: trials at once.
        quick: whether a tiny study will do.
    """
    steps, seeds = (20, 6) if quick else (400, 2 * clients)
    spec = short_spec(search=0, seeds=seeds, steps=steps, eval_every=TRAINING_EVAL_EVERY, name="training")
    costs = Costs(step_s={1: TRAINING_STEP_S, clients: TRAINING_STEP_S}, evaluation_s=0.0)
    return handover(run_really(spec, place, costs, packs=1, lanes=clients), clients)


def handover(seen: Timeline, clients: int) -> float:
    """Mean seconds from a trial's end to the first measurement, before the first step, of the next one in its lane.

    Which that is is not asked for: by Little's law the mean is the number of idle lanes over the rate at which
    trials begin, here from when every lane first had a trial at work until the last trial began.

    Args:
        seen: what happened.
        clients: how many trials there were at once.

    Raises:
        ValueError: at no time had every lane a trial at work, or no trial began after it.
    """
    begins = seen.first_said_s
    changes = sorted([(at, 1) for at in begins] + [(at, -1) for at in seen.ended_s])
    times = [at for at, _ in changes]
    idle = [clients - at_work for at_work in itertools.accumulate(change for _, change in changes)]
    full, last = idle.index(0) if 0 in idle else len(idle), times.index(begins[-1])
    if full >= last:
        raise ValueError(f"{clients} lanes were never all at work before the last trial began.")
    spans = zip(idle[full:last], itertools.pairwise(times[full : last + 1]), strict=True)
    idle_s = sum(number * (until - since) for number, (since, until) in spans)
    return idle_s / sum(at > times[full] for at in begins)


def busy_costs(seen: Timeline, clients: int) -> dict[str, float]:
    """Seconds that the driver takes while clients keep it busy.

    Counted is from when nearly all clients' processes had started until no trial was left to begin. `measurement_s` is
    the mean time between two measurements, whichever trials they are of, without the longest twentieth, in which trials
    began; `trial_s` is what remains, a trial. `turnover_s` is the median from a trial's start to its first measurement:
    a latency, in which it waits behind the others' measurements, and no work.

    Args:
        seen: trials that measure without pause.
        clients: how many there were at once.
    """
    begin_s, end_s = _busy_from(seen, clients), seen.started_s[-1]
    measured = [at for at in seen.measured_s if begin_s <= at <= end_s]
    between = sorted(b - a for a, b in itertools.pairwise(measured))
    kept = between[: math.ceil(KEPT_FRAC * len(between))]
    measurement_s = statistics.fmean(kept)
    turnovers = [seconds for start, seconds in seen.turnovers_s if begin_s < start <= end_s]
    rest_s = sum(between) - len(between) * measurement_s
    return {
        "measurement_s": measurement_s,
        "trial_s": max(0.0, rest_s) / len(turnovers),
        "turnover_s": statistics.median(turnovers),
    }


def _busy_from(seen: Timeline, clients: int) -> float:
    """When most clients first had a trial at work; the first measurement where trials were too short for that."""
    changes = sorted([(at, 1) for at in seen.first_said_s] + [(at, -1) for at in seen.ended_s])
    at_work = itertools.accumulate(change for _, change in changes)
    full = (
        at
        for (at, _), number in zip(changes, at_work, strict=True)
        if number >= BUSY_FRAC * clients and at < seen.started_s[-1]
    )
    return next(full, seen.first_said_s[0])


def _timeline(ledger: Ledger, study: str) -> Timeline:
    measured = ledger.measurements(study)
    first = [next(group) for _, group in itertools.groupby(measured, key=lambda one: one.trial)]
    trials = ledger.trial_activity(study)
    starts = {trial.record.planned.key: trial.started_at or 0.0 for trial in trials}
    return Timeline(
        turnovers_s=[(starts[one.trial], one.recorded_at - starts[one.trial]) for one in first],
        started_s=sorted(trial.started_at for trial in trials if trial.started_at is not None),
        first_said_s=sorted(one.recorded_at for one in first),
        measured_s=sorted(one.recorded_at for one in measured),
        ended_s=sorted(trial.ended_at for trial in trials if trial.ended_at is not None),
    )
