"""A study on a simulated cluster: the real coordinator and its real rungs, with packs, network and driver as a clock.

Every trial is planned, ordered, stopped and ended by `study.coordinator`, so that phases are barriers and rungs are
decided in planned order, as in a real study. What takes time stands in `Costs`: a pack is one thread; a report
travels to the driver, which handles reports and new trials in one queue; a pack trains on meanwhile, until it has a
report whose client still waits for word on the one before.
"""

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from memory_ledger import MemoryLedger
from simulated_pack import Costs, Lane, SimulatedPack

from study.coordinator import Coordinator
from study.ledger import Ledger
from study.records import Phase, PlannedTrial
from study.spec import StudySpec
from trainers.reports import Report

Life = Callable[[PlannedTrial], list[Report]]
"""Every report that a trial makes when nothing interrupts it."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a simulated study came to."""

    makespan_s: float
    busy_frac: float
    """Share of the packs' time in which they trained, measured or seated."""
    driver_frac: float
    """Share of the time in which the driver worked."""
    num_trials: int
    num_measurements: int
    lane_steps: int
    """Steps that lanes did."""
    forgotten_frac: float
    """Share of them that trials did past the rung that stopped them."""
    phase_end_s: Mapping[Phase, float]
    """When the last trial of each phase ended."""


class Simulation:
    """One study on so many packs."""

    def __init__(self, spec: StudySpec, life: Life, costs: Costs, *, packs: int, lanes: int) -> None:
        """Prepare.

        Args:
            spec: the study; all its phases are simulated.
            life: what each trial would report.
            costs: what takes how long.
            packs: devices, each with one pack.
            lanes: trials in each pack at once.
        """
        self.ledger = MemoryLedger()
        self._study = spec.name
        self._life = life
        self._costs = costs
        self._coordinator = Coordinator(spec, cast("Ledger", self.ledger), on_end=self._note_end)
        self._packs = [SimulatedPack(number=number, costs=costs) for number in range(packs)]
        self._desk = _Desk(packs, lanes)
        self._phase_end_s: dict[Phase, float] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._now_s = 0.0
        self._driver_free_s = costs.startup_s
        self._driver_busy_s = 0.0
        self._num_measurements = 0

    def run(self) -> Result:
        """Simulate the study to its end."""
        self._give_trials()
        while self._events:
            self._now_s, _, happen = heapq.heappop(self._events)
            happen()
        if not self._coordinator.is_done:
            raise RuntimeError(f"The simulation of {self._study!r} stands still before its end.")
        records = self.ledger.trials(self._study)
        kept = sum(record.ending.steps for record in records if record.ending is not None)
        lane_steps = sum(pack.lane_steps for pack in self._packs)
        makespan_s = max(self._phase_end_s.values())
        return Result(
            makespan_s=makespan_s,
            busy_frac=sum(pack.busy_s for pack in self._packs) / (len(self._packs) * makespan_s),
            driver_frac=self._driver_busy_s / makespan_s,
            num_trials=len(records),
            num_measurements=self._num_measurements,
            lane_steps=lane_steps,
            forgotten_frac=1 - kept / lane_steps,
            phase_end_s=self._phase_end_s,
        )

    def _note_end(self, key: str) -> None:
        phase = self.ledger.trial(self._study, key).planned.phase
        self._phase_end_s[phase] = self._now_s

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now_s + seconds, next(self._order), happen))

    # The driver: one queue for reports and new trials

    def _queue(self, work_s: float, then: Callable[[], None]) -> None:
        self._driver_free_s = max(self._now_s, self._driver_free_s) + work_s
        self._driver_busy_s += work_s
        self._after(self._driver_free_s - self._now_s, then)

    def _give_trials(self) -> None:
        """Start as many trials as lanes are free, each in the pack with most of them."""
        while self._desk.has_free:
            trial = self._coordinator.next_trial()
            if not isinstance(trial, PlannedTrial):
                return
            pack = self._packs[self._desk.take()]
            lane = Lane(pack=pack, key=trial.key, reports=self._life(trial))
            self._queue(self._costs.trial_s, lambda lane=lane: self._ready(lane))  # type: ignore[misc]

    def _ready(self, lane: Lane) -> None:
        self._after(self._costs.turnover_s + self._costs.latency_s, lambda: self._deliver(lane, stays=True))

    def _tell(self, lane: Lane, message: Callable[[Lane], None]) -> None:
        self._after(self._costs.latency_s, lambda: message(lane))

    def _handle(self, lane: Lane, number: int) -> None:
        """A report's turn at the driver has come and is over."""
        self._num_measurements += 1
        if self._coordinator.receive(lane.key, number, [lane.reports[number]]):
            self._tell(lane, self._poll)
        else:
            self._tell(lane, self._leave)
            self._desk.put(lane.pack.number)
        self._give_trials()

    # Packs

    def _leave(self, lane: Lane) -> None:
        if lane.key in lane.pack.lanes:
            self._deliver(lane, stays=False)

    def _poll(self, lane: Lane) -> None:
        """The client asks for the next report."""
        lane.is_polled = True
        self._fetch(lane)
        if lane.pack.wakes_at_s is None:
            self._turn(lane.pack)

    def _fetch(self, lane: Lane) -> None:
        if lane.is_polled and lane.num_said > lane.num_fetched:
            number, lane.is_polled = lane.num_fetched, False
            lane.num_fetched += 1
            arrive = lambda: self._queue(self._costs.measurement_s, lambda: self._handle(lane, number))  # noqa: E731
            self._after(self._costs.latency_s, arrive)

    def _deliver(self, lane: Lane, *, stays: bool) -> None:
        pack, before = lane.pack, lane.pack.num_plans
        pack.deliver(lane, self._now_s, stays=stays)
        if pack.wakes_at_s is None:
            self._turn(pack)
        elif pack.num_plans != before:
            self._wake(pack)

    def _turn(self, pack: SimulatedPack) -> None:
        for lane in pack.finish():
            self._fetch(lane)
        pack.begin(self._now_s)
        self._wake(pack)

    def _wake(self, pack: SimulatedPack) -> None:
        if pack.wakes_at_s is None:
            return
        plan = pack.num_plans
        self._after(
            pack.wakes_at_s - self._now_s, lambda: self._turn(pack) if pack.num_plans == plan else None
        )


class _Desk:
    """Which pack has most free lanes, by what was given away."""

    def __init__(self, packs: int, lanes: int) -> None:
        self._free = [lanes] * packs
        self._by_free = [(-lanes, number) for number in range(packs)]
        self._num_free = packs * lanes

    @property
    def has_free(self) -> bool:
        return self._num_free > 0

    def take(self) -> int:
        """Number of the pack that takes the next trial."""
        while True:
            free, number = heapq.heappop(self._by_free)
            if -free == self._free[number]:  # else it was noted before lanes were taken or given back
                self._change(number, -1)
                return number

    def put(self, number: int) -> None:
        """A lane of a pack is free again."""
        self._change(number, 1)

    def _change(self, number: int, lanes: int) -> None:
        self._free[number] += lanes
        self._num_free += lanes
        if self._free[number]:
            heapq.heappush(self._by_free, (-self._free[number], number))
