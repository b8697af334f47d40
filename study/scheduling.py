"""The seam to Ray Tune: a searcher that takes trials from the coordinator, a scheduler that brings reports back."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.coordinator import Coordinator, NoTrial
from study.records import Phase, PlannedTrial
from trainers.reports import Report

HOST_FAILURES = re.compile(
    r"The actor died unexpectedly|The actor \w+ is unavailable|The worker died unexpectedly|"
    r"\b(NodeDiedError|OwnerDiedError|ray\.exceptions\.OutOfMemoryError|RetryableError|OSError)\b"
)
"""What to try again: the worker's surroundings failed, not the trial. Ray names a lost actor in a sentence only."""


class Alarm:
    """The first failure of the driver's own within Ray Tune's loop.

    Ray Tune would wrap it in an error of its own, or take it for the trial's and go on; so it is kept here,
    ends the run, and is raised after it.
    """

    def __init__(self) -> None:
        """Nothing has failed yet."""
        self._failure: Exception | None = None

    def __bool__(self) -> bool:
        """Whether something failed: nothing may be asked of the coordinator any more."""
        return self._failure is not None

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Keep what fails in a block; the block's caller goes on after it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (raised again after the run, whatever it is)
            self._failure = error

    def raise_failure(self) -> None:
        """Raise what was kept."""
        if self._failure is not None:
            raise self._failure


class _Unsaved:
    """Ray Tune copies its parts to disk for `Tuner.restore`, which is never used here: there is nothing to copy."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TrialSource(_Unsaved, Searcher):
    """Hands the coordinator's trials to Ray Tune. It keeps no state: the ledger does."""

    def __init__(self, coordinator: Coordinator, alarm: Alarm, constants: dict[str, Any]) -> None:
        """Begin.

        Args:
            coordinator: knows which trial is next.
            alarm: hears of its failures.
            constants: what every worker is told besides its trial.
        """
        super().__init__(metric="training_iteration", mode="max")
        self._coordinator = coordinator
        self._alarm = alarm
        self._constants = constants

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002
        """The next trial, None to wait, or Ray Tune's word for the end."""
        trial: PlannedTrial | NoTrial = NoTrial.WAIT
        if not self._alarm:
            with self._alarm.guarding():
                trial = self._coordinator.next_trial()
        if trial is NoTrial.WAIT:
            return None
        if isinstance(trial, NoTrial):
            return str(Searcher.FINISHED)
        return {
            **self._constants,
            "trial": {
                "key": trial.key,
                "family": trial.family,
                "params": dict(trial.params),
                "seed": trial.seed,
                "steps": trial.steps,
                "keep_adapter": trial.phase is Phase.CONFIRMATION,
            },
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: the scheduler hears of it first."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: every launch begins from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: every launch begins from the ledger."""


class ReportDesk(_Unsaved, FIFOScheduler):
    """Brings every report to the coordinator, and its word back to the worker."""

    def __init__(self, coordinator: Coordinator, alarm: Alarm) -> None:
        """Begin; `coordinator` takes the reports, and `alarm` hears of its failures."""
        super().__init__()
        self._coordinator = coordinator
        self._alarm = alarm

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """A worker reported and trains on, unless it is told to stop."""
        goes_on = self._receive(trial, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """A trial left its worker: by itself, by our word, or because the study was interrupted."""
        self._receive(trial, result)

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:  # noqa: ARG002
        """A worker failed."""
        if self._alarm:
            return
        with self._alarm.guarding():
            text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
            retry = HOST_FAILURES.search(text) is not None
            self._coordinator.lose(trial.config["trial"]["key"], failure_in_a_line(text), retry=retry)

    def _receive(self, trial: RayTrial, result: dict[str, Any]) -> bool:
        if "reports" not in result:
            return True
        if not self._alarm:
            with self._alarm.guarding():
                reports = [Report.from_json(document) for document in result["reports"]]
                key = trial.config["trial"]["key"]
                return self._coordinator.receive(key, result["first_report"], reports)
        return False


def failure_in_a_line(text: str) -> str:
    """What matters of a worker's error as Ray words it: what a lost worker died of, or the error that it raised."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = HOST_FAILURES.search(text)
    lost = next((line for line in lines if found and found[0].startswith("The ") and found[0] in line), None)
    return lost or lines[-1]


class StopWhen(_Unsaved, Stopper):
    """Ends the whole Tune run once a condition holds."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        """Begin; `condition` is asked at every turn of Tune's loop and must be quick."""
        self._condition = condition

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Never ends a single trial."""
        return False

    def stop_all(self) -> bool:
        """Whether everything should end now."""
        return self._condition()
