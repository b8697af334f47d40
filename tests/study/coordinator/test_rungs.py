"""What rungs decide: on capped losses, in planned order, whatever happens to workers and driver."""

import json

import pytest

from study.coordinator import Coordinator
from study.halving import rung_steps
from study.records import Outcome, PlannedTrial
from tests.study.coordinator.lives import always_finishing, with_loss
from tests.study.simulation import (
    STEPS,
    World,
    all_diverge,
    content,
    coordinator_in,
    dies,
    drive,
    mixed_life,
    new_study,
    study_spec,
)
from trainers.reports import Report, TrialEnding

SPEC = study_spec()
RUNGS = rung_steps(2, 2, STEPS)


def test_rungs_compare_losses_capped_at_the_initial_one(twin):
    values = [json.loads(rung)["value"] for rung in twin["rungs"]]
    assert max(values) == 1.0
    raw = [metrics.get("select_loss_nats", 0.0) for _, step, metrics in twin["measurements"] if step in RUNGS]
    assert max(raw) > 1.0


@pytest.mark.parametrize("seed", range(5))
def test_a_diverged_trial_meets_one_rung_whatever_happens_to_the_driver(urls, seed):
    """As the first at its rung it is let through; it must not come to the next one after a restart."""

    def life(trial: PlannedTrial) -> list[Report]:
        return all_diverge(trial) if trial.point == 0 else mixed_life(trial)

    spec = study_spec(families=["sgd"], phases={"search": {"trials": 6, "reduction": 2, "grace_steps": 2}})
    contents = []
    for num_deaths in (0, 3):
        with new_study(spec, urls()) as made:
            world = World(seed=seed, num_workers=3, life=life)
            for _ in range(num_deaths):
                dies(spec, made, world, within_writes=40)
            drive(coordinator_in(world, spec, made), world)
            contents.append(content(made, spec.name))
            first = [rung for rung in made.rungs(spec.name) if rung.trial == "search/sgd/p000"]
            assert [(rung.rung, rung.action) for rung in first] == [(RUNGS[0], "continue")]
    assert contents[0] == contents[1]


def test_a_lost_trial_takes_part_in_no_rung_that_was_not_decided_for_it(urls):
    """Otherwise a restart, which cannot know what it reported there, would decide the others differently."""
    spec = study_spec(families=["sgd"], phases={"search": {"trials": 3, "reduction": 2, "grace_steps": 2}})
    with new_study(spec, urls()) as made:
        coordinator = Coordinator(spec, made)
        one, lost, other = (coordinator.next_trial() for _ in range(3))
        for trial in (lost, other):
            coordinator.receive(trial.key, 0, always_finishing(trial)[:2])
        coordinator.lose(lost.key, "ValueError", retry=False)
        coordinator.receive(one.key, 0, always_finishing(one)[:2])
        decided = [(rung.trial, rung.num_recorded) for rung in made.rungs(spec.name)]
        assert decided == [(one.key, 1), (other.key, 2)]
        assert made.trial(spec.name, lost.key).ending.outcome is Outcome.INFRA_FAILED


@pytest.mark.parametrize("seed", range(6))
def test_what_a_stopped_trial_did_past_its_rung_is_never_recorded(urls, seed):
    seen: dict[str, int] = {}
    with new_study(SPEC, urls()) as eager:
        world = World(seed=seed, num_workers=5)
        coordinator = coordinator_in(world, SPEC, eager)
        receive = coordinator.receive

        def spy(key: str, first: int, reports: list[Report]) -> bool:
            seen[key] = max(seen.get(key, 0), reports[-1].step)
            return receive(key, first, reports)

        coordinator.receive = spy  # type: ignore[method-assign]
        drive(coordinator, world)
        stopped = [r for r in eager.trials(SPEC.name) if r.ending.outcome is Outcome.STOPPED]
        for record in stopped:
            steps = [one.step for one in eager.measurements(SPEC.name, record.planned.key)]
            assert max(steps) == record.ending.steps
        assert any(seen[r.planned.key] > r.ending.steps for r in stopped)  # some did train on


def test_a_trial_that_is_stopped_while_it_waits_for_a_new_worker_is_not_started_again(urls):
    """It had reached its rung before its worker died; the trials before it then decide against it."""
    spec = study_spec(families=["sgd"])

    def second_is_worse(trial: PlannedTrial) -> list[Report]:
        level = 3.0 if trial.point == 1 else 1.0
        metrics = {"select_loss_nats": level, "init_loss_nats": 4.0}
        first = Report(step=0, metrics={"select_loss_nats": 4.0, "init_loss_nats": 4.0}, ending=None)
        return [first, *(Report(step=step, metrics=metrics, ending=None) for step in (2, 4, 6))]

    with new_study(spec, urls()) as tiny:
        coordinator = Coordinator(spec, tiny)
        best, worse = coordinator.next_trial(), coordinator.next_trial()
        assert coordinator.receive(worse.key, 0, second_is_worse(worse))
        coordinator.lose(worse.key, "ActorDiedError", retry=True)
        assert coordinator.receive(best.key, 0, second_is_worse(best)[:2])
        assert tiny.trial(spec.name, worse.key).ending.outcome is Outcome.STOPPED
        assert coordinator.next_trial().key not in {best.key, worse.key}


def test_a_rung_decision_that_the_driver_did_not_live_to_carry_out_is_carried_out(ledger, twin):
    """The ledger may hold the word `stop` of a trial that has no ending yet, nor its measurement."""
    world = World(seed=0, num_workers=1)
    trials = {r["trial"]: r for r in map(json.loads, twin["rungs"]) if r["action"] == "stop"}
    died = False

    def die_before_the_first_ending_of_a_stopped_trial(study: str, key: str, ending: object) -> bool:
        nonlocal died
        if not died and key in trials and ending.outcome is Outcome.STOPPED:
            died = True
            raise KeyboardInterrupt
        return type(ledger).end_trial(ledger, study, key, ending)

    ledger.end_trial = die_before_the_first_ending_of_a_stopped_trial  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        drive(coordinator_in(world, SPEC, ledger), world)
    drive(coordinator_in(world, SPEC, ledger), world)
    assert died
    assert content(ledger, SPEC.name) == twin


@pytest.mark.parametrize("point", [0, 3])
def test_a_trial_that_ran_out_of_memory_at_a_rung_may_be_tried_again_elsewhere(urls, point):
    """The others do not wait for it. What it could not measure is measured then, and the rung decides on it."""
    spec = study_spec(families=["sgd"], phases={"search": {"trials": 4, "reduction": 2, "grace_steps": 2}})
    too_small = True

    def life(trial: PlannedTrial) -> list[Report]:
        first, *later = always_finishing(trial)
        whole = [first, *(with_loss(report, 0.9 if trial.point == point else 0.4) for report in later)]
        if trial.point != point or not too_small:
            return whole
        ending = TrialEnding(
            outcome="out_of_memory",
            reason="No room.",
            value=None,
            select_value=None,
            init_value=1.0,
            metrics={},
        )
        return [first, Report(step=RUNGS[0], metrics={"device_s": 1.0}, ending=ending)]

    with new_study(spec, urls()) as elsewhere:
        world = World(seed=0, num_workers=2, life=life)
        drive(coordinator_in(world, spec, elsewhere), world)
        assert all(record.ending is not None for record in elsewhere.trials(spec.name))
        (lost,) = [r for r in elsewhere.trials(spec.name) if r.ending.outcome is Outcome.OUT_OF_MEMORY]
        elsewhere.reopen_trial(spec.name, lost.planned.key, "the study was resumed")
        too_small = False
        drive(coordinator_in(world, spec, elsewhere), world)
        again = elsewhere.trial(spec.name, lost.planned.key).ending
        assert (again.outcome, again.steps, again.select_value) == (Outcome.STOPPED, RUNGS[0], 0.9)
