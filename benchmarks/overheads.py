"""What do tracking, ledger and scheduling cost, beside training?

Nothing trains here: trials report planted losses. The driver's own work is timed in its process: the coordinator alone,
without Ray, with a SQLite ledger on this disk, for 1 to 256 trials at once, and once for a study of 10,000 trials with
256 at once. What tracking takes is the processor time of the tracker's thread while it ships to a real MLflow server,
and the time that a look into the ledger of the large study takes, which the tracker keeps to a twentieth of one core.
Ray Tune's own part is the rate at which real clients of a pack that never trains get through, as many as this machine
has memory for. The headline is the sum for one measurement over the time between two measurements of a typical trial,
for the number of clients at which it is largest. A trial's own cost is the time for which it keeps its lane idle, from
the end of the trial before it to its own first measurement, before its first step: there the most clients have a pack
that sleeps in place of training, and measure five times as often as typical trials. Where clients never pause, and a
trial waits behind the others' measurements, it is `turnover_s`.
"""

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from frame import Benchmark, Goal, Result, Setting, run
from local_mlflow import mlflow_server
from planted import planted_life, planted_spec, short_spec
from real_run import driver_limits, handover_between_trainings

from study.coordinator import Coordinator, NoTrial
from study.ledger import Ledger, StudyState
from study.records import PlannedTrial
from study.report import write_report
from study.snapshot import take_snapshot
from study.spec import StudySpec
from study.tracking import Tracker
from study.tracking.shipping import Shipper
from trainers.reports import Report

EVAL_EVERY = 20
CLIENT_BYTES = 200 * 2**20
"""Of a client's process; `study.packs.client` asks Ray for as much."""
MEASUREMENT_S = 5.0
"""Time between two measurements of a typical trial: 20 steps of 0.25 s, as SmolLM2-135M takes on two cores."""
LANES = (1, 16, 64, 256)
REAL_CLIENTS = (8, 24)
"""To start more, twice, takes a slow machine longer than the ten minutes that a script may take."""
CLIENTS_SHARE = 0.45
"""Of the memory that is free: what Ray was seen to have for clients. Further ones would wait, and Ray would start and
end processes for them all the time."""
PER_TRIAL_GOAL_S = 0.3
FLUSH_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Driven:
    """Seconds of the driver's calls, in the order in which they were made."""

    receive_s: list[float]
    """One a measurement."""
    trial_s: list[float]
    """One a trial: choosing and starting it."""

    @property
    def measurement_s(self) -> float:
        """Mean over the measurements."""
        return statistics.fmean(self.receive_s)

    @property
    def per_trial_s(self) -> float:
        """Mean over the trials, but for the planning of a stage's trials, which is spread over them."""
        return statistics.fmean(self.trial_s)


def drive(
    spec: StudySpec, ledger: Ledger, lanes: int, on_change: Callable[[], None] = lambda: None
) -> Driven:
    """Run a study to its end with so many trials at once, each reporting in turn."""
    coordinator = Coordinator(spec, ledger, on_change=on_change)
    taken: list[tuple[str, Iterator[tuple[int, Report]]] | None] = [None] * lanes
    found = Driven(receive_s=[], trial_s=[])
    for place in itertools.cycle(range(lanes)):
        seat = taken[place]
        if seat is None:
            trial, seconds = _timed(coordinator.next_trial)
            if isinstance(trial, PlannedTrial):
                found.trial_s.append(seconds)
                taken[place] = (trial.key, enumerate(planted_life(trial, EVAL_EVERY)))
            elif trial is NoTrial.DONE and not any(taken):
                return found
            continue
        key, reports = seat
        number, report = next(reports)
        goes_on, seconds = _timed(lambda: coordinator.receive(key, number, [report]))  # noqa: B023 (called at once)
        found.receive_s.append(seconds)
        if not goes_on:
            taken[place] = None
    return found


def measure(setting: Setting) -> Result:
    """Time the driver at several sizes, the tracker, and Ray Tune."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        table = [_driver_row(place, lanes, 0.02 if setting.quick else 0.05, setting) for lanes in LANES]
        large, large_row, look = _large(place, 0.02 if setting.quick else 3.6, setting)
        tracking = _tracking(place, 3 if setting.quick else 20, setting)
        tune = _ray_tune(place, (2,) if setting.quick else REAL_CLIENTS, setting)
        handover_s = handover_between_trainings(
            place / "training", int(tune[-1]["clients"]), quick=setting.quick
        )
    setting.say(
        f"{tune[-1]['clients']} clients that train: {1000 * handover_s:.0f} ms between two trials of a lane"
    )
    slowest_s = max(row["measurement_s"] for row in tune)
    tune_s = max(0.0, slowest_s - table[0]["measurement_ms"] / 1000)  # beside the coordinator's part
    spent = [part + tracking["thread_s_per_measurement"] + tune_s for part in _tenths(large.receive_s)]
    per_trial_s = handover_s + tracking["thread_s_per_trial"]
    return Result(
        ratios=[seconds / MEASUREMENT_S for seconds in spent],
        table=[*table, large_row],
        more={
            "per_trial_s": per_trial_s,
            "per_trial_goal": f"<= {PER_TRIAL_GOAL_S:g}",
            "per_trial_met": per_trial_s <= PER_TRIAL_GOAL_S,
            "measurement_of_a_typical_trial_s": MEASUREMENT_S,
            "look_at_the_large_study": look,
            "tracking": tracking,
            "handover_s": handover_s,
            "ray_tune": tune,
        },
    )


def _ray_tune(place: Path, numbers: Sequence[int], setting: Setting) -> list[dict[str, float]]:
    """What Ray Tune takes with so many real clients, as far as this machine has memory for them."""
    room = int(CLIENTS_SHARE * psutil.virtual_memory().available) // CLIENT_BYTES
    rows = []
    for clients in numbers:
        if clients > room:
            setting.say(
                f"{clients} clients are left out: there is memory for {room} of {CLIENT_BYTES >> 20} MiB each."
            )
            continue
        rows.append(driver_limits(place / f"{clients}-clients", clients, quick=setting.quick))
        setting.say(
            f"{clients} clients: {1000 * rows[-1]['measurement_s']:.1f} ms a measurement, "
            f"{1000 * rows[-1]['turnover_s']:.0f} ms from a trial's start to its first"
        )
    return rows


def _driver_row(place: Path, lanes: int, scale: float, setting: Setting) -> dict[str, Any]:
    spec = planted_spec(scale=scale, steps=60, eval_every=EVAL_EVERY)
    with _new_study(spec, place / f"{lanes}.db") as ledger:
        driven = drive(spec, ledger, lanes)
    setting.say(
        f"coordinator alone, {lanes} trials at once: {1000 * driven.measurement_s:.2f} ms a measurement"
    )
    return _row(driven, lanes, resident_before=None)


def _large(place: Path, scale: float, setting: Setting) -> tuple[Driven, dict[str, Any], dict[str, float]]:
    """A study of 10,000 trials: the driver's work, the tracker's look, the report."""
    spec = planted_spec(scale=scale, steps=40, eval_every=EVAL_EVERY, name="large")
    before = _resident_bytes()
    setting.say("a study of 10,000 trials: about three minutes")
    with _new_study(spec, place / "large.db") as ledger:
        driven = drive(spec, ledger, LANES[-1])
        row = _row(driven, LANES[-1], resident_before=before)
        shipper = Shipper(ledger=ledger, study=spec.name, label="nowhere")
        shipper.pending()
        ledger.set_study_state(spec.name, StudyState.FINISHED)
        snapshot, snapshot_s = _timed(lambda: take_snapshot(ledger, spec.name))
    _, report_s = _timed(
        lambda: write_report(snapshot, place / "report", formats=("html", "csv", "json", "md"))
    )
    setting.say(f"report of {row['trials']} trials: {snapshot_s + report_s:.0f} s")
    return driven, row, {"look_s": shipper.look_s, "report_s": snapshot_s + report_s}


def _tracking(place: Path, trials: int, setting: Setting) -> dict[str, float]:
    """A study that is shipped to a real server while it runs: what the tracker's thread takes from the driver."""
    spec = short_spec(search=trials, seeds=trials, steps=60, eval_every=EVAL_EVERY, name="tracked")
    url = f"sqlite:///{place}/tracked.db"
    with mlflow_server(place / "mlflow") as uri, _new_study(spec, place / "tracked.db") as ledger:
        ledger.set_study_state(spec.name, StudyState.RUNNING)
        tracker = Tracker(
            ledger_url=url, study=spec.name, tracking_uri=uri, artifacts_dir=place / "artifacts"
        )
        began, others_s = time.monotonic(), _other_threads_s()
        tracker.start()
        driven = drive(spec, ledger, LANES[1], on_change=tracker.notify)
        drive_s = time.monotonic() - began
        backlog = tracker.flush(FLUSH_S)
        shipped_s, thread_s = time.monotonic() - began, _other_threads_s() - others_s
        tracker.close(FLUSH_S)
    if not backlog.is_empty:
        raise RuntimeError(f"MLflow has not received everything ({backlog.problem}).")
    setting.say(f"tracking {len(driven.trial_s)} trials: {shipped_s:.0f} s")
    # A trial's run is made, described and ended by calls as dear as those that carry measurements.
    share = len(driven.receive_s) / (len(driven.receive_s) + len(driven.trial_s))
    return {
        "trials": len(driven.trial_s),
        "measurements": len(driven.receive_s),
        "driver_receive_s": driven.measurement_s,
        "drive_s": drive_s,
        "shipped_s_per_measurement": shipped_s / len(driven.receive_s),
        "thread_s_per_measurement": share * thread_s / len(driven.receive_s),
        "thread_s_per_trial": (1 - share) * thread_s / len(driven.trial_s),
    }


def _row(driven: Driven, lanes: int, resident_before: int | None) -> dict[str, Any]:
    tenths = _tenths(driven.receive_s)
    grown = None if resident_before is None else (_resident_bytes() - resident_before) / 2**20
    return {
        "trials": len(driven.trial_s),
        "coordinator_alone_at_once": lanes,
        "measurements": len(driven.receive_s),
        "measurement_ms": 1000 * driven.measurement_s,
        "first_tenth_ms": 1000 * tenths[0],
        "last_tenth_ms": 1000 * tenths[-1],
        "slowest_ms": 1000 * max(driven.receive_s),
        "trial_ms": 1000 * driven.per_trial_s,
        "resident_mib": _resident_bytes() / 2**20,
        "grown_mib": grown,
    }


def _tenths(seconds: list[float]) -> list[float]:
    """Means of ten equal parts, in order."""
    size = max(1, len(seconds) // 10)
    return [statistics.fmean(seconds[at : at + size]) for at in range(0, size * 10, size) if seconds[at:]]


@contextmanager
def _new_study(spec: StudySpec, path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{path}") as ledger:
        ledger.create_study(spec.name, spec.canonical(), spec.digest, {})
        yield ledger


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    before = time.perf_counter()
    result = call()
    return result, time.perf_counter() - before


def _other_threads_s() -> float:
    """Processor seconds of all threads but this one: here the tracker's, with those that send for it."""
    return time.process_time() - time.thread_time()


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


BENCHMARK = Benchmark(
    name="overheads",
    question="What do tracking, ledger and scheduling take, as a share of the time of one measurement?",
    goal=Goal(at_most=0.01),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
