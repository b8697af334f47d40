"""Studies, and the claim of their one driver."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from search_spaces.errors import LedgerError, SpecError
from study.ledger import Ledger, StudyState
from tests.study.samples import (
    MANIFEST,
    OWNER,
    SPEC,
    STUDY,
    Clock,
    planned,
    run_trial,
)

TRIAL = planned("sgd", 0).key


def test_a_study_is_created_once_and_kept(ledger: Ledger):
    first = ledger.create_study("s", SPEC, "a" * 64, MANIFEST)
    again = ledger.create_study("s", SPEC, "a" * 64, {"other": 1})
    assert again == first == ledger.study("s")
    assert (first.spec, first.manifest, first.state, first.plan) == (SPEC, MANIFEST, StudyState.PLANNED, None)
    assert [one.name for one in ledger.studies()] == ["s"]


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
    with pytest.raises(LedgerError, match=r"no longer driven by 'driver-1' but by process \d+ on"):
        study.heartbeat(STUDY, OWNER)


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
