"""The seam to Ray Tune: which failures are tried again, and failures of the driver's own."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.tune.schedulers import TrialScheduler

from search_spaces.errors import LedgerError, RetryableError
from study.coordinator import NoTrial
from study.scheduling import HOST_FAILURES, Alarm, ReportDesk, TrialSource, failure_in_a_line
from trainers.reports import Report

DIED = ray.exceptions.ActorDiedError(
    ActorDiedErrorContext(
        error_message="The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR",
        class_name="TrialWorker",
        actor_id=b"\x01" * 16,
        pid=7,
    )
)


class Scripted:
    """A coordinator that answers from a script, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.calls: list[tuple[Any, ...]] = []

    def next_trial(self) -> NoTrial:
        self._note("next_trial")
        return NoTrial.DONE

    def receive(self, key: str, first: int, reports: Sequence[Report]) -> bool:
        self._note("receive", key, first, [report.step for report in reports])
        return True

    def lose(self, key: str, reason: str, *, retry: bool) -> None:
        self._note("lose", key, reason, retry)

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure


def ray_trial(error_file: str = "") -> Any:
    return SimpleNamespace(config={"trial": {"key": "search/sgd/p000"}}, error_file=error_file)


def message(step: int) -> dict[str, Any]:
    report = Report(step=step, metrics={"select_loss_nats": 1.0}, ending=None)
    return {"first_report": 0, "reports": [report.to_json()], "done": False}


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (DIED, True),
        (ray.exceptions.ActorDiedError(), True),
        (ray.exceptions.ActorUnavailableError("lost", b"\x01" * 16), True),
        (ray.exceptions.WorkerCrashedError(), True),
        ("ray::TrialWorker.train()\n  ...\nsearch_spaces.errors.RetryableError: the hub is away", True),
        ("ray::TrialWorker.train()\n  ...\nOSError: [Errno 28] No space left on device", True),
        ("ray::TrialWorker.train()\n  ...\nValueError: The actor of this film", False),
        ("ray::TrialWorker.train()\n  ...\ntorch.OutOfMemoryError: CUDA out of memory", False),
        ("ray::TrialWorker.train()\n  ...\nsearch_spaces.errors.SpecError: wrong", False),
    ],
)
def test_only_lost_surroundings_are_tried_again(tmp_path, error, retry):
    file = tmp_path / "error.txt"
    file.write_text(f"Failure # 1 (occurred at 2026-11-22)\n{error}\n")
    coordinator = Scripted()
    ReportDesk(coordinator, Alarm()).on_trial_error(None, ray_trial(str(file)))
    ((name, key, _, tried_again),) = coordinator.calls
    assert (name, key, tried_again) == ("lose", "search/sgd/p000", retry)


def test_a_reason_is_the_line_that_tells():
    assert failure_in_a_line(f"Failure # 1\n{DIED}\n").startswith("The actor died unexpectedly")
    assert failure_in_a_line("Failure # 1\nray::x\n  File\nValueError: no\n\n") == "ValueError: no"
    assert HOST_FAILURES.search("BlockingIOErrors") is None


def test_reports_reach_the_coordinator_and_its_word_the_worker():
    coordinator = Scripted()
    desk = ReportDesk(coordinator, Alarm())
    assert desk.on_trial_result(None, ray_trial(), message(2)) == TrialScheduler.CONTINUE
    assert desk.on_trial_result(None, ray_trial(), {"training_iteration": 1}) == TrialScheduler.CONTINUE
    assert coordinator.calls == [("receive", "search/sgd/p000", 0, [2])]


@pytest.mark.parametrize(
    "failure", [LedgerError("it contradicts itself"), RetryableError("the disk is full")]
)
def test_a_failure_of_the_ledger_ends_the_run_and_is_not_taken_for_the_trials(tmp_path, failure):
    """Ray Tune would wrap it, or take a RetryableError for a lost worker and try the trial again."""
    (tmp_path / "error.txt").write_text("OSError: x")
    coordinator, alarm = Scripted(failure), Alarm()
    desk, source = ReportDesk(coordinator, alarm), TrialSource(coordinator, alarm, {})
    assert not alarm
    assert desk.on_trial_result(None, ray_trial(), message(2)) == TrialScheduler.STOP
    assert alarm
    desk.on_trial_complete(None, ray_trial(), message(4))
    desk.on_trial_error(None, ray_trial(str(tmp_path / "error.txt")))
    assert source.suggest("id") is None
    assert len(coordinator.calls) == 1
    with pytest.raises(type(failure), match=str(failure)):
        alarm.raise_failure()


def test_a_failure_while_the_next_trial_is_chosen_ends_the_run():
    alarm = Alarm()
    assert TrialSource(Scripted(LedgerError("no")), alarm, {}).suggest("id") is None
    with pytest.raises(LedgerError, match="no"):
        alarm.raise_failure()


def test_no_alarm_raises_nothing():
    Alarm().raise_failure()
    assert TrialSource(Scripted(), Alarm(), {}).suggest("id") == TrialSource.FINISHED
