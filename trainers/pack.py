"""A pack: several trials trained together over one frozen base, each in a lane of its own.

A joint step runs the base once over the rows of all lanes and each lane's experts over its own rows; then each
lane's own optimizer moves its own weights. Weights, moments, seeds, schedule, clipping, step count, checkpoints,
measurements and endings belong to the lane's `Trial`, which does not know that it is not alone, and whose
measurements are those that it makes alone. They are so to the bit in float32 on one thread of a CPU, where the
rows of the lanes have as many positions in each step. Elsewhere, padding rows to the longest lane's regroups sums
of floating-point numbers, by which figures differ by about 1e-7, and more after many steps of a rule that
magnifies small gradients.

Only causal bases have packs so far: an encoder's head is trained in full, and would need a lane axis as well.
"""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from search_spaces.errors import SpecError
from trainers.joint_model import JointModel, sharing_copy
from trainers.moe_lora import moe_lora_layers
from trainers.reports import Report
from trainers.trial import Made, Trial
from trainers.trial_setup import TrialSetup
from trainers.workbench import Workbench


@dataclass(frozen=True, kw_only=True)
class LaneReport:
    """What the trial in a lane says."""

    lane: int
    key: str
    """The trial's key, since a lane is taken again when its trial is over."""
    report: Report


class Pack:
    """Lanes over one base. Trials are seated, advanced together, and leave at their ending or when stopped."""

    def __init__(self, workbench: Workbench, lanes: int) -> None:
        """Make room for a number of trials.

        Args:
            workbench: base and text of all of them; the base's own modules stay as they are.
            lanes: how many trials may train together, at least 1.

        Raises:
            SpecError: the base is an encoder.
        """
        if lanes < 1:
            raise ValueError(f"lanes is {lanes} but must be at least 1.")
        if workbench.foundation.kind != "causal":
            raise SpecError(
                f"Base {workbench.foundation.name!r} is an encoder, whose head has no lanes; train it in one trial "
                "a process."
            )
        self._workbench = workbench
        self._benches = [_own_modules(workbench) for _ in range(lanes)]
        self._trials: list[Trial | None] = [None] * lanes
        self._keys = [""] * lanes
        self._joint: JointModel | None = None
        self._lanes_per_pass = lanes

    @property
    def free_lanes(self) -> tuple[int, ...]:
        """Lanes without a trial."""
        return tuple(lane for lane, trial in enumerate(self._trials) if trial is None)

    def seat(self, setup: TrialSetup) -> int:
        """Give a trial the first free lane, with a fresh adapter or from its newest checkpoint.

        Returns:
            The lane.

        Raises:
            SpecError: the adapter does not fit the base (unknown target modules).
        """
        if not self.free_lanes:
            raise ValueError(f"All {len(self._trials)} lanes are taken; seat {setup.key!r} when one is free.")
        lane = self.free_lanes[0]
        self._trials[lane] = Trial(setup, self._benches[lane])
        self._keys[lane] = setup.key
        return lane

    def advance(self) -> tuple[LaneReport, ...]:
        """The next joint step; a lane that has not yet measured measures instead, its neighbours train.

        Out of memory first lets fewer lanes train at a time, which changes no measurement. A lane that does not
        even fit by itself halves its micro-batch, as it does without a pack.

        Returns:
            The reports that are due, one a lane at the most. A lane whose report carries an ending is free again.
        """
        taken = [(lane, trial) for lane, trial in enumerate(self._trials) if trial is not None]
        training = [(lane, trial) for lane, trial in taken if trial.reports and not trial.is_over]
        reports = {lane: _said(trial) for lane, trial in taken if (lane, trial) not in training}
        reports |= self._joint_step(training)
        due = tuple(
            LaneReport(lane=lane, key=self._keys[lane], report=reports[lane]) for lane in sorted(reports)
        )
        for said in due:
            if said.report.ending is not None:
                self.stop(said.lane)
        return due

    def stop(self, lane: int) -> None:
        """Free a lane; its trial, if it is not over, can go on elsewhere from its newest checkpoint."""
        trial = self._trials[lane]
        if trial is not None:
            self._trials[lane] = None
            trial.close()

    def close(self) -> None:
        """Free every lane."""
        for lane in range(len(self._trials)):
            self.stop(lane)

    def _joint_step(self, members: Sequence[tuple[int, Trial]]) -> dict[int, Report]:
        """One step of every member, in groups that are run together."""
        reports: dict[int, Report] = {}
        by_size = sorted(members, key=lambda member: member[1].next_step().micro_batch)
        for _, same_size in itertools.groupby(by_size, key=lambda member: member[1].next_step().micro_batch):
            waiting = list(same_size)
            while waiting:
                group, waiting = waiting[: self._lanes_per_pass], waiting[self._lanes_per_pass :]
                reports |= self._step_of_group(group)
        return reports

    def _step_of_group(self, group: Sequence[tuple[int, Trial]]) -> dict[int, Report]:
        before = time.perf_counter()
        made = self._gradients([trial for _, trial in group])
        share_s = (time.perf_counter() - before) / len(group)
        reports = {}
        for (lane, trial), one in zip(group, made, strict=True):
            report = trial.take_step(one, device_s=share_s)
            if report is not None:
                reports[lane] = report
        return reports

    def _gradients(self, trials: Sequence[Trial]) -> list[Made]:
        try:
            return [
                *self._joint_model(trials[0]).gradients(
                    [trial.adapter for trial in trials], [trial.next_step() for trial in trials]
                )
            ]
        except torch.OutOfMemoryError as error:
            too_large = error
        if len(trials) > 1:
            self._lanes_per_pass = half = math.ceil(len(trials) / 2)
            return self._gradients(trials[:half]) + self._gradients(trials[half:])
        return self._gradients(trials) if trials[0].halve_micro_batch() else [too_large]

    def _joint_model(self, trial: Trial) -> JointModel:
        if self._joint is None:
            names = [layer.module_name for layer in moe_lora_layers(trial.adapter.model)]
            self._joint = JointModel(self._workbench, names)
        return self._joint


def _own_modules(workbench: Workbench) -> Workbench:
    """A workbench whose base has modules of its own, so that an adapter on it is on no other, and shares the rest."""
    foundation = workbench.foundation
    return replace(workbench, foundation=replace(foundation, model=sharing_copy(foundation.model)))


def _said(trial: Trial) -> Report:
    """The first measurement, or the last of a trial that was over when it was seated."""
    return trial.reports[-1] if trial.is_over else trial.advance()
