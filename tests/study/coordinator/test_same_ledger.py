"""The coordinator over simulated workers: any interleaving, loss or death ends in the same ledger."""

import json

import pytest

from search_spaces.errors import LedgerError
from study.coordinator import MAX_ATTEMPTS, Coordinator, NoTrial
from study.halving import rung_steps
from study.protocol import trial_counts
from study.records import Outcome, Phase
from tests.study.simulation import (
    EVAL_EVERY,
    STEPS,
    World,
    content,
    coordinator_in,
    dies,
    drive,
    new_study,
    run_with_deaths,
    study_spec,
)

SPEC = study_spec()
RUNGS = rung_steps(2, 2, STEPS)


def test_the_twin_meets_every_fate(twin):
    outcomes = {ending.outcome for _, ending in twin["trials"]}
    assert outcomes == {Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED, Outcome.OUT_OF_MEMORY}
    diverged = [
        ending.steps
        for planned, ending in twin["trials"]
        if ending.outcome is Outcome.DIVERGED and planned.phase is Phase.SEARCH
    ]
    assert any(step in RUNGS for step in diverged)
    assert any(step not in RUNGS for step in diverged)
    assert {json.loads(rung)["action"] for rung in twin["rungs"]} == {"stop", "continue"}


def test_every_planned_trial_ends_once_with_all_its_measurements(twin):
    counts = trial_counts(SPEC)
    for phase in (Phase.SEARCH, Phase.SENSITIVITY, Phase.LR_SLICE, Phase.CONFIRMATION):
        keys = [planned.key for planned, _ in twin["trials"] if planned.phase is phase]
        assert len(set(keys)) == len(keys) == sum(counts[phase].values())
    for planned, ending in twin["trials"]:
        steps = [step for key, step, _ in twin["measurements"] if key == planned.key]
        if ending.outcome is Outcome.OUT_OF_MEMORY:  # it measured nothing where it ended
            assert steps == list(range(0, steps[-1] + 1, EVAL_EVERY))
            continue
        assert steps[-1] == ending.steps
        assert steps[:-1] == list(range(0, ending.steps, EVAL_EVERY))


@pytest.mark.parametrize("seed", range(40))
def test_any_interleaving_loss_and_death_ends_in_the_same_ledger(urls, twin, seed):
    world = World(seed=seed, num_workers=1 + seed % 5, crashes_per_trial=seed % MAX_ATTEMPTS)
    with new_study(SPEC, urls()) as disturbed:
        died = run_with_deaths(SPEC, disturbed, world, num_deaths=seed % 4)
        assert content(disturbed, SPEC.name) == twin
        assert (died > 0) == (seed % 4 > 0)
        if not died and not world.crashes_per_trial:
            assert world.disk == {}  # no checkpoint outlives its trial


def test_a_driver_that_dies_all_the_time_loses_nothing(urls, twin):
    """Sometimes the checkpoints are gone too, so that what a trial held has to be trained again."""
    with new_study(SPEC, urls()) as disturbed:
        world = World(seed=1, num_workers=3)
        num_deaths = 0
        while dies(SPEC, disturbed, world, within_writes=40):
            num_deaths += 1
            if world.chance.random() < 0.1:
                world.disk.clear()
        assert num_deaths > 10
        assert content(disturbed, SPEC.name) == twin


@pytest.mark.parametrize("last_phase", [Phase.SEARCH, Phase.SENSITIVITY])
def test_a_study_pauses_after_the_last_phase_and_goes_on_to_the_same_end(ledger, twin, last_phase):
    world = World(seed=7, num_workers=2)
    coordinator = coordinator_in(world, SPEC, ledger, last_phase=last_phase)
    drive(coordinator, world)
    assert coordinator.is_done
    order = list(Phase)
    reached = {record.planned.phase for record in ledger.trials(SPEC.name)}
    assert max(map(order.index, reached)) <= order.index(Phase.LR_SLICE)
    assert (Phase.SENSITIVITY in reached) == (last_phase is Phase.SENSITIVITY)
    drive(coordinator_in(world, SPEC, ledger), world)
    assert content(ledger, SPEC.name) == twin


def test_a_study_that_has_ended_starts_nothing(ledger):
    world = World(seed=0, num_workers=2)
    drive(coordinator_in(world, SPEC, ledger), world)
    attempts = [record.attempts for record in ledger.trials(SPEC.name)]
    world.started.clear()
    again = coordinator_in(world, SPEC, ledger)
    assert not again.is_done
    assert again.next_trial() is NoTrial.DONE
    assert again.is_done
    assert world.started == []
    assert [record.attempts for record in ledger.trials(SPEC.name)] == attempts


def test_families_take_turns(ledger):
    world = World(seed=0, num_workers=1)
    drive(coordinator_in(world, SPEC, ledger), world)
    search = [key for key in world.started if key.startswith("search/")]
    assert [key.split("/")[1] for key in search] == ["sgd", "gradamw"] * 8


def test_a_ledger_that_contradicts_the_study_stops_it(ledger):
    coordinator = Coordinator(SPEC, ledger)
    trial = coordinator.next_trial()
    with pytest.raises(LedgerError, match=f"'{trial.key}'.*a plan never changes"):
        Coordinator(study_spec(seed=4), ledger).next_trial()
