"""Trials and families that come to nothing."""

from study.records import Outcome, Phase, PlannedTrial
from tests.study.simulation import (
    World,
    all_diverge,
    coordinator_in,
    drive,
    mixed_life,
    study_spec,
)
from trainers.reports import Report, TrialEnding

SPEC = study_spec()


def test_a_trial_without_a_finite_loss_at_the_start_is_an_outcome(ledger):
    def broken(trial: PlannedTrial) -> list[Report]:
        outcome = "diverged" if trial.point % 2 else "out_of_memory"
        ending = TrialEnding(
            outcome=outcome,
            reason="Nothing works.",
            value=None,
            select_value=None,
            init_value=None,
            metrics={},
        )
        return [Report(step=0, metrics={"device_s": 1.0}, ending=ending)]

    world = World(seed=0, num_workers=2, life=broken)
    drive(coordinator_in(world, SPEC, ledger), world)
    drive(coordinator_in(world, SPEC, ledger), world)  # and a later launch can read it
    outcomes = {record.ending.outcome for record in ledger.trials(SPEC.name)}
    assert outcomes == {Outcome.DIVERGED, Outcome.OUT_OF_MEMORY}


def test_a_family_whose_every_search_trial_diverges_has_no_slices_and_no_confirmation(ledger):
    def life(trial: PlannedTrial) -> list[Report]:
        return all_diverge(trial) if trial.family == "sgd" else mixed_life(trial)

    world = World(seed=2, num_workers=3, life=life)
    drive(coordinator_in(world, SPEC, ledger), world)
    phases = dict.fromkeys(Phase, 0)
    for record in ledger.trials(SPEC.name, family="sgd"):
        assert record.ending.outcome is Outcome.DIVERGED
        phases[record.planned.phase] += 1
    assert phases[Phase.SEARCH] == 8
    assert phases[Phase.SENSITIVITY] == 2
    assert phases[Phase.LR_SLICE] == phases[Phase.CONFIRMATION] == 0
    assert len(ledger.trials(SPEC.name, phase=Phase.CONFIRMATION, family="gradamw")) == 2


def test_a_study_of_which_everything_diverges_ends_and_nothing_seems_left(ledger):
    world = World(seed=2, num_workers=2, life=all_diverge)
    coordinator = coordinator_in(world, SPEC, ledger)
    drive(coordinator, world)
    assert coordinator.is_done
    progress = coordinator.progress()
    assert progress.planned[Phase.CONFIRMATION] == 0
    assert progress.steps_left == 0
    assert progress.running == ()
