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
NO_WORK = Costs(step_s={1: 0.0}, evaluation_s=0.0)


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """When what happened, in Unix seconds, ascending."""

    started_s: list[float]
    """One a trial."""
    first_said_s: list[float]
    """Each trial's first measurement."""
    turnovers_s: list[float]
    """From a trial's start to its first measurement, in no order of use."""
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
    """What Ray Tune and the driver take, from a pack that never trains and so keeps them busy.

    `measurement_s` is the mean time between two measurements, whichever trials they are of, without the longest
    twentieth, in which clients' processes were waited for at the beginning. `turnover_s` is the median from a trial's
    start to its first measurement.

    Args:
        place: a new folder.
        clients: trials at once.
        quick: whether a tiny study will do.
    """
    steps, seeds = (20, 3) if quick else (80, 3 * clients)
    spec = short_spec(search=0, seeds=seeds, steps=steps, eval_every=1, name="saturated")
    seen = run_really(spec, place, NO_WORK, packs=1, lanes=clients)
    between = sorted(b - a for a, b in itertools.pairwise(seen.measured_s))
    return {
        "clients": clients,
        "trials": len(seen.started_s),
        "measurements": len(seen.measured_s),
        "measurement_s": statistics.fmean(between[: math.ceil(KEPT_FRAC * len(between))]),
        "turnover_s": statistics.median(seen.turnovers_s),
    }


def _timeline(ledger: Ledger, study: str) -> Timeline:
    measured = ledger.measurements(study)
    first = [next(group) for _, group in itertools.groupby(measured, key=lambda one: one.trial)]
    trials = ledger.trial_activity(study)
    starts = {trial.record.planned.key: trial.started_at for trial in trials}
    return Timeline(
        turnovers_s=[one.recorded_at - (starts[one.trial] or one.recorded_at) for one in first],
        started_s=sorted(trial.started_at for trial in trials if trial.started_at is not None),
        first_said_s=sorted(one.recorded_at for one in first),
        measured_s=sorted(one.recorded_at for one in measured),
        ended_s=sorted(trial.ended_at for trial in trials if trial.ended_at is not None),
    )
