"""What a view knows of a study's trials: what was read before and what has changed since, as if read anew."""

from collections.abc import Callable, Iterator

import pytest

from study.ledger import Ledger, StudyState, activity
from study.records import Outcome, Phase
from tests.study.samples import OWNER, STUDY, begin, ended, finished, measured, plan, planned, run_trial

FIRST, SECOND, THIRD = (one.key for one in plan(("sgd",)))

CHANGES: dict[str, Callable[[Ledger], object]] = {
    "planned": lambda ledger: ledger.plan_trials(STUDY, [planned("sgd", 7, phase=Phase.CONFIRMATION)]),
    "started": lambda ledger: ledger.start_attempt(STUDY, SECOND),
    "placed": lambda ledger: ledger.place_attempt(STUDY, FIRST, pack=3, node="10.0.0.2"),
    "measured": lambda ledger: ledger.record_measurement(STUDY, measured(FIRST, 35)),
    "ended": lambda ledger: ledger.end_trial(STUDY, FIRST, finished()),
    "ended unstarted": lambda ledger: ledger.end_trial(STUDY, SECOND, ended(Outcome.CANCELLED)),
    "started again": lambda ledger: ledger.start_attempt(STUDY, FIRST),
    "reopened": lambda ledger: ledger.reopen_trial(STUDY, THIRD, "a better host"),
    "stopped": lambda ledger: ledger.set_study_state(STUDY, StudyState.STOPPED),
    "released": lambda ledger: ledger.release_study(STUDY, OWNER),
}


@pytest.fixture
def viewer(study: Ledger, url: str) -> Iterator[Ledger]:
    """Another process's ledger, which has looked at the study once: one trial runs, one was lost, others wait."""
    run_trial(study, FIRST, None, steps=(0, 20))
    run_trial(study, THIRD, ended(Outcome.INFRA_FAILED))
    with Ledger.open(url) as opened:
        opened.trial_activity(STUDY)
        yield opened


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_seen(study: Ledger, viewer: Ledger, url: str, change: str):
    before = viewer.trial_activity(STUDY)
    CHANGES[change](study)
    with Ledger.open(url) as fresh:
        assert viewer.trial_activity(STUDY) == fresh.trial_activity(STUDY)
    assert viewer.trial_activity(STUDY) != before


def test_trials_that_cannot_have_changed_are_not_read_again(
    study: Ledger, viewer: Ledger, monkeypatch: pytest.MonkeyPatch
):
    read: list[int] = []
    real = activity._read
    monkeypatch.setattr(
        activity, "_read", lambda connection, numbers: read.append(len(numbers)) or real(connection, numbers)
    )
    study.plan_trials(STUDY, [planned("sgd", point, replicate=5) for point in range(90)])
    viewer.trial_activity(STUDY)
    assert read == [90 + 1]  # those that are new, and the one that runs
    read.clear()
    viewer.trial_activity(STUDY)
    study.end_trial(STUDY, FIRST, finished())
    viewer.trial_activity(STUDY)
    viewer.trial_activity(STUDY)
    assert read == [1, 1]


def test_a_study_that_took_the_name_of_a_deleted_one_is_another(study: Ledger, viewer: Ledger):
    study.set_study_state(STUDY, StudyState.STOPPED)
    study.release_study(STUDY, OWNER)
    study.delete_study(STUDY)
    begin(study, plan(("adamw",)))
    found = viewer.trial_activity(STUDY)
    assert [one.record for one in found] == study.trials(STUDY)
    assert {one.record.planned.family for one in found} == {"adamw"}


def test_trials_are_counted_by_phase_family_and_outcome(study: Ledger):
    run_trial(study, FIRST, finished())
    run_trial(study, SECOND, finished())
    run_trial(study, THIRD, ended(Outcome.DIVERGED))
    counted = {
        (one.phase, one.family, one.outcome): (one.number, one.device_seconds)
        for one in study.trial_tallies(STUDY)
    }
    assert counted == {
        (Phase.SEARCH, "sgd", Outcome.FINISHED): (2, 5.0),
        (Phase.SEARCH, "sgd", Outcome.DIVERGED): (1, 0.0),
        (Phase.SEARCH, "rsgd", None): (3, 0.0),
    }
