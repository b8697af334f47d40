"""Where all studies stand, read at once, is what each says by itself; and more studies take no more queries."""

import pytest
from sqlalchemy import event

from study.ledger import Ledger, StudyState, standings, studies
from study.records import Outcome
from tests.study.samples import OWNER, STUDY, Clock, ended, finished, plan, run_trial

FIRST, SECOND, THIRD = (one.key for one in plan(("sgd",)))


@pytest.fixture
def several(study: Ledger) -> Ledger:
    """One study that runs, one that waits, one whose driver has died."""
    run_trial(study, FIRST, finished())
    run_trial(study, SECOND, ended(Outcome.DIVERGED))
    run_trial(study, THIRD, None)
    study.create_study("waits", {"families": ["sgd"]}, "e" * 64, {})
    study.create_study("orphan", {"families": ["sgd"]}, "f" * 64, {})
    study.set_study_state("orphan", StudyState.RUNNING)
    return study


def test_they_are_what_each_says_by_itself(several: Ledger):
    for standing in several.standings():
        name = standing.record.name
        assert standing.record == several.study(name)
        assert standing.holder == several.holder(name)
        assert standing.tallies == several.trial_tallies(name)
        assert standing.num_running == len(several.running_trials(name))
    assert {one.record.name: (one.state, one.num_running) for one in several.standings()} == {
        STUDY: (StudyState.RUNNING, 1),
        "waits": (StudyState.PLANNED, 0),
        "orphan": (StudyState.INTERRUPTED, 0),
    }
    assert [one.record.name for one in several.standings()] == [STUDY, "waits", "orphan"]


def test_a_driver_without_a_sign_of_life_holds_nothing(several: Ledger, clock: Clock):
    clock.now += 120.0
    standing = several.standings()[0]
    assert (standing.holder, standing.state) == (None, StudyState.INTERRUPTED)
    several.heartbeat(STUDY, OWNER)
    assert several.standings()[0].state is StudyState.RUNNING


def test_more_studies_take_no_more_queries(several: Ledger):
    sent: list[str] = []
    event.listen(several._engine, "before_cursor_execute", lambda *told: sent.append(told[2]))
    several.standings()
    few = len(sent)
    for number in range(20):
        several.create_study(f"more-{number}", {"families": ["sgd"]}, "e" * 64, {})
    sent.clear()
    assert len(several.standings()) == 3 + 20
    assert len(sent) == few


def test_what_is_read_at_once_is_of_one_moment(several: Ledger, url: str):
    """A driver that ends in between leaves no study that runs without one."""
    with several._reading() as connection, Ledger.open(url) as driver:
        assert studies.get(connection, STUDY).state is StudyState.RUNNING
        driver.set_study_state(STUDY, StudyState.FINISHED)
        driver.release_study(STUDY, OWNER)
        standing = standings.listed(connection, several._clock())[0]
        assert (standing.state, standing.num_running) == (StudyState.RUNNING, 1)
    assert several.standings()[0].state is StudyState.FINISHED
