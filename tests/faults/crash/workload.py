"""What is recorded: a driver that runs a small study, and notes in a file what the ledger has confirmed.

`python -m tests.faults.crash.workload FOLDER` runs it in a folder; called again there, it goes on.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from study.coordinator import Coordinator
from study.ledger import Ledger, RunKind, StudyState, TrackedRun
from study.records import PlannedTrial
from study.scheduling import told
from study.spec import StudySpec, parse_spec
from tests.faults.trainable import SimulatedPack
from trainers.reports import Report

STUDY = "crash"
STORE = "http://nowhere"
_DOCUMENT = {
    "name": STUDY,
    "seed": 11,
    "base": {"model": "path:/models/none"},
    "task": {"name": "vader_movie"},
    "training": {"steps": 4, "batch": 4, "eval_every": 2, "checkpoint_every": 2, "max_evaluation_share": 1.0},
    "families": ["sgd", "adamw"],
    "phases": {
        "search": {"trials": 2, "reduction": 2, "grace_steps": 2},
        "sensitivity": None,
        "confirmation": {"seeds": 2, "default_seeds": 0, "perturbed_seeds": 0},
    },
}


def ledger_at(folder: Path) -> Ledger:
    """The ledger of a folder."""
    return Ledger.open(f"sqlite:///{folder / 'ledger.db'}")


def run(folder: Path) -> None:
    """Run the study from wherever it stands to its end."""
    spec = parse_spec(_DOCUMENT, source="the crash test")
    folder.mkdir(exist_ok=True)
    with ledger_at(folder) as ledger, (folder / "confirmed").open("ab", buffering=0) as confirmed:
        ledger.create_study(STUDY, spec.canonical(), spec.digest, {})
        ledger.claim_study(STUDY, "driver")
        noting = _Noting(ledger.held_by("driver"), confirmed)
        noting.set_study_state(STUDY, StudyState.RUNNING)
        _train(spec, folder, noting)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        noting.set_study_state(STUDY, StudyState.FINISHED)
        ledger.release_study(STUDY, "driver")


def _train(spec: StudySpec, folder: Path, ledger: Any) -> None:
    checkpoints = folder / "checkpoints"
    coordinator = Coordinator(
        spec, ledger, on_end=lambda key: shutil.rmtree(checkpoints / key, ignore_errors=True)
    )
    bench = {
        "workload": {"training": spec.training.model_dump()},
        "checkpoints_dir": str(checkpoints),
    }
    pack = SimulatedPack(bench, 2)
    seated: dict[int, tuple[str, int]] = {}
    while True:
        while pack.free_lanes and isinstance(trial := coordinator.next_trial(), PlannedTrial):
            _ship(ledger, trial.key)
            lane = pack.seat(told(trial))
            seated[lane] = (trial.key, len(pack.reports(lane)))
            if not coordinator.receive(trial.key, 0, pack.reports(lane)):
                pack.stop(lane)
                del seated[lane]
        if not seated:
            return
        _hear(coordinator, pack, seated, pack.advance())


def _hear(
    coordinator: Coordinator, pack: SimulatedPack, seated: dict[int, tuple[str, int]], said: Iterable[Any]
) -> None:
    for one in said:
        key, number = seated.pop(one.lane)
        if coordinator.receive(key, number, _reports(one.report)):
            seated[one.lane] = (key, number + 1)
        else:
            pack.stop(one.lane)


def _reports(report: Report | None) -> Sequence[Report]:
    return () if report is None else (report,)


def _ship(ledger: Any, key: str) -> None:
    """The two notes that the tracker makes of a run."""
    ledger.intend_run(STUDY, STORE, RunKind.TRIAL, key)
    run = TrackedRun(
        kind=RunKind.TRIAL, key=key, run_id=f"run of {key}", shipped_measurement=0, shipped_state=""
    )
    ledger.save_tracked_run(STUDY, STORE, run)


class _Noting:
    """A ledger whose confirmed measurements and endings are noted in a file, each in one write."""

    def __init__(self, ledger: Ledger, confirmed: Any) -> None:
        self._ledger = ledger
        self._confirmed = confirmed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def record_measurement(self, study: str, measurement: Any) -> bool:
        is_new = self._ledger.record_measurement(study, measurement)
        self._note(["measured", measurement.trial, measurement.step])
        return is_new

    def end_trial(self, study: str, key: str, ending: Any) -> bool:
        is_new = self._ledger.end_trial(study, key, ending)
        self._note(["ended", key, ending.outcome.value])
        return is_new

    def save_tracked_run(self, study: str, store: str, run: TrackedRun) -> None:
        self._ledger.save_tracked_run(study, store, run)
        self._note(["shipped", run.key, run.run_id])

    def _note(self, what: list[Any]) -> None:
        self._confirmed.write((json.dumps(what) + "\n").encode())


if __name__ == "__main__":
    run(Path(sys.argv[1]))
