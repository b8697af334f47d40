"""The seam to Ray Tune: a searcher that takes trials from the coordinator, a scheduler that brings reports back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ray.tune import Stopper
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from study.coordinator import Coordinator, NoTrial
from study.packs.desk import Place
from study.packs.failures import HOST_FAILURES, STORE_FAILURES, LaneFailedError
from study.records import Phase, PlannedTrial
from trainers.reports import Report

LOG_LINES, LOG_COLUMNS = 20, 500
"""How much of a failed worker's words is kept."""


class Desk(Protocol):
    """What is asked of the packs; `study.packs.desk.PackDesk` is it."""

    @property
    def has_room(self) -> bool:
        """Whether a pack could take a trial now."""

    @property
    def num_seated(self) -> int:
        """Trials that packs hold."""

    @property
    def num_lanes(self) -> int:
        """Trials that all packs could hold."""

    def look(self, num_waiting: int | None = None) -> None:
        """Take note of what packs have answered, and have as many as so many waiting trials need."""

    def place(self, key: str) -> Place | None:
        """Give a trial a lane of a pack, or nothing."""

    def release(self, ticket: str, failure: str = "") -> None:
        """Take back the lane of a trial that ended, or failed."""


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
    """Hands the coordinator's trials to Ray Tune, each with its place in a pack."""

    def __init__(
        self, coordinator: Coordinator, alarm: Alarm, desk: Desk, is_over: Callable[[], bool]
    ) -> None:
        """Begin.

        Args:
            coordinator: knows which trial is next.
            alarm: hears of failures of coordinator and desk.
            desk: knows which pack may take a trial.
            is_over: whether the run is to end, with trials left.
        """
        super().__init__(metric="training_iteration", mode="max")
        self._coordinator = coordinator
        self._alarm = alarm
        self._desk = desk
        self._is_over = is_over
        self._placeless: PlannedTrial | None = None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # noqa: ARG002
        """The next trial and its place in a pack, None to wait, or Ray Tune's word for the end.

        Ray Tune waits in a loop of its own while nothing runs, in which only this word reaches it.
        """
        suggested: dict[str, Any] | str | None = None
        if not self._alarm:
            with self._alarm.guarding():
                suggested = self._suggest()
        return str(Searcher.FINISHED) if self._alarm or self._is_over() else suggested

    def _suggest(self) -> dict[str, Any] | str | None:
        held = int(self._placeless is not None)
        self._desk.look(self._coordinator.num_waiting + held)
        if not self._desk.has_room:
            is_done = self._desk.num_seated == 0 and self._coordinator.is_done
            return str(Searcher.FINISHED) if is_done else None
        trial = self._placeless or self._coordinator.next_trial()
        if isinstance(trial, NoTrial):
            return None if trial is NoTrial.WAIT else str(Searcher.FINISHED)
        place = self._desk.place(trial.key)
        self._placeless = trial if place is None else None
        if place is None:
            return None
        self._coordinator.place(trial.key, pack=place.number, node=place.node)
        return {
            "pack": place.pack,
            "instance": place.instance,
            "ticket": place.ticket,
            "trial": told(trial),
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
    """Brings every report to the coordinator, its word back to the client, and free lanes to the desk."""

    def __init__(self, coordinator: Coordinator, alarm: Alarm, desk: Desk) -> None:
        """Begin.

        Args:
            coordinator: takes the reports.
            alarm: hears of failures.
            desk: hears of lanes that are free again.
        """
        super().__init__()
        self._coordinator = coordinator
        self._alarm = alarm
        self._desk = desk
        self._num_kept = 0
        self._num_left = coordinator.num_left
        self._kind_of_client: Any = None

    def on_trial_add(self, tune_controller: Any, trial: RayTrial) -> None:
        """A trial joins."""
        super().on_trial_add(tune_controller, trial)
        self._kind_of_client = trial.placement_group_factory
        self._keep_clients(tune_controller)

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        """As any scheduler chooses; asked at every turn of Ray Tune's loop."""
        self._keep_clients(tune_controller)
        return super().choose_trial_to_run(tune_controller)

    def _keep_clients(self, tune_controller: Any) -> None:
        """Have Ray Tune keep as many idle clients as there are lanes: each takes seconds to start, and it keeps one.

        No more are kept than the study has trials left, since each takes a node's memory.
        """
        more = min(self._desk.num_lanes, self._num_left) - self._num_kept
        cache = getattr(tune_controller, "_actor_cache", None)
        if more == 0 or cache is None or self._kind_of_client is None:
            return  # the cache is private to Ray Tune; without it clients start more often
        cache.increase_max(self._kind_of_client, by=more)
        self._num_kept += more

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """A trial reported and trains on, unless it is told to stop."""
        goes_on = self._receive(trial, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """A trial left its client: by itself, by our word, or because the study was interrupted."""
        self._receive(trial, result)
        self._num_left = self._coordinator.num_left
        self._desk.release(trial.config["ticket"])

    def on_trial_remove(self, tune_controller: Any, trial: RayTrial) -> None:  # noqa: ARG002
        """A trial is given up before it had a client."""
        self._desk.release(trial.config["ticket"])

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:  # noqa: ARG002
        """A client failed, or its pack did."""
        text = Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
        self._desk.release(trial.config["ticket"], text)
        if self._alarm:
            return
        with self._alarm.guarding():
            retry = HOST_FAILURES.search(text) is not None
            self._coordinator.lose(
                trial.config["trial"]["key"],
                failure_in_a_line(text),
                retry=retry,
                log=last_lines(text),
                is_shared=STORE_FAILURES.search(text) is not None,
            )

    def _receive(self, trial: RayTrial, result: dict[str, Any]) -> bool:
        if "reports" not in result:
            return True
        if not self._alarm:
            with self._alarm.guarding():
                reports = [Report.from_json(document) for document in result["reports"]]
                key = trial.config["trial"]["key"]
                return self._coordinator.receive(key, result["first_report"], reports)
        return False


def told(trial: PlannedTrial) -> dict[str, Any]:
    """What a pack is told of a trial, as plain data."""
    return {
        "key": trial.key,
        "family": trial.family,
        "params": dict(trial.params),
        "seed": trial.seed,
        "steps": trial.steps,
        "keep_adapter": trial.phase is Phase.CONFIRMATION,
    }


def failure_in_a_line(text: str) -> str:
    """What matters of a worker's error as Ray words it: what a lost worker died of, or the error that it raised."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = HOST_FAILURES.search(text)
    lost = next((line for line in lines if found and found[0].startswith("The ") and found[0] in line), None)
    return lost or lines[-1].removeprefix(f"{LaneFailedError.__module__}.{LaneFailedError.__name__}: ")


def last_lines(text: str) -> str:
    """The end of what a worker said, as much as fits a page."""
    return "\n".join(line[:LOG_COLUMNS].rstrip() for line in text.strip().splitlines()[-LOG_LINES:])


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
