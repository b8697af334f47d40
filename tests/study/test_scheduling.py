"""The seam to Ray Tune: which failures are tried again, and failures of the driver's own."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.exceptions
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.tune.schedulers import TrialScheduler

from search_spaces.errors import LedgerError, RetryableError
from study.coordinator import Coordinator, NoTrial
from study.ledger import Ledger
from study.packs.desk import Place
from study.scheduling import (
    HOST_FAILURES,
    LOG_COLUMNS,
    LOG_LINES,
    Alarm,
    ReportDesk,
    TrialSource,
    failure_in_a_line,
    last_lines,
)
from tests.study.simulation import new_study, study_spec
from trainers.reports import Report

DIED = ray.exceptions.ActorDiedError(
    ActorDiedErrorContext(
        error_message="The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR",
        class_name="PackActor",
        actor_id=b"\x01" * 16,
        pid=7,
    )
)


class Scripted:
    """A coordinator that answers from a script, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.calls: list[tuple[Any, ...]] = []
        self.num_left = 100

    def next_trial(self) -> NoTrial:
        self._note("next_trial")
        return NoTrial.DONE

    def receive(self, key: str, first: int, reports: Sequence[Report]) -> bool:
        self._note("receive", key, first, [report.step for report in reports])
        return True

    def lose(self, key: str, reason: str, *, retry: bool, log: str = "", is_shared: bool = False) -> None:
        self._note("lose", key, reason, retry, log, is_shared)

    @property
    def num_waiting(self) -> int:
        return 0

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.failure is not None:
            raise self.failure


class OpenDesk:
    """A desk with so many lanes, that notes what is given back."""

    def __init__(self, lanes: int = 1) -> None:
        self.lanes = lanes
        self.num_seated = 0
        self.released: list[tuple[str, str]] = []
        self.waiting: list[int | None] = []

    @property
    def has_room(self) -> bool:
        return self.lanes > 0

    @property
    def num_lanes(self) -> int:
        return self.lanes

    def look(self, num_waiting: int | None = None) -> None:
        self.waiting.append(num_waiting)

    def place(self, key: str) -> Place | None:
        if self.lanes <= self.num_seated:
            return None
        return Place(pack="pack-0", instance="i", ticket=f"for {key}", number=4, node="10.0.0.7")

    def release(self, ticket: str, failure: str = "") -> None:
        self.released.append((ticket, failure))


def ray_trial(error_file: str = "") -> Any:
    return SimpleNamespace(
        config={"trial": {"key": "search/sgd/p000"}, "ticket": "t0", "pack": "pack-0"}, error_file=error_file
    )


def source_of(
    coordinator: Any, desk: Any, alarm: Alarm | None = None, *, is_over: bool = False
) -> TrialSource:
    return TrialSource(coordinator, Alarm() if alarm is None else alarm, desk, lambda: is_over)


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
        ("ray::PackClient.train()\n  ...\nsearch_spaces.errors.RetryableError: the hub is away", True),
        ("ray::PackClient.train()\n  ...\nOSError: [Errno 28] No space left on device", True),
        (
            "ray::PackClient.train()\n  ...\nstudy.packs.failures.LaneFailedError: trainers.places.StoreAwayError: no",
            True,
        ),
        ("ray::PackClient.train()\n  ...\nstudy.packs.failures.PackFailedError: ValueError: no", True),
        (
            "ray::PackClient.train()\n  ...\nstudy.packs.failures.LaneFailedError: OSError: [Errno 28] full",
            True,
        ),
        ("ray::PackClient.train()\n  ...\nstudy.packs.failures.LaneFailedError: ValueError: no", False),
        ("ray::PackClient.train()\n  ...\nValueError: The actor of this film", False),
        ("ray::PackClient.train()\n  ...\ntorch.OutOfMemoryError: CUDA out of memory", False),
        ("ray::PackClient.train()\n  ...\nsearch_spaces.errors.SpecError: wrong", False),
    ],
)
def test_only_lost_surroundings_are_tried_again(tmp_path, error, retry):
    file = tmp_path / "error.txt"
    file.write_text(f"Failure # 1 (occurred at 2026-11-22)\n{error}\n")
    coordinator = Scripted()
    desk = OpenDesk()
    ReportDesk(coordinator, Alarm(), desk).on_trial_error(None, ray_trial(str(file)))
    ((name, key, _, tried_again, log, is_shared),) = coordinator.calls
    assert is_shared == ("StoreAway" in str(error) or "Errno 28" in str(error))
    assert log.splitlines()[-1] == str(error).rstrip().splitlines()[-1]
    assert desk.released == [("t0", file.read_text())]
    assert (name, key, tried_again) == ("lose", "search/sgd/p000", retry)


def test_a_reason_is_the_line_that_tells():
    assert failure_in_a_line(f"Failure # 1\n{DIED}\n").startswith("The actor died unexpectedly")
    assert failure_in_a_line("Failure # 1\nray::x\n  File\nValueError: no\n\n") == "ValueError: no"
    lane = "Failure # 1\nray::x\n  File\nstudy.packs.failures.LaneFailedError: ValueError: no\n"
    assert failure_in_a_line(lane) == "ValueError: no"
    assert HOST_FAILURES.search("BlockingIOErrors") is None


def test_reports_reach_the_coordinator_and_its_word_the_worker():
    coordinator = Scripted()
    packs = OpenDesk()
    desk = ReportDesk(coordinator, Alarm(), packs)
    assert desk.on_trial_result(None, ray_trial(), message(2)) == TrialScheduler.CONTINUE
    assert desk.on_trial_result(None, ray_trial(), {"training_iteration": 1}) == TrialScheduler.CONTINUE
    assert coordinator.calls == [("receive", "search/sgd/p000", 0, [2])]
    assert packs.released == []
    desk.on_trial_complete(None, ray_trial(), message(2))
    assert packs.released == [("t0", "")]


@pytest.mark.parametrize(
    "failure", [LedgerError("it contradicts itself"), RetryableError("the disk is full")]
)
def test_a_failure_of_the_ledger_ends_the_run_and_is_not_taken_for_the_trials(tmp_path, failure):
    """Ray Tune would wrap it, or take a RetryableError for a lost worker and try the trial again."""
    (tmp_path / "error.txt").write_text("OSError: x")
    coordinator, alarm = Scripted(failure), Alarm()
    desk, source = ReportDesk(coordinator, alarm, OpenDesk()), source_of(coordinator, OpenDesk(), alarm)
    assert not alarm
    assert desk.on_trial_result(None, ray_trial(), message(2)) == TrialScheduler.STOP
    assert alarm
    desk.on_trial_complete(None, ray_trial(), message(4))
    desk.on_trial_error(None, ray_trial(str(tmp_path / "error.txt")))
    assert source.suggest("id") == TrialSource.FINISHED
    assert len(coordinator.calls) == 1
    with pytest.raises(type(failure), match=str(failure)):
        alarm.raise_failure()


def test_a_failure_while_the_next_trial_is_chosen_ends_the_run():
    alarm = Alarm()
    source = source_of(Scripted(LedgerError("no")), OpenDesk(), alarm)
    assert source.suggest("id") == TrialSource.FINISHED
    with pytest.raises(LedgerError, match="no"):
        alarm.raise_failure()


def test_no_alarm_raises_nothing():
    Alarm().raise_failure()
    assert source_of(Scripted(), OpenDesk()).suggest("id") == TrialSource.FINISHED


def test_a_trial_waits_for_a_place_and_is_asked_for_once(tmp_path):
    spec = study_spec()
    with new_study(spec, f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        desk = OpenDesk(lanes=0)
        source = source_of(Coordinator(spec, ledger), desk)
        assert source.suggest("id") is None
        assert all(record.attempts == 0 for record in ledger.trials(spec.name))
        desk.lanes = desk.num_seated = 1  # a lane is free, though not for this trial
        assert source.suggest("id") is None
        desk.num_seated = 0
        suggested = source.suggest("id")
    key = suggested["trial"]["key"]
    assert (suggested["pack"], suggested["instance"], suggested["ticket"]) == ("pack-0", "i", f"for {key}")
    assert desk.waiting == [0, 0, 16]  # no stage had begun; the trial that has no place yet waits, too
    assert where_trials_are(tmp_path, spec.name) == {key: (4, "10.0.0.7")}
    assert ledger_attempts(tmp_path, spec.name) == {key: 1}


def test_a_run_that_is_over_gets_no_trial():
    assert source_of(Scripted(), OpenDesk(), is_over=True).suggest("id") == TrialSource.FINISHED


def ledger_attempts(folder: Path, study: str) -> dict[str, int]:
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        return {record.planned.key: record.attempts for record in ledger.trials(study) if record.attempts}


def where_trials_are(folder: Path, study: str) -> dict[str, tuple[int | None, str | None]]:
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        placed = [one for one in ledger.trial_activity(study) if one.pack is not None]
        return {one.record.planned.key: (one.pack, one.node) for one in placed}


def test_of_a_long_log_the_end_is_kept():
    text = "\n".join([*(f"line {number}" for number in range(50)), "x" * 10_000, ""])
    kept = last_lines(text).splitlines()
    assert len(kept) == LOG_LINES
    assert kept[0] == "line 31"
    assert kept[-1] == "x" * LOG_COLUMNS


def test_as_many_idle_clients_are_kept_as_there_are_lanes():
    kept: list[int] = []
    controller = SimpleNamespace(
        _actor_cache=SimpleNamespace(increase_max=lambda _kind, by: kept.append(by)), get_trials=list
    )
    packs = OpenDesk(lanes=4)
    desk = ReportDesk(Scripted(), Alarm(), packs)
    desk.on_trial_add(controller, SimpleNamespace(placement_group_factory="a client"))
    desk._keep_clients(controller)
    packs.lanes = 1
    desk._keep_clients(controller)
    assert kept == [4, -3]


def test_no_more_idle_clients_are_kept_than_trials_are_left():
    kept: list[int] = []
    controller = SimpleNamespace(
        _actor_cache=SimpleNamespace(increase_max=lambda _kind, by: kept.append(by)), get_trials=list
    )
    coordinator = Scripted()
    desk = ReportDesk(coordinator, Alarm(), OpenDesk(lanes=4))
    desk.on_trial_add(controller, SimpleNamespace(placement_group_factory="a client"))
    for coordinator.num_left in (5, 2, 0):
        desk.on_trial_complete(controller, ray_trial(), {})
        desk._keep_clients(controller)
    assert sum(kept) == 0
    assert kept == [4, -2, -2]
