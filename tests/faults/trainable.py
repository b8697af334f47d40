"""A simulated pack: planted losses in place of training, with checkpoints that are written and read as real ones are.

It has what `study.packs` asks of a `trainers.pack.Pack`. Every optimizer step is noted in a file, a line each, so that
it can be counted how many were done twice.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from search_spaces.errors import RetryableError
from study.records import Phase, PlannedTrial
from tests.validation.planted import BASELINE, SHIFTED, at_home, life
from trainers.checkpoint import Checkpoint, load_newest, save_checkpoint
from trainers.places import folder_at
from trainers.reports import Report

STEP_S = "TRIALWRIGHT_FAULTS_STEP_S"
"""Variable with the seconds of a joint step."""
STEPS_FILE = "TRIALWRIGHT_FAULTS_STEPS_FILE"
"""Variable with the file that every step is noted in: `<trial> <step>`."""
SURFACES = {"adamw": at_home(BASELINE, "adamw"), "sgd": at_home(SHIFTED, "sgd")}


class SimulatedTrial:
    """One trial's life, from its newest checkpoint to its ending."""

    def __init__(self, bench: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
        """Restore it, if it was begun before."""
        training = bench["workload"]["training"]
        trial = as_planned(planned)
        self.key = trial.key
        self._life = life(SURFACES, trial, eval_every=training["eval_every"])
        self._checkpoint_every: int = training["checkpoint_every"]
        self._folder = folder_at(bench["checkpoints_dir"]) / trial.key
        self._digest = f"{trial.key} {trial.seed} {sorted(trial.params.items())}"
        kept = load_newest(self._folder)
        is_mine = kept is not None and kept.state["trial"] == self._digest
        self._step = kept.step if kept is not None and is_mine else 0
        self._num_said: int = kept.state["num_said"] if kept is not None and is_mine else 0

    @property
    def said(self) -> list[Report]:
        """What it has reported so far, before a restoration too."""
        return self._life[: self._num_said]

    def advance(self) -> Report | None:
        """One step, or the measurement before the first one; the report that is due after it.

        Raises:
            OSError: the checkpoint could not be written.
            StoreAwayError: the store did not take it.
        """
        if self._num_said > 0:
            self._step += 1
            _note(self.key, self._step)
        due = self._life[self._num_said]
        report = due if due.step <= self._step else None
        self._num_said += report is not None
        is_over = report is not None and report.ending is not None
        if is_over or self._step % self._checkpoint_every == 0:
            self._save()
        return report

    def _save(self) -> None:
        state = {"trial": self._digest, "num_said": self._num_said}
        tensors = {"weights": torch.full((64,), float(self._step))}
        save_checkpoint(self._folder, Checkpoint(step=self._step, tensors=tensors, state=state))


class SimulatedPack:
    """Lanes of simulated trials; a joint step takes `STEP_S` seconds."""

    def __init__(self, bench: Mapping[str, Any], lanes: int) -> None:
        """Make room; `bench` is what a pack is told of its study."""
        self._bench = bench
        self._step_s = float(os.environ.get(STEP_S, "0.02"))
        self._trials: dict[int, SimulatedTrial] = {}
        self._num_lanes = lanes

    @property
    def free_lanes(self) -> tuple[int, ...]:
        """Lanes without a trial."""
        return tuple(lane for lane in range(self._num_lanes) if lane not in self._trials)

    def seat(self, planned: Mapping[str, Any]) -> int:
        """Give a trial the first free lane."""
        lane = self.free_lanes[0]
        self._trials[lane] = SimulatedTrial(self._bench, planned)
        return lane

    def reports(self, lane: int) -> tuple[Report, ...]:
        """All that the trial in a lane has reported."""
        return tuple(self._trials[lane].said)

    def advance(self) -> tuple[Any, ...]:
        """One joint step; the reports that are due, and the failures of surroundings."""
        time.sleep(self._step_s)
        said = []
        for lane, trial in list(self._trials.items()):
            over = trial.said and trial.said[-1].ending is not None
            report, failure = (trial.said[-1], None) if over else _heard(trial)
            if report is not None or failure is not None:
                said.append(SimpleNamespace(lane=lane, key=trial.key, report=report, failure=failure))
            if failure is not None or (report is not None and report.ending is not None):
                self.stop(lane)
        return tuple(said)

    def stop(self, lane: int) -> None:
        """Free a lane."""
        self._trials.pop(lane, None)


def open_bench(study: Mapping[str, Any], num_threads: int) -> Mapping[str, Any]:
    """In place of a base that is loaded: what the pack was told of its study."""
    return study


def trial_setup(study: Mapping[str, Any], planned: Mapping[str, Any]) -> Mapping[str, Any]:
    """In place of a real trial's setup: what the pack was told of the trial."""
    return planned


def as_planned(told: Mapping[str, Any]) -> PlannedTrial:
    """What a pack is told of a trial, as the planner's record."""
    return PlannedTrial(
        key=told["key"],
        phase=Phase(told["key"].split("/")[0]),
        slice="",
        family=told["family"],
        replicate=0,
        point=0,
        seed=told["seed"],
        params=told["params"],
        steps=told["steps"],
    )


def _heard(trial: SimulatedTrial) -> tuple[Report | None, Exception | None]:
    try:
        return trial.advance(), None
    except (OSError, RetryableError) as error:
        return None, error


def _note(key: str, step: int) -> None:
    """Append a line in one write, so that lines of several processes do not mix."""
    path = os.environ.get(STEPS_FILE)
    if path:
        with Path(path).open("a", encoding="ascii") as file:
            file.write(f"{key} {step}\n")
