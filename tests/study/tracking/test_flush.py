"""How long a driver waits for MLflow at its end, as long as something arrives; and how long MLflow has its peace."""

import itertools
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import RetryableError
from study.tracking import tracker as tracker_module
from study.tracking.shipping import Backlog, Shipper
from study.tracking.store import TrackingStore, UnansweredError
from tests.study.tracking.homes import DONE, Home, assert_agrees, finish_all

PATIENCE_S, CALL_S = 3.0, 0.35


@pytest.mark.slow
def test_a_slow_store_is_waited_for_as_long_as_something_arrives(home: Home, monkeypatch: pytest.MonkeyPatch):
    finish_all(home.ledger)
    calls: list[float] = []
    create_run = TrackingStore.create_run

    def slowly(store: TrackingStore, *args: Any, **kwargs: Any) -> str:
        calls.append(CALL_S)
        time.sleep(CALL_S)
        return create_run(store, *args, **kwargs)

    monkeypatch.setattr(TrackingStore, "create_run", slowly)
    assert home.tracker().close(PATIENCE_S) == DONE
    assert sum(calls) > PATIENCE_S, "it was over too soon to show anything"
    assert_agrees(home)


def test_nothing_is_waited_for_where_nothing_arrives(home: Home, monkeypatch: pytest.MonkeyPatch):
    finish_all(home.ledger)
    monkeypatch.setattr(TrackingStore, "create_run", lambda *_, **__: time.sleep(CALL_S) or 1 / 0)
    backlog = home.tracker().close(PATIENCE_S)
    assert "division by zero" in backlog.problem


def test_a_pass_is_followed_by_a_pause_as_long_as_itself(home: Home, monkeypatch: pytest.MonkeyPatch):
    passes: list[tuple[float, float]] = []

    def slowly(*_: object, **__: object) -> Backlog:
        began = time.monotonic()
        time.sleep(CALL_S)
        passes.append((began, time.monotonic()))
        return DONE

    monkeypatch.setattr(Shipper, "ship", slowly)
    tracker = home.tracker(interval_s=0.01)
    give_up_at = time.monotonic() + 120
    while len(passes) < 4 and time.monotonic() < give_up_at:
        tracker.notify()
        time.sleep(0.01)
    tracker.close(PATIENCE_S)
    assert len(passes) >= 4
    for (began, ended), (next_began, _) in itertools.pairwise(passes[:4]):
        assert next_began - ended >= ended - began


def test_a_run_that_is_made_late_is_looked_for_once_more(home: Home, monkeypatch: pytest.MonkeyPatch):
    """A creation gets no answer, is made again, and arrives after everything else has: no run stays RUNNING."""
    finish_all(home.ledger)
    monkeypatch.setattr(tracker_module, "LATE_S", 6.0)
    create_run = TrackingStore.create_run
    late: list[tuple[TrackingStore, Any, Any]] = []

    def unanswered(store: TrackingStore, *args: Any, **kwargs: Any) -> str:
        if not late and kwargs["name"].startswith("search"):
            late.append((store, args, kwargs))
            raise UnansweredError("read timed out")
        return create_run(store, *args, **kwargs)

    told: list[int] = []

    def arrive(num_runs: int) -> None:
        told.append(num_runs)
        ((store, args, kwargs),) = late
        create_run(store, *args, **kwargs)
        with pytest.raises(AssertionError):
            assert_agrees(home)

    monkeypatch.setattr(TrackingStore, "create_run", unanswered)
    assert home.tracker().close(30.0, arrive) == DONE
    assert told == [0]
    assert_agrees(home)


def test_a_server_that_is_silent_leaves_its_calls_unanswered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = TrackingStore("http://127.0.0.1:1", tmp_path)
    with pytest.raises(RetryableError) as refused:
        store.running_runs("1", uid="u")
    assert not isinstance(refused.value, UnansweredError)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = TrackingStore(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
        with pytest.raises(UnansweredError):
            store.running_runs("1", uid="u")
