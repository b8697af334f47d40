"""What is told of progress, and how reports arrive."""

import threading

from study.coordinator import Coordinator
from study.records import Outcome, Phase
from tests.study.coordinator.lives import always_finishing
from tests.study.simulation import (
    World,
    coordinator_in,
    drive,
    new_study,
    study_spec,
)

SPEC = study_spec()


def test_reports_come_as_a_whole_or_one_by_one(urls, ledger):
    """A message may repeat what was sent; the ledger holds each step once, in order."""
    coordinator = Coordinator(SPEC, ledger)
    trial = coordinator.next_trial()
    reports = always_finishing(trial)
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
    coordinator.receive(one.key, 0, always_finishing(one))
    assert coordinator.progress().running == (other.key,)
    assert coordinator.progress().outcomes[Phase.SEARCH] == {Outcome.FINISHED: 1}
    coordinator.lose(other.key, "ActorDiedError", retry=True)
    assert coordinator.progress().running == ()
