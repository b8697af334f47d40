"""The seam to Ray Tune: a searcher that takes trials from the coordinator, a scheduler that brings reports back."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Stopper
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.coordinator import Coordinator, NoTrial
from study.records import Phase
from trainers.reports import Report

HOST_FAILURES = re.compile(
    r"\b(ActorDiedError|ActorUnavailableError|NodeDiedError|WorkerCrashedError|RayActorError|"
    r"OwnerDiedError|ray\.exceptions\.OutOfMemoryError|RetryableError|OSError)\b"
)
"""What to try again: the worker's surroundings failed, not the trial."""


class _Unsaved:
    """Ray Tune copies its parts to disk for `Tuner.restore`, which is never used here: there is nothing to copy."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TrialSource(_Unsaved, Searcher):
    """Hands the coordinator's trials to Ray Tune. It keeps no state: the ledger does."""

    def __init__(self, coordinator: Coordinator, constants: dict[str, Any]) -> None:
        """Begin.

        Args:
            coordinator: knows which trial is next.
            constants: what every worker is told besides its trial.
        """
        super().__init__(metric="training_iteration", mode="max")
        self._coordinator = coordinator
        self._constants = constants

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002
        """The next trial, None to wait, or Ray Tune's word for the end."""
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

    def __init__(self, coordinator: Coordinator) -> None:
        """Begin; `coordinator` takes the reports."""
        super().__init__()
        self._coordinator = coordinator

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """A worker reported and trains on, unless it is told to stop."""
        goes_on = self._receive(trial, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """A trial left its worker: by itself, by our word, or because the study was interrupted."""
        self._receive(trial, result)

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:  # noqa: ARG002
        """A worker failed."""
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
        last_line = [line.strip() for line in text.splitlines() if line.strip()][-1]
        retry = HOST_FAILURES.search(text) is not None
        self._coordinator.lose(trial.config["trial"]["key"], last_line, retry=retry)

    def _receive(self, trial: RayTrial, result: dict[str, Any]) -> bool:
        if "reports" not in result:
            return True
        reports = [Report.from_json(document) for document in result["reports"]]
        return self._coordinator.receive(trial.config["trial"]["key"], result["first_report"], reports)


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
