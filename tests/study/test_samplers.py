"""The adaptive sampler: a function of the ledger alone, so nothing of it can be lost."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from study.protocol import NUM_STARTUP_TRIALS, search_trial, search_trials
from study.records import Ending, Outcome, Phase, PlannedTrial, TrialRecord
from study.samplers import next_suggestion
from tests.study.simulation import (
    World,
    content,
    coordinator_in,
    drive,
    mixed_life,
    new_study,
    run_with_deaths,
    study_spec,
)

NUM_TRIALS = NUM_STARTUP_TRIALS + 3
SEARCH = {"trials": NUM_TRIALS, "sampler": "tpe", "reduction": 2, "grace_steps": 2}
SPEC = study_spec(phases={"search": SEARCH, "confirmation": {"seeds": 2}})
BEST_LR_UNIT = 0.3


def ended(trial: PlannedTrial, outcome: Outcome = Outcome.FINISHED, loss_nats: float = 0.5) -> TrialRecord:
    kept = outcome in {Outcome.FINISHED, Outcome.STOPPED}
    steps = trial.steps if outcome is Outcome.FINISHED else 2
    ending = Ending(outcome=outcome, steps=steps, select_value=loss_nats if kept else None)
    return TrialRecord(planned=trial, attempts=1, ending=ending)


def startup(family: str = "sgd") -> list[PlannedTrial]:
    return search_trials(SPEC, family)


def lr_unit(trial: PlannedTrial) -> float:
    space = SPEC.space(trial.family)
    return float(dict(zip(space.dimensions, space.to_unit(trial.params), strict=True))["lr"])


def distance(trial: PlannedTrial) -> float:
    return abs(lr_unit(trial) - BEST_LR_UNIT)


def test_a_suggestion_is_a_function_of_the_ledger():
    records = [
        ended(trial, loss_nats=distance(trial)) for family in SPEC.families for trial in startup(family)
    ]
    first = next_suggestion(SPEC, records)
    assert first == next_suggestion(SPEC, list(records))
    assert (first.family, first.point, first.phase) == ("sgd", NUM_STARTUP_TRIALS, Phase.SEARCH)
    SPEC.space("sgd").check(first.params)
    better = [ended(record.planned, loss_nats=1 - distance(record.planned)) for record in records]
    assert next_suggestion(SPEC, better).params != first.params


def test_suggestions_go_to_the_family_that_has_fewest_and_end_at_its_number():
    records: list[TrialRecord] = [ended(trial) for family in SPEC.families for trial in startup(family)]
    families = []
    while (trial := next_suggestion(SPEC, records)) is not None:
        families.append(trial.family)
        records.append(ended(trial))
    assert families == ["sgd", "gradamw"] * (NUM_TRIALS - NUM_STARTUP_TRIALS)
    assert len({record.planned.key for record in records}) == len(records) == 2 * NUM_TRIALS


def test_suggestions_gather_where_the_loss_is_small():
    spec = study_spec(families=["sgd"], phases={"search": {**SEARCH, "trials": 32}})
    records = [ended(trial, loss_nats=distance(trial)) for trial in search_trials(spec, "sgd")]
    while (trial := next_suggestion(spec, records)) is not None:
        records.append(ended(trial, loss_nats=distance(trial)))
    suggested = [distance(record.planned) for record in records[-16:]]
    uniform = np.abs(np.random.default_rng(0).uniform(size=10_000) - BEST_LR_UNIT).mean()
    assert np.mean(suggested) < 0.6 * uniform


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_and_trials_that_run_are_remembered(outcome):
    startups: Sequence[PlannedTrial] = startup()
    records = [ended(trial, loss_nats=distance(trial)) for trial in startups[:-2]]
    records.append(ended(startups[-2], outcome))
    records.append(TrialRecord(planned=startups[-1], attempts=1, ending=None))
    other = [ended(trial) for trial in startup("gradamw")]
    assert next_suggestion(SPEC, [*records, *other]).point == NUM_STARTUP_TRIALS


def test_a_diverged_trial_does_not_count_as_a_good_one():
    """It has no value for Optuna; whatever value it carried would only mislead."""
    startups = startup()
    other = [ended(trial) for trial in startup("gradamw")]
    base = [ended(trial, loss_nats=distance(trial)) for trial in startups[:-1]]
    diverged = ended(startups[-1], Outcome.DIVERGED)
    lost = ended(startups[-1], Outcome.INFRA_FAILED)
    assert next_suggestion(SPEC, [*base, diverged, *other]) == next_suggestion(SPEC, [*base, lost, *other])


def test_points_of_the_unit_cube_come_back_from_the_parameters_that_the_ledger_keeps():
    u = [0.1, 0.2, 0.3, 0.4, 0.5]
    trial = search_trial(SPEC, "sgd", 0, u)
    again = search_trial(SPEC, "sgd", 0, SPEC.space("sgd").to_unit(trial.params))
    assert again.params == pytest.approx(trial.params)


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> dict[str, object]:
    with new_study(SPEC, ledger_url(tmp_path_factory.mktemp("twin"))) as ledger:
        world = World(seed=0, num_workers=1)
        drive(coordinator_in(world, SPEC, ledger), world)
        return content(ledger, SPEC.name)


def ledger_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


@pytest.mark.parametrize("seed", range(5))
def test_an_interrupted_adaptive_search_suggests_the_same_on_one_worker(tmp_path, twin, seed):
    with new_study(SPEC, ledger_url(tmp_path)) as ledger:
        world = World(seed=seed, num_workers=1, crashes_per_trial=seed % 2)
        assert run_with_deaths(SPEC, ledger, world, num_deaths=2) > 0
        assert content(ledger, SPEC.name) == twin


@pytest.mark.parametrize("num_workers", [2, 5])
def test_on_several_workers_every_family_gets_its_number(tmp_path, num_workers):
    with new_study(SPEC, ledger_url(tmp_path)) as ledger:
        world = World(seed=3, num_workers=num_workers, crashes_per_trial=1)
        run_with_deaths(SPEC, ledger, world, num_deaths=1)
        for family in SPEC.families:
            search = ledger.trials(SPEC.name, phase=Phase.SEARCH, family=family)
            assert len(search) == NUM_TRIALS
            assert all(record.ending is not None for record in search)


def test_a_search_that_waits_for_its_next_suggestion_is_not_done(tmp_path):
    """Interrupted between two suggestions, nothing is open; the study must not be taken for finished."""
    spec = study_spec(families=["sgd"], phases={"search": SEARCH})
    with new_study(spec, ledger_url(tmp_path)) as ledger:
        coordinator = coordinator_in(World(seed=0, num_workers=1), spec, ledger)
        for number in range(NUM_TRIALS):
            trial = coordinator.next_trial()
            assert isinstance(trial, PlannedTrial)
            assert not coordinator.is_done
            coordinator.receive(trial.key, 0, mixed_life(trial))
            assert coordinator.is_done == (number == NUM_TRIALS - 1)
