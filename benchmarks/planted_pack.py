"""A pack that sleeps instead of training, behind the real actor, its real thread and real clients of Ray Tune."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import planted
import simulated_pack
from planted import planted_life
from simulated_pack import Costs

from study.records import Phase, PlannedTrial
from trainers.reports import Report


class SleepingPack:
    """What `study.packs` asks of a `trainers.pack.Pack`; every joint step takes the time that `Costs` give it."""

    def __init__(self, bench: Mapping[str, Any], lanes: int) -> None:
        """Make room.

        Args:
            bench: `costs`, and the steps between two measurements, `eval_every`.
            lanes: how many trials may train together.
        """
        self._costs: Costs = bench["costs"]
        self._eval_every: int = bench["eval_every"]
        self._lives: dict[int, list[Report]] = {}
        self._said: dict[int, int] = {}
        self._step: dict[int, int] = {}
        self._free = set(range(lanes))

    @property
    def free_lanes(self) -> tuple[int, ...]:
        """Lanes without a trial."""
        return tuple(sorted(self._free))

    def seat(self, planned: Mapping[str, Any]) -> int:
        """Give a trial the first free lane."""
        time.sleep(self._costs.seat_s)
        lane = min(self._free)
        self._free.discard(lane)
        self._lives[lane] = planted_life(_as_planned(planned), self._eval_every)
        self._said[lane] = self._step[lane] = 0
        return lane

    def reports(self, lane: int) -> tuple[Report, ...]:
        """What a trial said so far: nothing, as none is restored."""
        return tuple(self._lives[lane][: self._said[lane]])

    def advance(self) -> tuple[Any, ...]:
        """One joint step; the reports that are due."""
        first = [lane for lane in self._lives if self._said[lane] == 0]
        training = [lane for lane in self._lives if self._said[lane] > 0]
        seconds = len(first) * self._costs.first_s
        if training:
            seconds += self._costs.joint_step_s(len(training))
        for lane in training:
            self._step[lane] += 1
        due = first + [lane for lane in training if self._step[lane] == self._next(lane).step]
        for lane in due:
            seconds += self._costs.evaluation_s if lane in training else 0.0
            ending = self._next(lane).ending
            seconds += self._costs.final_s if ending is not None and ending.outcome == "finished" else 0.0
        time.sleep(seconds)
        return tuple(self._say(lane) for lane in due)

    def stop(self, lane: int) -> None:
        """Free a lane."""
        if self._lives.pop(lane, None) is not None:
            self._free.add(lane)

    def close(self) -> None:
        """Free every lane."""
        for lane in list(self._lives):
            self.stop(lane)

    def _next(self, lane: int) -> Report:
        return self._lives[lane][self._said[lane]]

    def _say(self, lane: int) -> Any:
        report = self._next(lane)
        self._said[lane] += 1
        if report.ending is not None:
            self.stop(lane)
        return SimpleNamespace(lane=lane, key="", report=report, failure=None)


@contextmanager
def planted_packs() -> Iterator[None]:
    """Have every pack that is started within the block sleep in place of training.

    Ray is imported here and not with this module: it reads its environment once, and `study.cluster.connected` sets it.
    """
    from ray import cloudpickle

    import study.packs.actor as actors

    class PlantedPackActor(actors.PackActor):
        """The real actor; only what would load torch is replaced, within its own process."""

        def __init__(self, study: dict[str, Any], num_threads: int) -> None:
            """Begin; `study` is what a `SleepingPack` takes as its bench."""
            opening, pack = ModuleType("study.packs.opening"), ModuleType("trainers.pack")
            vars(opening).update(open_bench=lambda study, _: study, trial_setup=lambda _, planned: planned)
            vars(pack).update(Pack=SleepingPack)
            sys.modules.update({"study.packs.opening": opening, "trainers.pack": pack})
            super().__init__(study, num_threads)

    for module in (planted, simulated_pack, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)
    real = actors.PackActor
    actors.PackActor = PlantedPackActor  # type: ignore[misc]
    try:
        yield
    finally:
        actors.PackActor = real  # type: ignore[misc]


def _as_planned(told: Mapping[str, Any]) -> PlannedTrial:
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
