"""The thread of a pack, without Ray: lanes are refilled, wait for their clients, and fail each for themselves."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces.errors import RetryableError, SpecError
from study.packs import training_thread
from study.packs.failures import LaneFailedError, PackFailedError
from study.packs.training_thread import State, TrainingThread
from tests.trainers.test_trial import bench, figures, run, setup
from trainers.pack import Pack
from trainers.reports import Report
from trainers.trial import Trial, TrialSetup
from trainers.workbench import Workbench


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    return bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def thread(shared: Workbench) -> Iterator[TrainingThread]:
    made = TrainingThread(lambda: shared)
    made.set_lanes(2)
    wait_until(lambda: made.state is State.READY)
    yield made
    for ticket in list(made._seats):
        made.leave(ticket)


def wait_until(ready: Callable[[], Any], timeout_s: float = 300.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.01)


def member(folder: Path, name: str, **changes: Any) -> TrialSetup:
    made = setup(folder / name, seed=sum(map(ord, name)), **changes)
    return replace(made, key=name, adapter_dir=None)


def fetch(thread: TrainingThread, ticket: str, num_sent: int) -> list[Report]:
    """The next news of a trial, as a client fetches it."""
    news: dict[str, Any] = {}
    while not news:
        news = thread.next(ticket, num_sent, 5.0)
    assert news["first_report"] == num_sent
    return [Report.from_json(document) for document in news["reports"]]


def life(thread: TrainingThread, ticket: str) -> list[Report]:
    """Every report of a trial to its end."""
    reports: list[Report] = []
    while not reports or reports[-1].ending is None:
        reports += fetch(thread, ticket, len(reports))
    thread.leave(ticket)
    return reports


def in_background(job: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    said: list[Any] = []
    started = threading.Thread(target=lambda: said.append(job()), daemon=True)
    started.start()
    return started, said


def assert_alike(measured: list[Report], expected: list[Report]) -> None:
    for one, other in zip(figures(measured), figures(expected), strict=True):
        assert one["step"] == other["step"]
        assert one["metrics"] == pytest.approx(other["metrics"], rel=1e-5, abs=1e-6)
        assert (one["ending"] is None) == (other["ending"] is None)


def test_a_stopped_trials_lane_is_refilled_while_its_neighbour_goes_on(thread, shared, tmp_path):
    steps = {"stays": 40, "stopped": 40, "next": 8}
    trials = {name: member(tmp_path, name, steps=number) for name, number in steps.items()}
    expected = {
        name: run(Trial(replace(one, checkpoint_dir=tmp_path / f"{name}-alone"), shared))
        for name, one in trials.items()
    }
    for name, one in trials.items():
        thread.seat(name, lambda one=one: one)
    neighbour, stays = in_background(lambda: life(thread, "stays"))
    assert len(fetch(thread, "stopped", 0)) == 1
    assert thread._waiting  # both lanes are taken
    thread.leave("stopped")
    assert_alike(life(thread, "next"), expected["next"])
    assert neighbour.is_alive()
    neighbour.join(60)
    assert_alike(stays[0], expected["stays"])


def life_from(thread: TrainingThread, ticket: str, reports: list[Report]) -> list[Report]:
    while reports[-1].ending is None:
        reports = reports + fetch(thread, ticket, len(reports))
    return reports


def test_a_lane_is_at_most_one_report_ahead_of_its_client(thread, tmp_path):
    thread.seat("a", lambda: member(tmp_path, "a"))
    assert len(fetch(thread, "a", 0)) == 1
    time.sleep(1.0)  # enough for the whole trial
    assert [report.step for report in fetch(thread, "a", 1)] == [2]
    assert [report.step for report in life_from(thread, "a", fetch(thread, "a", 0))] == [0, 2, 4, 6, 8]


def test_a_restored_trial_sends_all_from_the_beginning(thread, tmp_path):
    thread.seat("first", lambda: member(tmp_path, "a"))
    reports = fetch(thread, "first", 0)
    while reports[-1].step < 6:
        reports += fetch(thread, "first", len(reports))
    thread.leave("first")
    thread.seat("second", lambda: member(tmp_path, "a"))
    assert [report.step for report in fetch(thread, "second", 0)] == [0, 2, 4, 6]
    whole = life(thread, "second")
    thread.seat("third", lambda: member(tmp_path, "a"))
    assert figures(life(thread, "third")) == figures(whole)


def test_who_has_left_stays_away(thread, tmp_path):
    thread.leave("early")
    with pytest.raises(RetryableError, match="has left this pack"):
        thread.seat("early", lambda: member(tmp_path, "a"))
    thread.seat("a", lambda: member(tmp_path, "a"))
    thread.leave("a")
    thread.leave("a")
    with pytest.raises(RetryableError, match="not in this pack any more"):
        thread.next("a", 0, 1.0)


def test_a_trial_that_cannot_be_seated_fails_alone(thread, tmp_path):
    def broken() -> TrialSetup:
        raise SpecError("No such module.")

    thread.seat("a", lambda: member(tmp_path, "a"))
    thread.seat("broken", broken)
    with pytest.raises(LaneFailedError, match=r"^search_spaces\.errors\.SpecError: No such module\.$"):
        thread.next("broken", 0, 60.0)
    assert len(life(thread, "a")) == 5


def test_a_full_disk_fails_one_lane(thread, tmp_path):
    blocked = member(tmp_path, "blocked")
    blocked.checkpoint_dir.parent.mkdir(parents=True)
    blocked.checkpoint_dir.write_text("a file where the folder should be")
    thread.seat("blocked", lambda: blocked)
    thread.seat("a", lambda: member(tmp_path, "a"))
    neighbour, said = in_background(lambda: life(thread, "a"))
    with pytest.raises(LaneFailedError, match=r"^OSError: \[Errno 17\] File exists"):
        life(thread, "blocked")
    neighbour.join(60)
    assert len(said[0]) == 5


def test_a_silent_client_loses_its_lane(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(training_thread, "MOST_SILENT_S", 0.3)
    monkeypatch.setattr(training_thread, "_LOOK_EVERY_S", 0.1)
    thread = TrainingThread(lambda: shared)
    thread.set_lanes(1)
    thread.seat("dead", lambda: member(tmp_path, "dead"))
    thread.seat("a", lambda: member(tmp_path, "a"))
    assert len(life(thread, "a")) == 5  # the lane was freed for it
    with pytest.raises(RetryableError, match="not in this pack any more"):
        thread.next("dead", 0, 1.0)


@pytest.mark.parametrize(("lanes", "kind"), [(1, LaneFailedError), (2, PackFailedError)])
def test_who_failed_is_known_where_one_trained_alone(shared, tmp_path, monkeypatch, lanes, kind):
    thread = TrainingThread(lambda: shared)
    thread.set_lanes(lanes)
    for number in range(lanes):
        thread.seat(str(number), lambda number=number: member(tmp_path, str(number)))
    monkeypatch.setattr(Pack, "advance", lambda _: {}["no such thing"])
    for number in range(lanes):
        with pytest.raises(kind, match="KeyError: 'no such thing'"):
            life(thread, str(number))
    assert thread.state is State.FAILED
    with pytest.raises(PackFailedError):
        thread.seat("late", lambda: member(tmp_path, "late"))


def test_a_base_that_cannot_be_loaded_is_told():
    def broken() -> Workbench:
        raise torch.OutOfMemoryError("the base does not fit")

    thread = TrainingThread(broken)
    wait_until(lambda: thread.state is State.FAILED)
    assert thread.failure == "torch.OutOfMemoryError: the base does not fit"
