"""Studies, and the claim of their one driver."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from search_spaces.errors import ClaimLostError, LedgerError, SpecError
from study.ledger import Ledger, RunKind, StudyState, TrackedRun, measurements
from study.records import RungRecord
from tests.study.samples import (
    MANIFEST,
    OWNER,
    SPEC,
    STUDY,
    Clock,
    finished,
    measured,
    planned,
    run_trial,
)

TRIAL, OTHER = planned("sgd", 0).key, planned("sgd", 1).key


def test_a_study_is_created_once_and_kept(ledger: Ledger):
    first = ledger.create_study("s", SPEC, "a" * 64, MANIFEST)
    again = ledger.create_study("s", SPEC, "a" * 64, {"other": 1})
    assert again == first == ledger.study("s")
    assert (first.spec, first.manifest, first.state, first.plan) == (SPEC, MANIFEST, StudyState.PLANNED, None)
    assert [one.name for one in ledger.studies()] == ["s"]


def test_drivers_that_create_a_study_at_once_get_the_same(url: str, ledger: Ledger):
    barrier = threading.Barrier(4)

    def create(number: int) -> str:
        with Ledger.open(url) as own:
            barrier.wait(30)
            return own.create_study(STUDY, SPEC, "d" * 64, MANIFEST).uid

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(create, range(4)))) == 1


def test_a_changed_study_is_refused(ledger: Ledger):
    ledger.create_study("s", SPEC, "a" * 64, MANIFEST)
    with pytest.raises(SpecError, match=r"'s' was started with another spec \(digest a{12}, now b{12}\)"):
        ledger.create_study("s", SPEC, "b" * 64, MANIFEST)


def test_an_unknown_study_is_named_with_the_nearest(study: Ledger):
    with pytest.raises(SpecError, match="Unknown study 'reviewz', did you mean 'reviews'"):
        study.trials("reviewz")


def test_state_plan_and_events_are_kept(study: Ledger, clock: Clock):
    clock.now += 5
    study.set_study_state(STUDY, StudyState.FINISHED)
    study.save_plan(STUDY, {"trials": 6, "device_h": 0.1})
    study.record_event(STUDY, "launched", {"argv": ["trialwright", "launch"]})
    kept = study.study(STUDY)
    assert (kept.state, kept.changed_at, kept.plan) == (
        StudyState.FINISHED,
        clock.now,
        {"trials": 6, "device_h": 0.1},
    )
    assert [(event.kind, event.recorded_at) for event in study.events(STUDY)] == [("launched", clock.now)]


def test_a_second_driver_is_told_who_holds_the_study(study: Ledger, clock: Clock):
    clock.now += 12
    with pytest.raises(
        SpecError, match=r"'reviews' is being run by process \d+ on .* \(last sign of life 12 s"
    ):
        study.claim_study(STUDY, "driver-2")
    held = study.holder(STUDY)
    assert held is not None
    assert held.owner == OWNER
    assert study.release_study(STUDY, OWNER)
    assert not study.release_study(STUDY, OWNER)
    assert study.holder(STUDY) is None
    assert study.claim_study(STUDY, "driver-2").owner == "driver-2"


def test_a_driver_without_a_sign_of_life_gives_way(study: Ledger, clock: Clock):
    study.start_attempt(STUDY, TRIAL)
    clock.now += 59
    study.heartbeat(STUDY, OWNER)
    clock.now += 59
    with pytest.raises(SpecError, match="a study has one driver at a time: wait for it, or end it with"):
        study.claim_study(STUDY, "driver-2")
    clock.now += 2
    study.claim_study(STUDY, "driver-2")
    assert study.running_trials(STUDY) == []
    with pytest.raises(
        LedgerError, match=r"no longer driven by this process, driver-1, but by process \d+ on"
    ):
        study.heartbeat(STUDY, OWNER)


def test_a_driver_that_lost_its_study_changes_nothing_any_more(study: Ledger, clock: Clock):
    driver = study.held_by(OWNER)
    run_trial(driver, TRIAL, finished())
    clock.now += 61
    study.claim_study(STUDY, "driver-2")
    study.start_attempt(STUDY, OTHER)
    before = _everything(study)
    for write in _writes(driver):
        with pytest.raises(
            ClaimLostError, match=r"no longer driven by this process, driver-1, but by process \d+"
        ):
            write()
    assert _everything(study) == before
    study.release_study(STUDY, "driver-2")
    with pytest.raises(ClaimLostError, match="but released: it gave no sign of life for more than 60 s"):
        driver.record_measurement(STUDY, measured(OTHER, 0))
    study.claim_study(STUDY, OWNER)
    assert driver.record_measurement(STUDY, measured(OTHER, 0))


def test_a_write_and_a_takeover_never_overlap(url: str, study: Ledger, clock: Clock):
    """The takeover waits for a write that has begun, and no write begins between the look at the claim and its end."""
    clock.now += 61
    began, go_on = threading.Event(), threading.Event()
    driver = study.held_by(OWNER)
    with Ledger.open(url, clock=clock) as other, ThreadPoolExecutor(2) as threads:
        real = measurements.add

        def slow(*args: Any) -> bool:
            began.set()
            go_on.wait(10)
            return real(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(measurements, "add", slow)
            written = threads.submit(driver.record_measurement, STUDY, measured(TRIAL, 0))
            assert began.wait(10)
            taken = threads.submit(other.claim_study, STUDY, "driver-2")
            with pytest.raises(TimeoutError):
                taken.result(0.5)
            go_on.set()
            assert written.result(10)
            assert taken.result(40).owner == "driver-2"
        with pytest.raises(ClaimLostError):
            driver.record_measurement(STUDY, measured(TRIAL, 20))


def _everything(ledger: Ledger) -> list[Any]:
    looks = (
        ledger.study,
        ledger.events,
        ledger.trial_activity,
        ledger.measurements,
        ledger.rungs,
        ledger.holder,
    )
    return [look(STUDY) for look in looks] + [
        ledger.tracked_runs(STUDY, "store"),
        ledger.attempts(STUDY, TRIAL),
    ]


def _writes(driver: Ledger) -> list[Callable[[], object]]:
    """Every way in which a driver, or its tracker, writes."""
    run = TrackedRun(kind=RunKind.STUDY, key="", run_id="1", shipped_measurement=0, shipped_state="")
    rung = RungRecord(
        family="sgd", trial=OTHER, rung=20, value=0.5, cutoff=None, num_recorded=1, action="continue"
    )
    return [
        lambda: driver.heartbeat(STUDY, OWNER),
        lambda: driver.set_study_state(STUDY, StudyState.FINISHED),
        lambda: driver.save_spec(STUDY, {}),
        lambda: driver.save_plan(STUDY, {}),
        lambda: driver.save_manifest(STUDY, {}),
        lambda: driver.record_event(STUDY, "told", {}),
        lambda: driver.plan_trials(STUDY, [planned("sgd", 9)]),
        lambda: driver.start_attempt(STUDY, OTHER),
        lambda: driver.place_attempt(STUDY, OTHER, pack=3, node="elsewhere"),
        lambda: driver.end_trial(STUDY, OTHER, finished()),
        lambda: driver.reopen_trial(STUDY, TRIAL, "it was lost"),
        lambda: driver.record_measurement(STUDY, measured(OTHER, 0)),
        lambda: driver.record_rung(STUDY, rung),
        lambda: driver.intend_run(STUDY, "store", RunKind.STUDY, ""),
        lambda: driver.save_tracked_run(STUDY, "store", run),
        lambda: driver.forget_tracked_run(STUDY, "store", None),
    ]


@pytest.mark.parametrize("parent_noticed", [True, False])
def test_a_dead_driver_gives_way_at_once(url: str, study: Ledger, clock: Clock, parent_noticed: bool):
    study.release_study(STUDY, OWNER)
    program = (
        "import os; from study.ledger import Ledger; from tests.study.samples import STUDY\n"
        f"ledger = Ledger.open({url!r}, clock=lambda: {clock.now})\n"
        "ledger.claim_study(STUDY, 'other')\n"
        f"ledger.start_attempt(STUDY, {TRIAL!r})\n"
        "os._exit(1)\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", program])
    ended = os.waitid(os.P_PID, driver.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_status == 1
    if parent_noticed:
        driver.wait()
    assert study.running_trials(STUDY) == [TRIAL]
    assert study.holder(STUDY) is None
    study.claim_study(STUDY, "driver-2")
    assert study.running_trials(STUDY) == []
    driver.wait()


def test_a_study_that_no_longer_runs_has_no_running_trial(study: Ledger):
    run_trial(study, TRIAL, None)
    study.set_study_state(STUDY, StudyState.INTERRUPTED)
    assert study.running_trials(STUDY) == []
    assert study.trial(STUDY, TRIAL) == replace(study.trial(STUDY, TRIAL), attempts=1, ending=None)


def test_drivers_on_a_cluster_are_counted_by_their_newest_launch(ledger):
    for name in ("one", "two", "three", "four"):
        ledger.create_study(name, {}, "digest", {})
        ledger.claim_study(name, f"driver of {name}")
        ledger.set_study_state(name, StudyState.RUNNING)
    for name, cluster in (
        ("one", "old"),
        ("one", "here"),
        ("two", "here"),
        ("two", "there"),
        ("three", "here"),
    ):
        ledger.record_event(name, "connected", {"cluster": cluster})
    assert [ledger.num_drivers_on(cluster) for cluster in ("here", "there", "old")] == [2, 1, 0]
    ledger.set_study_state("one", StudyState.STOPPED)
    assert ledger.num_drivers_on("here") == 1
    ledger.release_study("three", "driver of three")
    assert ledger.num_drivers_on("here") == 0


def test_a_spec_may_be_written_otherwise(ledger):
    ledger.create_study("one", {"resources": {"max_hours": 1}}, "digest", {})
    ledger.save_spec("one", {"resources": {"max_hours": 2}})
    assert ledger.study("one").spec == {"resources": {"max_hours": 2}}
    assert ledger.study("one").spec_digest == "digest"
