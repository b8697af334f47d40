import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from study.ledger import Ledger, StudyState
from study.service import views
from study.service.launcher import DRIVER_FAILED, SUBMITTED
from study.service.settings import ServiceSettings
from study.service.views import watched
from tests.study.samples import STUDY, begin, finished, plan, run_trial
from tests.study.service.support import NoDrivers, Running, serving, wait_until


@pytest.fixture
def service(settings: ServiceSettings) -> Iterator[Running]:
    with serving(settings, NoDrivers()) as running:
        begin(running.context.ledger, plan())
        yield running


def events(service: Running, **headers: str) -> Iterator[httpx2.ServerSentEvent]:
    with (
        httpx2.Client(base_url=service.url, timeout=60) as http,
        http.sse(f"/api/v1/studies/{STUDY}/watch", headers=headers) as source,
    ):
        assert source.response.headers["content-type"].startswith("text/event-stream")
        yield from (event for event in source if event.data)


def finish(ledger: Ledger) -> None:
    run_trial(ledger, plan()[0].key, finished())
    ledger.set_study_state(STUDY, StudyState.FINISHED)


def test_tells_every_change_and_then_the_end(service: Running):
    ledger = service.context.ledger
    stream = events(service)
    first = next(stream)
    assert json.loads(first.data)["phases"]["search"] == {"planned": 6}
    run_trial(ledger, plan()[0].key, finished())
    documents = [json.loads(first.data)]
    for event in stream:
        if event.event == "end":
            assert json.loads(event.data) == {"state": "finished", "problem": ""}
            break
        documents.append(json.loads(event.data))
        if documents[-1]["phases"]["search"].get("finished"):
            ledger.set_study_state(STUDY, StudyState.FINISHED)
    assert documents[-1]["state"] == "finished"
    assert all(one != other for one, other in pairwise(documents))
    assert next(stream, None) is None


def test_says_nothing_twice_and_keeps_the_stream_alive(service: Running):
    with (
        httpx2.Client(base_url=service.url, timeout=60) as http,
        http.stream("GET", f"/api/v1/studies/{STUDY}/watch") as answer,
    ):
        text = ""
        for piece in answer.iter_text():
            text += piece
            if text.count(": still here") == 2:
                break
    assert text.startswith("retry: ")
    assert text.count("data: ") == 1


def test_a_last_event_id_does_no_harm(service: Running):
    finish(service.context.ledger)
    for number in ("5b1c", "x" * 5000):
        told = [event.event for event in events(service, **{"Last-Event-ID": number})]
        assert told == ["message", "end"]


def test_fifty_watchers_cost_one_poller(service: Running, monkeypatch: pytest.MonkeyPatch):
    looks = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal looks
        looks += 1
        return watched(*arguments, **named)

    monkeypatch.setattr("study.service.watching.watched", counted)
    with ThreadPoolExecutor(50) as pool:
        began = time.monotonic()
        streams = [pool.submit(lambda: list(events(service))) for _ in range(50)]
        wait_until(lambda: service.context.meters.watchers._value.get() == 50)
        finish(service.context.ledger)
        told = [stream.result(30) for stream in streams]
        took_s = time.monotonic() - began
    assert all(one[-1].event == "end" for one in told)
    assert all(json.loads(one[-2].data)["state"] == "finished" for one in told)
    assert looks <= took_s / service.context.settings.poll_s + 2
    wait_until(lambda: service.context.meters.watchers._value.get() == 0)


def test_no_more_watchers_than_allowed(home: Any):
    settings = ServiceSettings(home=home, max_watchers=1)
    with serving(settings, NoDrivers()) as service:
        begin(service.context.ledger, plan())
        stream = events(service)
        next(stream)
        answer = httpx2.get(f"{service.url}/api/v1/studies/{STUDY}/watch")
        assert answer.status_code == 429
        assert answer.headers["content-type"] == "application/problem+json"
        stream.close()  # type: ignore[attr-defined]
        wait_until(lambda: service.context.meters.watchers._value.get() == 0)
        other = events(service)
        assert json.loads(next(other).data)["study"] == STUDY
        other.close()  # type: ignore[attr-defined]


def test_a_watcher_that_leaves_ends_its_poller(service: Running):
    stream = events(service)
    next(stream)
    assert threads_of(service) == 1
    stream.close()  # type: ignore[attr-defined]
    wait_until(lambda: threads_of(service) == 0)


def threads_of(service: Running) -> int:
    app: Any = service.server.config.app
    return len(app.state.watches._channels)


def test_a_study_that_is_deleted_ends_its_streams(service: Running):
    stream = events(service)
    next(stream)
    ledger = service.context.ledger
    ledger.release_study(STUDY, "driver-1")
    ledger.delete_study(STUDY)
    told = list(stream)
    assert json.loads(told[-1].data)["state"] == "deleted"


def test_a_service_that_ends_lets_its_watchers_go(settings: ServiceSettings):
    with serving(settings, NoDrivers()) as service:
        begin(service.context.ledger, plan())
        over = threading.Event()

        def watch() -> None:
            list(events(service))
            over.set()

        threading.Thread(target=watch, daemon=True).start()
        wait_until(lambda: threads_of(service) == 1)
        began = time.monotonic()
    assert over.wait(5)
    assert time.monotonic() - began < 4


class TestWhenItIsOver:
    @pytest.fixture
    def ledger(self, service: Running) -> Ledger:
        ledger = service.context.ledger
        ledger.release_study(STUDY, "driver-1")
        ledger.set_study_state(STUDY, StudyState.INTERRUPTED)
        return ledger

    def test_what_nobody_drives_is_over(self, ledger: Ledger):
        assert watched(ledger, STUDY).is_over

    def test_what_a_driver_was_asked_for_is_not(self, ledger: Ledger):
        ledger.record_event(STUDY, SUBMITTED, {"address": "x", "job": "1", "by": "ann"})
        assert not watched(ledger, STUDY).is_over
        late = time.time() + views.LAUNCH_PATIENCE_S + 1
        assert watched(ledger, STUDY, now=late).is_over

    def test_a_driver_that_failed_is_told(self, ledger: Ledger):
        ledger.record_event(STUDY, DRIVER_FAILED, {"job": "2", "log": "Ready.\ntrialwright: No such part.\n"})
        ledger.record_event(STUDY, SUBMITTED, {"address": "x", "job": "1", "by": "ann"})
        assert not watched(ledger, STUDY).is_over  # that was another job
        ledger.record_event(STUDY, SUBMITTED, {"address": "x", "job": "2", "by": "ann"})
        now = watched(ledger, STUDY)
        assert (now.is_over, now.problem) == (True, "No such part.")

    def test_a_driver_that_drove_and_ended_is_over(self, ledger: Ledger):
        ledger.record_event(STUDY, SUBMITTED, {"address": "x", "job": "1", "by": "ann"})
        ledger.claim_study(STUDY, "d")
        ledger.set_study_state(STUDY, StudyState.RUNNING)
        assert not watched(ledger, STUDY).is_over
        ledger.set_study_state(STUDY, StudyState.STOPPED)
        assert not watched(ledger, STUDY).is_over  # it still stops
        ledger.release_study(STUDY, "d")
        assert watched(ledger, STUDY).is_over
