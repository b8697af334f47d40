"""Trials, their attempts and their endings."""

from dataclasses import replace

import pytest

from search_spaces.errors import LedgerError, TrialFailedError
from study.ledger import Ledger
from study.records import Ending, Outcome, Phase
from tests.study.samples import (
    MANIFEST,
    SPEC,
    STUDY,
    ended,
    finished,
    measured,
    plan,
    planned,
    run_trial,
)

TRIAL = planned("sgd", 0).key


def test_trials_come_back_as_planned_and_in_order(ledger: Ledger):
    ledger.create_study(STUDY, SPEC, "d", MANIFEST)
    odd = replace(
        planned("sgd", 1, phase=Phase.LR_SLICE),
        params={"lr": 0.1 + 0.2, "damping": 5e-324, "router_lr": 1.7976931348623157e308, "rule": "grün"},
        seed=2**63 - 1,
        slice="lr",
    )
    trials = [planned("sgd", 1), odd, planned("rsgd", 0)]
    assert ledger.plan_trials(STUDY, trials) == 3
    assert [record.planned for record in ledger.trials(STUDY)] == trials
    assert ledger.trial(STUDY, odd.key).planned == odd
    assert [
        type(value) for value in ledger.trial(STUDY, TRIAL.replace("p00", "p01")).planned.params.values()
    ] == [
        float,
        int,
        int,
        int,
    ]
    assert [one.planned.key for one in ledger.trials(STUDY, phase=Phase.LR_SLICE)] == [odd.key]
    assert [one.planned.family for one in ledger.trials(STUDY, family="rsgd")] == ["rsgd"]


def test_planning_again_keeps_what_is_there(study: Ledger):
    run_trial(study, TRIAL, finished())
    assert study.plan_trials(STUDY, [*plan(), planned("adamw", 0)]) == 1
    assert study.trial(STUDY, TRIAL).ending == finished()
    assert len(study.trials(STUDY)) == len(plan()) + 1


def test_another_trial_under_a_known_key_is_refused_and_nothing_is_added(study: Ledger):
    changed = replace(planned("sgd", 0), steps=41)
    with pytest.raises(LedgerError, match=r"Trial 'search/sgd/r00/p00' is planned as .*a plan never changes"):
        study.plan_trials(STUDY, [planned("adamw", 0), changed])
    assert len(study.trials(STUDY)) == len(plan())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, None, [1]])
def test_a_parameter_that_is_no_plain_value_is_refused(study: Ledger, value: object):
    odd = replace(planned("adamw", 0), params={"lr": value})  # type: ignore[dict-item]
    with pytest.raises(LedgerError, match=r"Trial 'search/adamw/r00/p00' has lr = .*but a parameter is"):
        study.plan_trials(STUDY, [odd])


def test_attempts_are_counted_and_a_trial_runs_between_start_and_end(study: Ledger):
    assert study.start_attempt(STUDY, TRIAL) == 1
    assert study.running_trials(STUDY) == [TRIAL]
    assert study.start_attempt(STUDY, TRIAL) == 2
    assert study.running_trials(STUDY) == [TRIAL]
    assert study.trial(STUDY, TRIAL).attempts == 2
    study.end_trial(STUDY, TRIAL, finished())
    assert study.running_trials(STUDY) == []
    with pytest.raises(LedgerError, match=r"has ended \(finished\) and cannot be started: reopen it first"):
        study.start_attempt(STUDY, TRIAL)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_trial_ends_once(study: Ledger, outcome: Outcome):
    ending = finished() if outcome is Outcome.FINISHED else ended(outcome, init_value=0.7)
    assert study.end_trial(STUDY, TRIAL, ending)
    assert not study.end_trial(STUDY, TRIAL, ending)
    assert study.trial(STUDY, TRIAL).ending == ending
    with pytest.raises(LedgerError, match=r"cannot end again as .*an ending never changes"):
        study.end_trial(STUDY, TRIAL, replace(ending, steps=ending.steps + 1))
    assert study.trial(STUDY, TRIAL).ending == ending


@pytest.mark.parametrize("field", ["value", "select_value", "init_value", "device_seconds"])
def test_an_ending_that_is_not_finite_is_refused(study: Ledger, field: str):
    with pytest.raises(TrialFailedError, match=rf"reported {field} = nan at its end \(finished\), but"):
        study.end_trial(STUDY, TRIAL, replace(finished(), **{field: float("nan")}))  # type: ignore[arg-type]
    assert study.trial(STUDY, TRIAL).ending is None


@pytest.mark.parametrize("outcome", [Outcome.INFRA_FAILED, Outcome.OUT_OF_MEMORY, Outcome.CANCELLED])
def test_a_lost_trial_runs_again_and_the_loss_is_remembered(study: Ledger, outcome: Outcome):
    run_trial(study, TRIAL, ended(outcome), steps=[0, 10])
    study.reopen_trial(STUDY, TRIAL, "the study was resumed")
    assert study.trial(STUDY, TRIAL).ending is None
    (event,) = study.events(STUDY)
    assert (event.kind, event.detail["trial"], event.detail["outcome"]) == ("trial_reopened", TRIAL, outcome)
    run_trial(study, TRIAL, finished(), steps=[10, 20, 40])
    assert study.trial(STUDY, TRIAL).attempts == 2
    assert [one.step for one in study.measurements(STUDY, TRIAL)] == [0, 10, 20, 40]


@pytest.mark.parametrize("outcome", [Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED])
def test_a_result_is_never_taken_back(study: Ledger, outcome: str):
    study.end_trial(STUDY, TRIAL, ended(Outcome(outcome)))
    with pytest.raises(LedgerError, match=f"ended as {outcome} and cannot be reopened: only"):
        study.reopen_trial(STUDY, TRIAL, "again")


def test_a_trial_that_was_never_planned_is_refused(study: Ledger):
    with pytest.raises(LedgerError, match="Trial 'search/sgd/p99' was never planned in this study"):
        study.record_measurement(STUDY, measured("search/sgd/p99", 0))


def test_an_ending_without_extras_round_trips(study: Ledger):
    bare = Ending(outcome=Outcome.CANCELLED, steps=0)
    study.end_trial(STUDY, TRIAL, bare)
    assert study.trial(STUDY, TRIAL).ending == bare
