"""A study without Ray and torch: workers whose trials are functions of their key, and drivers that may die.

The simulated worker speaks to the coordinator as `study.packs.client` does: after a restoration it sends every
report from the beginning, then one at a time, and the last of an ended trial twice, as Ray Tune does.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from search_spaces.designs import derived_seed
from study.coordinator import Coordinator, NoTrial
from study.ledger import Ledger
from study.records import PlannedTrial
from study.spec import StudySpec, parse_spec
from trainers.reports import Report, TrialEnding

STEPS, EVAL_EVERY, CHECKPOINT_EVERY = 12, 2, 4
Life = Callable[[PlannedTrial], list[Report]]
"""Every report that a trial makes when nothing interrupts it."""


def study_spec(**changes: Any) -> StudySpec:
    """Two families, rungs at steps 2, 4 and 8."""
    document = {
        "name": "simulated",
        "seed": 3,
        "base": {"model": "path:/models/none"},
        "task": {"name": "vader_movie"},
        "training": {"steps": STEPS, "batch": 4, "eval_every": EVAL_EVERY, "max_evaluation_share": 1},
        "families": ["sgd", "gradamw"],
        "phases": {
            "search": {"trials": 8, "reduction": 2, "grace_steps": 2},
            "sensitivity": {"replicates": 1, "points": 2, "lr_slice": {"step_decades": 2}},
            "confirmation": {"seeds": 2},
        },
    }
    return parse_spec({**document, **changes}, source="a simulated study")


def number_of(*parts: str | int) -> float:
    """A number in [0, 1) that depends on `parts` alone."""
    return derived_seed(*parts) / 2**63


def mixed_life(trial: PlannedTrial) -> list[Report]:
    """A life whose fate the key decides: most finish, some explode, fail in a step, run out of memory."""
    fate = number_of(trial.key, "fate")
    at = 1 + int(number_of(trial.key, "when") * (trial.steps - 1))
    reports: list[Report] = []
    for step in range(0, trial.steps + 1, EVAL_EVERY):
        metrics = {"select_loss_nats": _loss(trial.key, step), "device_s": 0.5 * step}
        if step == 0:
            reports.append(Report(step=0, metrics=metrics | {"init_loss_nats": 1.0}, ending=None))
            continue
        if at <= step and fate < 0.1:  # an evaluation finds the loss exploded
            exploded = {**metrics, "select_loss_nats": 5.0}
            return [*reports, Report(step=step, metrics=exploded, ending=_ending("diverged"))]
        if at <= step and fate < 0.25:  # an optimizer step fails, perhaps the first one after an evaluation
            return [*reports, Report(step=at, metrics={"device_s": 0.5 * at}, ending=_ending("diverged"))]
        if at <= step and fate < 0.3:
            done = reports[-1].step if at < step else step  # in training, or in the evaluation after it
            return [*reports, Report(step=done, metrics={"device_s": 1.0}, ending=_ending("out_of_memory"))]
        is_last = step == trial.steps
        reports.append(Report(step=step, metrics=metrics, ending=_finished(metrics) if is_last else None))
    return reports


def all_diverge(trial: PlannedTrial) -> list[Report]:
    """A life that explodes at its first evaluation."""
    metrics = {"select_loss_nats": 1.0, "init_loss_nats": 1.0, "device_s": 0.0}
    exploded = {"select_loss_nats": 9.0, "device_s": 1.0}
    return [
        Report(step=0, metrics=metrics, ending=None),
        Report(step=EVAL_EVERY, metrics=exploded, ending=_ending("diverged")),
    ]


class DriverDiedError(BaseException):
    """The driver's process is gone; nothing may catch it."""


class MortalLedger:
    """A ledger whose driver dies just before or just after one of its writes."""

    WRITES = (
        "plan_trials",
        "start_attempt",
        "record_measurement",
        "record_rung",
        "record_event",
        "end_trial",
    )

    def __init__(self, ledger: Ledger, *, writes_left: int, dies_after_write: bool) -> None:
        self._ledger = ledger
        self._writes_left = writes_left
        self._dies_after_write = dies_after_write

    def __getattr__(self, name: str) -> Any:
        """The real ledger's method, counted where it writes."""
        method = getattr(self._ledger, name)
        return self._counted(method) if name in self.WRITES else method

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **named: Any) -> Any:
            self._writes_left -= 1
            if self._writes_left < 0 and not self._dies_after_write:
                raise DriverDiedError
            result = method(*arguments, **named)
            if self._writes_left < 0:
                raise DriverDiedError
            return result

        return write


@dataclass
class World:
    """Workers, their checkpoints on a disk that outlives them, and chance."""

    seed: int
    num_workers: int
    life: Life = mixed_life
    crashes_per_trial: int = 0
    """How often each trial loses its worker in one launch."""
    disk: dict[str, int] = field(default_factory=dict)
    """Reports in each trial's newest checkpoint."""
    started: list[str] = field(default_factory=list)
    """Keys in the order in which workers took them."""

    def __post_init__(self) -> None:
        """Begin the chain of chances."""
        self.chance = random.Random(self.seed)


class Worker:
    """A worker that holds one trial."""

    def __init__(self, trial: PlannedTrial, world: World) -> None:
        self.key = trial.key
        self._world = world
        self._life = world.life(trial)
        self._reports = self._life[: world.disk.get(trial.key, 0)]
        self._num_sent = 0

    def step(self) -> tuple[int, list[Report], bool]:
        """First number, reports and whether they are the last: one message to the driver."""
        if len(self._reports) == self._num_sent:
            self._reports.append(self._life[len(self._reports)])
            is_over = len(self._reports) == len(self._life)
            if is_over or self._reports[-1].step % CHECKPOINT_EVERY == 0:
                self._world.disk[self.key] = len(self._reports)
        first, fresh = self._num_sent, self._reports[self._num_sent :]
        self._num_sent = len(self._reports)
        sent = [Report.from_json(json.loads(json.dumps(report.to_json()))) for report in fresh]
        return first, sent, fresh[-1].ending is not None


def coordinator_in(world: World, spec: StudySpec, ledger: Any, **options: Any) -> Coordinator:
    """A new driver's coordinator; checkpoints of trials that ended are dropped."""

    def drop(key: str) -> None:
        world.disk.pop(key, None)

    return Coordinator(spec, ledger, on_end=drop, **options)


def drive(coordinator: Coordinator, world: World) -> None:
    """Let the workers run, in a random interleaving, until nothing is left to do."""
    workers: list[Worker | None] = [None] * world.num_workers
    crashes: dict[str, int] = {}
    while True:
        slot = world.chance.randrange(world.num_workers)
        worker = workers[slot]
        if worker is None:
            trial = coordinator.next_trial()
            if isinstance(trial, PlannedTrial):
                world.started.append(trial.key)
                workers[slot] = Worker(trial, world)
            elif workers == [None] * world.num_workers:
                assert trial is NoTrial.DONE, "everything waits and nothing runs"
                return
        elif crashes.get(worker.key, 0) < world.crashes_per_trial and world.chance.random() < 0.2:
            crashes[worker.key] = crashes.get(worker.key, 0) + 1
            coordinator.lose(worker.key, "ActorDiedError: killed", retry=True)
            workers[slot] = None
        elif not _send(coordinator, worker):
            workers[slot] = None


def run_with_deaths(spec: StudySpec, ledger: Ledger, world: World, *, num_deaths: int) -> int:
    """Drive a study whose driver dies `num_deaths` times somewhere; how often it really died."""
    died = sum(dies(spec, ledger, world, within_writes=150) for _ in range(num_deaths))
    drive(coordinator_in(world, spec, ledger), world)
    return died


def dies(spec: StudySpec, ledger: Ledger, world: World, *, within_writes: int) -> bool:
    """Drive a study that has at most so many writes to live; False where it ended before."""
    mortal = MortalLedger(
        ledger,
        writes_left=world.chance.randrange(within_writes),
        dies_after_write=world.chance.random() < 0.5,
    )
    try:
        drive(coordinator_in(world, spec, mortal), world)
    except DriverDiedError:
        return True
    return False


def content(ledger: Ledger, study: str) -> dict[str, Any]:
    """Everything that a ledger says of a study's trials, but for times and attempts."""
    return {
        "trials": [
            (record.planned, record.ending and replace(record.ending, device_seconds=0.0))
            for record in ledger.trials(study)
        ],
        "measurements": [
            (one.trial, one.step, _without_seconds(one.metrics)) for one in ledger.measurements(study)
        ],
        "rungs": sorted(json.dumps(asdict(rung), sort_keys=True) for rung in ledger.rungs(study)),
    }


@contextmanager
def new_study(spec: StudySpec, url: str) -> Iterator[Ledger]:
    """A ledger that holds the planned study."""
    with Ledger.open(url) as ledger:
        ledger.create_study(spec.name, spec.canonical(), spec.digest, {})
        yield ledger


def _send(coordinator: Coordinator, worker: Worker) -> bool:
    """One message as Ray Tune delivers it; whether the worker goes on with its trial."""
    first, reports, done = worker.step()
    goes_on = not done and coordinator.receive(worker.key, first, reports)
    if not goes_on:
        coordinator.receive(worker.key, first, reports)
    return goes_on


def _loss(key: str, step: int) -> float:
    """A loss that starts at 1 for every trial, and falls or rises to where the key says."""
    return 1.0 + (number_of(key, "level") - 0.7) * step / STEPS + 0.02 * (number_of(key, step) if step else 0)


def _finished(metrics: Mapping[str, float]) -> TrialEnding:
    return TrialEnding(
        outcome="finished",
        reason="",
        value=metrics["select_loss_nats"] + 0.01,
        select_value=metrics["select_loss_nats"],
        init_value=1.0,
        metrics={"report_accuracy": 0.5},
    )


def _ending(outcome: Any) -> TrialEnding:
    return TrialEnding(
        outcome=outcome, reason="It went wrong.", value=None, select_value=None, init_value=1.0, metrics={}
    )


def _without_seconds(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: figure for name, figure in metrics.items() if not name.endswith("_s")}
