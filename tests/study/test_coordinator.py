"""The coordinator over simulated workers: any interleaving, loss or death ends in the same ledger."""

import dataclasses
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search_spaces.errors import LedgerError, RetryableError
from study.coordinator import MAX_ATTEMPTS, Coordinator, NoTrial
from study.halving import rung_steps
from study.ledger import Ledger
from study.protocol import trial_counts
from study.records import Outcome, Phase, PlannedTrial
from tests.study.simulation import (
    EVAL_EVERY,
    STEPS,
    World,
    all_diverge,
    content,
    coordinator_in,
    dies,
    drive,
    mixed_life,
    new_study,
    run_with_deaths,
    study_spec,
)
from trainers.reports import Report, TrialEnding

SPEC = study_spec()
RUNGS = rung_steps(2, 2, STEPS)
Urls = Callable[[], str]


@pytest.fixture
def urls() -> Iterator[Urls]:
    """Addresses of new ledgers, in memory where the system has a folder for that: each write is synced."""
    memory = Path("/dev/shm")  # noqa: S108 (a private folder is made in it)
    root = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    numbers = iter(range(10_000))
    yield lambda: f"sqlite:///{root / str(next(numbers))}.db"
    shutil.rmtree(root)


@pytest.fixture
def ledger(urls) -> Iterator[Ledger]:
    with new_study(SPEC, urls()) as made:
        yield made


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> dict[str, object]:
    """What one worker that nothing disturbs leaves in the ledger."""
    with new_study(SPEC, f"sqlite:///{tmp_path_factory.mktemp('twin') / 'ledger.db'}") as undisturbed:
        world = World(seed=0, num_workers=1)
        drive(coordinator_in(world, SPEC, undisturbed), world)
        return content(undisturbed, SPEC.name)


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
            coordinator.receive(trial.key, 0, _always_finishing(trial)[:2])
        coordinator.lose(lost.key, "ValueError", retry=False)
        coordinator.receive(one.key, 0, _always_finishing(one)[:2])
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


def test_a_lost_search_trial_that_is_tried_again_changes_no_later_plan(ledger):
    """It may turn out the best one, but slices and confirmation were planned without it."""
    best = f"search/{SPEC.families[0]}/p003"

    def life(trial: PlannedTrial) -> list[Report]:
        reports = mixed_life(trial)
        if trial.key != best:
            return reports
        return [
            dataclasses.replace(report, metrics={**report.metrics, "select_loss_nats": 1 - report.step / 13})
            for report in _always_finishing(trial)
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


def test_a_trial_that_ran_out_of_memory_at_a_rung_may_be_tried_again_elsewhere(urls):
    """What it could not measure there is measured then, and the rung decides on it."""
    spec = study_spec(families=["sgd"], phases={"search": {"trials": 4, "reduction": 2, "grace_steps": 2}})
    too_small = True

    def life(trial: PlannedTrial) -> list[Report]:
        first, *later = _always_finishing(trial)
        whole = [first, *(_with_loss(report, 0.9 if trial.point == 3 else 0.4) for report in later)]
        if trial.point != 3 or not too_small:
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
        (lost,) = [r for r in elsewhere.trials(spec.name) if r.ending.outcome is Outcome.OUT_OF_MEMORY]
        elsewhere.reopen_trial(spec.name, lost.planned.key, "the study was resumed")
        too_small = False
        drive(coordinator_in(world, spec, elsewhere), world)
        again = elsewhere.trial(spec.name, lost.planned.key).ending
        assert (again.outcome, again.steps, again.select_value) == (Outcome.STOPPED, RUNGS[0], 0.9)


def _with_loss(report: Report, loss_nats: float) -> Report:
    return dataclasses.replace(report, metrics={**report.metrics, "select_loss_nats": loss_nats})


def _always_finishing(trial: PlannedTrial) -> list[Report]:
    metrics = {"select_loss_nats": 1.0, "init_loss_nats": 1.0}
    ending = TrialEnding(
        outcome="finished", reason="", value=0.1, select_value=0.1, init_value=1.0, metrics={}
    )
    return [
        Report(step=step, metrics=metrics, ending=ending if step == trial.steps else None)
        for step in range(0, trial.steps + 1, EVAL_EVERY)
    ]


def test_reports_come_as_a_whole_or_one_by_one(urls, ledger):
    """A message may repeat what was sent; the ledger holds each step once, in order."""
    coordinator = Coordinator(SPEC, ledger)
    trial = coordinator.next_trial()
    reports = _always_finishing(trial)
    coordinator.receive(trial.key, 0, reports[:3])
    coordinator.receive(trial.key, 0, reports[:2])
    coordinator.receive(trial.key, 2, reports[2:4])
    coordinator.receive(trial.key, 4, reports[4:])
    assert [one.step for one in ledger.measurements(SPEC.name, trial.key)] == [r.step for r in reports]


def test_progress_may_be_asked_from_another_thread_at_any_time(urls):
    problems: list[BaseException] = []
    with new_study(SPEC, urls()) as watched:
        world = World(seed=5, num_workers=4, crashes_per_trial=1)
        coordinator = coordinator_in(world, SPEC, watched)
        over = threading.Event()
        num_asked = 0

        def ask() -> None:
            nonlocal num_asked
            while not over.is_set():
                try:
                    progress = coordinator.progress()
                except BaseException as error:  # noqa: BLE001
                    problems.append(error)
                    return
                num_asked += 1
                over.wait(0.0002)
                ended = sum(sum(outcomes.values()) for outcomes in progress.outcomes.values())
                assert 0 <= ended <= sum(progress.planned.values())
                assert progress.steps_left >= 0

        thread = threading.Thread(target=ask)
        thread.start()
        drive(coordinator, world)
        over.set()
        thread.join()
        assert not problems
        assert num_asked > 100
        end = coordinator.progress()
        assert end.steps_left == 0
        assert end.steps_done == sum(record.ending.steps for record in watched.trials(SPEC.name))


def test_progress_counts_what_workers_hold(ledger):
    coordinator = Coordinator(SPEC, ledger)
    assert coordinator.progress().phase is None
    one, other = coordinator.next_trial(), coordinator.next_trial()
    assert coordinator.progress().running == tuple(sorted((one.key, other.key)))
    coordinator.receive(one.key, 0, _always_finishing(one))
    assert coordinator.progress().running == (other.key,)
    assert coordinator.progress().outcomes[Phase.SEARCH] == {Outcome.FINISHED: 1}
    coordinator.lose(other.key, "ActorDiedError", retry=True)
    assert coordinator.progress().running == ()


def test_a_ledger_that_contradicts_the_study_stops_it(ledger):
    coordinator = Coordinator(SPEC, ledger)
    trial = coordinator.next_trial()
    with pytest.raises(LedgerError, match=f"'{trial.key}'.*a plan never changes"):
        Coordinator(study_spec(seed=4), ledger).next_trial()
