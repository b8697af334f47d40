"""Trials that are trained to be timed, alone or together, and reported to nobody."""

import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch

from search_spaces.errors import TrialFailedError
from trainers.joint_model import sharing_copy
from trainers.pack import LaneReport, Pack
from trainers.trial import Trial
from trainers.trial_setup import TrialSetup
from trainers.workbench import Workbench

SAMPLE_S, MOST_STEPS = 0.1, 10
"""A sample lasts about as long, or has as many steps, so that short steps are not lost in noise."""
WARM_UP = {"cpu": 1, "cuda": 3}
"""Steps before the first sample, by type of device."""


class Timed(ABC):
    """Something that trains step by step; a sample is the mean of a few steps where they are short."""

    def __init__(self, workbench: Workbench) -> None:
        self._device = torch.device(workbench.foundation.device)
        self._num_steps = 1

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, and give an accelerator's memory back."""
        self.close()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def step_s(self) -> float:
        """Wall-clock seconds of a step now.

        Raises:
            torch.OutOfMemoryError: a step does not fit.
        """
        return statistics.fmean(self._timed() for _ in range(self._num_steps))

    @abstractmethod
    def close(self) -> None:
        """Take the adapters off the base."""

    @abstractmethod
    def _step(self) -> None:
        """Train one step."""

    def _warm_up(self) -> None:
        """Train until steps take their usual time, and see how many make a sample."""
        last_s = min(self._timed() for _ in range(WARM_UP.get(self._device.type, 1)))
        self._num_steps = min(MOST_STEPS, math.ceil(SAMPLE_S / last_s))

    def _timed(self) -> float:
        synchronize(self._device)
        before = time.perf_counter()
        self._step()
        synchronize(self._device)
        return time.perf_counter() - before


class LoneTrial(Timed):
    """A trial without a pack, on modules of its own over the base's weights; begun anew when it diverges."""

    def __init__(self, workbench: Workbench, setup: TrialSetup) -> None:
        """Attach its adapter.

        Raises:
            SpecError: the adapter does not fit the base.
            torch.OutOfMemoryError: it does not fit in memory.
        """
        super().__init__(workbench)
        foundation = workbench.foundation
        self._workbench = replace(
            workbench, foundation=replace(foundation, model=sharing_copy(foundation.model))
        )
        self._setup = setup
        self._trial = Trial(setup, self._workbench)
        self._warm_up()

    def close(self) -> None:
        """Take the adapter off."""
        self._trial.close()

    def _step(self) -> None:
        try:
            self._trial.seconds_per_step(1, num_warm_up=0)
        except TrialFailedError:
            self.close()
            self._trial = Trial(self._setup, self._workbench)


class JointTrials(Timed):
    """A pack whose lanes are all taken, and are taken again when a trial diverges."""

    def __init__(self, workbench: Workbench, setups: Sequence[TrialSetup]) -> None:
        """Seat the trials, one a lane, and let them measure for the first time.

        Raises:
            SpecError: an adapter does not fit the base.
            torch.OutOfMemoryError: they do not fit in memory.
        """
        super().__init__(workbench)
        self._setups = {setup.key: setup for setup in setups}
        self._pack = Pack(workbench, len(setups))
        try:
            for setup in setups:
                self._pack.seat(setup)
            self._step()
            self._warm_up()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free all lanes."""
        self._pack.close()

    def _step(self) -> None:
        for said in self._pack.advance():
            self._seat_again(said)

    def _seat_again(self, said: LaneReport) -> None:
        if said.report is None:
            raise said.failure or OSError(f"{said.key} ended without a word.")
        ending = said.report.ending
        if ending is None:
            return
        if ending.outcome == "out_of_memory":
            raise torch.OutOfMemoryError(ending.reason)
        self._pack.seat(self._setups[said.key])


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
