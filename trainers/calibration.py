"""How many lanes of a pack pay, found by timing a few joint steps on the device at hand.

The number of lanes doubles for as long as trial-steps per second rise. Every joint step is timed next to steps of
lone trials of the same kinds, and what decides is the median of these ratios: a machine that is busy meanwhile slows
both sides. Nothing is reported or kept.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, Self

import torch

from search_spaces.errors import SpecError
from trainers.calibrated import Calibration
from trainers.device_memory import DeviceMemory
from trainers.precision import SLOW_BFLOAT16, bfloat16_time
from trainers.timing import JointTrials, LoneTrial, synchronize
from trainers.trial_setup import TrialSetup
from trainers.workbench import Workbench

__all__ = ["Calibration", "calibrate"]

LEAST_GAIN = 1.03
"""Trial-steps per second, relative to fewer lanes, from which more lanes pay."""
CLEAR_GAIN = 1.15
"""A doubling that brought as much is followed by another, though time is up."""
BUDGET_S = 10.0
"""Seconds of timing after which only a clear gain lets the doubling go on."""
LEAST_ROUNDS, MOST_ROUNDS = 3, 5
"""Ratios whose median decides: as few as possible where they agree, more where they do not."""
NEVER = 10**6
"""Steps after which an evaluation or a checkpoint falls due: no timed trial gets as far."""

Say = Callable[[str], None]


def calibrate(
    workbench: Workbench,
    trials: Sequence[TrialSetup],
    *,
    most_lanes: int,
    num_packs: int = 1,
    say: Say = lambda _: None,
) -> Calibration:
    """Time joint steps of more and more lanes, and one evaluation of each split.

    The base's own scores, which are timed for it, stay with the workbench for its trials.

    Args:
        workbench: base and text of the trials; its base stays as it is.
        trials: kinds of trials to take turns in the lanes, one or more; folders in them are not touched.
        most_lanes: lanes beyond which nothing is tried, at least 1. An encoder has one in any case.
        num_packs: packs that share this machine's memory; each accelerator is one pack's own.
        say: receives a sentence for every number of lanes tried, and one where bfloat16 is slow.

    Raises:
        SpecError: an adapter does not fit the base, or the memory has no room for a single trial.
    """
    if not trials or most_lanes < 1 or num_packs < 1:
        raise ValueError("A calibration needs a trial, a lane and a pack at the least.")
    device = torch.device(workbench.foundation.device)
    if workbench.workload.base.dtype == "bfloat16" and (slowdown := bfloat16_time(device)) > SLOW_BFLOAT16:
        say(
            f"Products in bfloat16 take {slowdown:.0f} times as long as in float32 here: "
            "with base.dtype float32 the study would be faster on this hardware."
        )
    evaluation_s = _evaluation_seconds(workbench, device)
    memory = DeviceMemory(device, num_packs)
    most = most_lanes if workbench.foundation.kind == "causal" else 1
    with TemporaryDirectory() as folder, _Timing(_steps_only(workbench), trials, Path(folder)) as timing:
        gains = _gains(timing, memory, most, say)
        lanes = max(tried for tried in gains if _pays(gains, tried))
        step_s = timing.mean_solo_s()
    return Calibration(
        lanes=lanes,
        step_s={tried: tried * step_s / gain for tried, gain in gains.items()},
        evaluation_s=evaluation_s,
        memory_bytes=memory.expected_bytes(lanes),
        device=str(device),
    )


def _gains(timing: "_Timing", memory: DeviceMemory, most: int, say: Say) -> dict[int, float]:
    """Lanes tried → trial-steps per second relative to lone trials; the last one may bring too little."""
    began = time.perf_counter()
    timing.time_alone()
    memory.note(1)
    gains, lanes, gain = {1: 1.0}, 1, math.inf
    while lanes < most and gain >= LEAST_GAIN and (gain >= CLEAR_GAIN or _has_time(began)):
        more = min(2 * lanes, most)
        if not memory.has_room_for(more):
            say(f"{more} lanes would not fit in memory.")
            break
        say(f"Timing {more} lanes: at most about {timing.seconds_for(more):.0f} s.")
        try:
            gains[more] = timing.gain(more, worth=gains[lanes] * LEAST_GAIN)
        except torch.OutOfMemoryError:
            say(f"{more} lanes do not fit in memory.")
            break
        memory.note(more)
        say(f"{more} lanes train {gains[more]:.2f} times as many steps a second as one.")
        lanes, gain = more, gains[more] / gains[lanes]
    return gains


def _has_time(began: float) -> bool:
    return time.perf_counter() - began < BUDGET_S


def _pays(gains: dict[int, float], lanes: int) -> bool:
    """Whether so many lanes are enough faster than those tried before."""
    return all(gains[lanes] >= LEAST_GAIN * gains[fewer] for fewer in gains if fewer < lanes)


class _Timing:
    """What is timed: a lone trial of each kind, and beside them the pack in question."""

    def __init__(self, workbench: Workbench, trials: Sequence[TrialSetup], folder: Path) -> None:
        self._workbench = workbench
        self._trials = trials
        self._folder = folder
        self._num_made = 0
        self._alone: list[LoneTrial] = []
        self._stack = ExitStack()
        self._pace_s: list[float] = []
        """Seconds of a lone step of the first kind, in the order in which they were timed."""
        self._costs: list[list[float]] = []
        """Of each kind, seconds of a lone step relative to one of the first kind in the same round."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def time_alone(self) -> None:
        """Time the first kind.

        Raises:
            SpecError: not even this one fits in memory.
        """
        try:
            self._add_alone()
            for _ in range(LEAST_ROUNDS):
                self._pace()
        except torch.OutOfMemoryError as error:
            raise SpecError(
                f"Not even one trial of family {self._trials[0].family} fits in the memory of "
                f"{self._workbench.foundation.device}: lower training.micro_batch or task.max_tokens, or free memory."
            ) from error

    def seconds_for(self, lanes: int) -> float:
        """About how long `gain` may take: its rounds and as many steps to begin with, if lanes bring nothing."""
        steps_of_a_round = lanes + 1 + math.ceil(len(self._trials) / LEAST_ROUNDS)
        return 2 * MOST_ROUNDS * steps_of_a_round * statistics.median(self._pace_s)

    def gain(self, lanes: int, *, worth: float) -> float:
        """Trial-steps per second of so many lanes, relative to lone trials of the same kinds.

        Args:
            lanes: at least 2.
            worth: the gain in question, about which the rounds should agree.

        Raises:
            torch.OutOfMemoryError: they do not fit.
        """
        kinds = [lane % len(self._trials) for lane in range(lanes)]
        while len(self._alone) < min(lanes, len(self._trials)):
            self._add_alone()
        rounds: list[tuple[float, float]] = []
        with JointTrials(self._workbench, self._setups(kinds)) as joint:
            while not self._is_settled(rounds, kinds, worth):
                pace_s = self._pace()
                self._cost(pace_s)
                rounds.append((pace_s, joint.step_s()))
        return statistics.median(self._ratios(rounds, kinds))

    def mean_solo_s(self) -> float:
        """Seconds of a lone trial's step, the mean over the kinds that were timed."""
        return statistics.median(self._pace_s) * statistics.fmean(map(statistics.median, self._costs))

    def _is_settled(self, rounds: Sequence[tuple[float, float]], kinds: Sequence[int], worth: float) -> bool:
        if len(rounds) < LEAST_ROUNDS or not all(self._costs):
            return False
        above = {ratio >= worth for ratio in self._ratios(rounds, kinds)}
        return len(above) == 1 or len(rounds) >= MOST_ROUNDS

    def _ratios(self, rounds: Sequence[tuple[float, float]], kinds: Sequence[int]) -> list[float]:
        cost = sum(statistics.median(self._costs[kind]) for kind in kinds)
        return [cost * pace_s / joint_s for pace_s, joint_s in rounds]

    def _pace(self) -> float:
        self._pace_s.append(self._alone[0].step_s())
        return self._pace_s[-1]

    def _cost(self, pace_s: float) -> None:
        """Time the lone trials of the kinds that were timed least."""
        least = min(map(len, self._costs[1:]), default=0)
        waiting = [kind for kind in range(1, len(self._alone)) if len(self._costs[kind]) == least]
        for kind in waiting[: math.ceil(len(waiting) / LEAST_ROUNDS)]:
            self._costs[kind].append(self._alone[kind].step_s() / pace_s)

    def _add_alone(self) -> None:
        kind = len(self._alone)
        self._alone.append(self._stack.enter_context(LoneTrial(self._workbench, *self._setups([kind]))))
        self._costs.append([] if kind else [1.0])

    def _setups(self, kinds: Sequence[int]) -> list[TrialSetup]:
        """Trials of some kinds that never end and keep nothing outside the folder, each with its own seed."""
        self._num_made += 1
        return [
            replace(
                self._trials[kind],
                key=f"timing-{self._num_made}-{lane}",
                seed=lane,
                steps=NEVER,
                checkpoint_dir=self._folder / f"{self._num_made}-{lane}",
                adapter_dir=None,
                perturbations=(),
            )
            for lane, kind in enumerate(kinds)
        ]


def _steps_only(workbench: Workbench) -> Workbench:
    """The workbench without evaluations and checkpoints, but for a first one on a single row."""
    recipe = {"eval_every": NEVER, "checkpoint_every": NEVER}
    workload, data = workbench.workload, workbench.data
    return replace(
        workbench,
        workload=workload.model_copy(update={"training": workload.training.model_copy(update=recipe)}),
        data=replace(data, select=(data.select[0],), report=(data.report[0],)),
        base_scores={},
    )


def _evaluation_seconds(workbench: Workbench, device: torch.device) -> dict[str, float]:
    """Seconds of an evaluation of the bare base by split."""
    fresh = replace(workbench, base_scores={})
    splits: tuple[Literal["select"], Literal["report"]] = ("select", "report")
    seconds: dict[str, float] = {}
    for split in splits:
        before = time.perf_counter()
        fresh.score_base(split)
        synchronize(device)
        seconds[split] = time.perf_counter() - before
    workbench.base_scores.update(fresh.base_scores)
    return seconds
