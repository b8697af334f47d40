"""Workers and stores that fail: who is tried again, who is given up, and what that changes."""

import dataclasses
import math
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from search_spaces.errors import RetryableError
from study.coordinator import MAX_ATTEMPTS, Coordinator, NoTrial
from study.records import Outcome, Phase, PlannedTrial
from tests.study.coordinator.lives import always_finishing
from tests.study.simulation import (
    STEPS,
    World,
    coordinator_in,
    drive,
    mixed_life,
    new_study,
    run_with_deaths,
    study_spec,
)
from trainers.reports import Report, TrialEnding

SPEC = study_spec()


def test_a_trial_that_always_loses_its_worker_is_given_up_and_holds_nobody_up(urls):
    with new_study(SPEC, urls()) as unlucky:
        world = World(seed=4, num_workers=3, crashes_per_trial=MAX_ATTEMPTS)
        drive(coordinator_in(world, SPEC, unlucky), world)
        records = unlucky.trials(SPEC.name)
        lost = [r for r in records if r.ending.outcome is Outcome.INFRA_FAILED]
        assert lost
        assert all(r.attempts == MAX_ATTEMPTS and "ActorDiedError" in r.ending.reason for r in lost)
        assert all(r.ending is not None for r in records)
        for record in lost:
            steps = [one.step for one in unlucky.measurements(SPEC.name, record.planned.key)]
            assert record.ending.steps == (steps[-1] if steps else 0)


@pytest.mark.parametrize("seed", range(12))
def test_lost_trials_and_dead_drivers_together_leave_no_trial_without_an_ending(urls, seed):
    with new_study(SPEC, urls()) as unlucky:
        world = World(seed=seed, num_workers=1 + seed % 4, crashes_per_trial=MAX_ATTEMPTS)
        run_with_deaths(SPEC, unlucky, world, num_deaths=3)
        assert all(record.ending is not None for record in unlucky.trials(SPEC.name))


def test_interruptions_do_not_count_as_lost_workers(ledger):
    world = World(seed=0, num_workers=1)
    for _ in range(MAX_ATTEMPTS + 2):
        first = coordinator_in(world, SPEC, ledger).next_trial()  # and the driver is gone
    assert isinstance(first, PlannedTrial)
    coordinator = coordinator_in(world, SPEC, ledger)
    assert coordinator.next_trial() == first
    coordinator.lose(first.key, "ActorDiedError", retry=True)
    assert ledger.trial(SPEC.name, first.key).ending is None
    assert coordinator.next_trial() == first


def test_a_failure_of_the_trial_itself_is_not_tried_again(ledger):
    coordinator = Coordinator(SPEC, ledger)
    trial = coordinator.next_trial()
    coordinator.place(trial.key, pack=1, node="10.0.0.2")
    coordinator.lose(trial.key, "ValueError: no such thing", retry=False, log="line\nValueError")
    ending = ledger.trial(SPEC.name, trial.key).ending
    assert (ending.outcome, ending.reason) == (Outcome.INFRA_FAILED, "ValueError: no such thing")
    (event,) = [event for event in ledger.events(SPEC.name) if event.kind == "attempt_failed"]
    assert event.detail == {
        "trial": trial.key,
        "reason": "ValueError: no such thing",
        "attempt": 1,
        "log": "line\nValueError",
    }
    (placed,) = [one for one in ledger.trial_activity(SPEC.name) if one.pack is not None]
    assert (placed.record.planned.key, placed.pack, placed.node) == (trial.key, 1, "10.0.0.2")


def test_a_store_that_is_away_loses_no_trial(ledger):
    coordinator = Coordinator(SPEC, ledger)
    for _ in range(MAX_ATTEMPTS - 1):
        trial = coordinator.next_trial()
        coordinator.lose(trial.key, "StoreAwayError: away", retry=True, is_shared=True)
    assert coordinator.next_trial() == trial
    with pytest.raises(RetryableError, match=r"StoreAwayError: away \(trial 'search/.*', 3 attempts\)"):
        coordinator.lose(trial.key, "StoreAwayError: away.", retry=True, is_shared=True)
    assert ledger.trial(SPEC.name, trial.key).ending is None
    assert Coordinator(SPEC, ledger).next_trial() == trial


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["metric", "value", "select_value", "init_value", "final metric"])
def test_a_number_that_is_none_loses_its_trial_alone(ledger, number, where):
    coordinator = Coordinator(SPEC, ledger)
    trial = coordinator.next_trial()
    first = Report(step=0, metrics={"select_loss_nats": 1.0, "init_loss_nats": 1.0}, ending=None)
    assert coordinator.receive(trial.key, 0, [first])
    scores = {name: number if name == where else 0.5 for name in ("value", "select_value", "init_value")}
    final = {"report_accuracy": number if where == "final metric" else 0.5}
    last = Report(
        step=STEPS,
        metrics={"select_loss_nats": number if where == "metric" else 0.5},
        ending=TrialEnding(outcome="finished", reason="", metrics=final, **scores),
    )
    assert not coordinator.receive(trial.key, 1, [last])
    ending = ledger.trial(SPEC.name, trial.key).ending
    assert ending.outcome is Outcome.INFRA_FAILED
    assert f"= {number} at step {STEPS}, which is no measurement." in ending.reason
    assert [one.step for one in ledger.measurements(SPEC.name, trial.key)] == [0]
    assert coordinator.next_trial() is not NoTrial.DONE


@pytest.mark.parametrize("locked_later_s", [None, 3600])
def test_a_clock_that_is_set_back_puts_no_measurement_before_study_or_lock(
    ledger, monkeypatch, locked_later_s
):
    began_at = ledger.study(SPEC.name).created_at
    if locked_later_s is not None:
        locked = datetime.fromtimestamp(began_at // 1 + locked_later_s, UTC)
        ledger.save_manifest(SPEC.name, {"claims": {"locked_at": locked.strftime("%Y-%m-%dT%H:%M:%SZ")}})
        began_at = locked.timestamp()
    monkeypatch.setattr("study.coordinator.time", SimpleNamespace(time=lambda: 1.0))
    coordinator = Coordinator(SPEC, ledger)
    trial = coordinator.next_trial()
    first = Report(step=0, metrics={"select_loss_nats": 1.0, "init_loss_nats": 1.0}, ending=None)
    coordinator.receive(trial.key, 0, [first])
    (measured,) = ledger.measurements(SPEC.name)
    assert measured.recorded_at == began_at


def test_a_lost_search_trial_that_is_tried_again_changes_no_later_plan(ledger):
    """It may turn out the best one, but slices and confirmation were planned without it."""
    best = f"search/{SPEC.families[0]}/p003"

    def life(trial: PlannedTrial) -> list[Report]:
        reports = mixed_life(trial)
        if trial.key != best:
            return reports
        return [
            dataclasses.replace(report, metrics={**report.metrics, "select_loss_nats": 1 - report.step / 13})
            for report in always_finishing(trial)
        ]

    world = World(seed=0, num_workers=1, life=life)
    coordinator = coordinator_in(world, SPEC, ledger)
    receive = coordinator.receive

    def refuse(key: str, first: int, reports: list[Report]) -> bool:
        if key == best:
            coordinator.lose(key, "ValueError", retry=False)
            return False
        return receive(key, first, reports)

    coordinator.receive = refuse  # type: ignore[method-assign]
    drive(coordinator, world)
    planned = [r.planned for r in ledger.trials(SPEC.name, phase=Phase.CONFIRMATION)]
    ledger.reopen_trial(SPEC.name, best, "the study was resumed")
    drive(coordinator_in(world, SPEC, ledger), world)
    assert ledger.trial(SPEC.name, best).ending.outcome is Outcome.FINISHED
    assert [r.planned for r in ledger.trials(SPEC.name, phase=Phase.CONFIRMATION)] == planned
