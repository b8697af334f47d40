"""A pack on a clock: lanes that train in joint steps and measure one at a time, as `trainers.pack` does."""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trainers.reports import Report


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds of everything that takes time."""

    step_s: Mapping[int, float]
    """A joint step, by the number of lanes in it; a straight line between two numbers, in proportion beyond them."""
    evaluation_s: float
    """One measurement of one lane on the select split."""
    first_s: float = 0.0
    """A trial's measurement before its first step: the base's score, which lanes share."""
    final_s: float = 0.0
    """What a finished trial measures besides, on the report split."""
    seat_s: float = 0.0
    """A pack's work to take up a trial."""
    latency_s: float = 0.0
    """A message between a pack and the driver, one way."""
    measurement_s: float = 0.0
    """The driver's work on one report."""
    trial_s: float = 0.0
    """The driver's work on one trial besides its reports: choosing, starting and ending it."""
    turnover_s: float = 0.0
    """From the driver's choice of a trial to its seat, while a client is made ready; the driver does not wait."""
    startup_s: float = 0.0
    """From the start to the first trial that is seated."""

    def joint_step_s(self, lanes: int) -> float:
        """Seconds of a joint step of so many lanes."""
        known = sorted(self.step_s)
        place = bisect.bisect_left(known, lanes)
        if place == len(known):
            return self.step_s[known[-1]] * lanes / known[-1]
        if known[place] == lanes or place == 0:
            return self.step_s[known[place]]
        low, high = known[place - 1], known[place]
        weight = (lanes - low) / (high - low)
        return (1 - weight) * self.step_s[low] + weight * self.step_s[high]


@dataclass(kw_only=True, eq=False)
class Lane:
    """A trial in a pack, and its client at the driver."""

    pack: "SimulatedPack"
    key: str
    reports: Sequence[Report]
    step: int = 0
    num_said: int = 0
    num_fetched: int = 0
    is_polled: bool = True
    """Whether the client waits for a report."""

    @property
    def steps_to_report(self) -> int:
        """Steps before the next report."""
        return max(0, self.reports[self.num_said].step - self.step)


@dataclass(kw_only=True)
class _Chunk:
    """Joint steps that a pack has begun, and the measurements after them."""

    start_s: float
    step_s: float
    num_steps: int
    tail_s: float
    training: list[Lane]
    due: list[Lane]

    @property
    def end_s(self) -> float:
        return self.start_s + self.num_steps * self.step_s + self.tail_s


@dataclass(kw_only=True, eq=False)
class SimulatedPack:
    """One device and its lanes. What is delivered takes effect between two joint steps."""

    number: int
    costs: Costs
    lanes: dict[str, Lane] = field(default_factory=dict)
    busy_s: float = 0.0
    lane_steps: int = 0
    """Steps that lanes have done."""
    num_plans: int = 0
    """Counts chunks begun and cut short, so that a wake-up of an earlier plan can be passed over."""
    _inbox: list[tuple[Lane, bool]] = field(default_factory=list)
    _chunk: _Chunk | None = None

    @property
    def wakes_at_s(self) -> float | None:
        """When what it does now is over; absent while it idles."""
        return self._chunk.end_s if self._chunk else None

    def deliver(self, lane: Lane, now_s: float, *, stays: bool) -> None:
        """Seat a trial, or let it leave; the pack does so after the step that it is in."""
        self._inbox.append((lane, stays))
        chunk = self._chunk
        if chunk is None or not chunk.training:
            return
        begun = max(0, math.ceil((now_s - chunk.start_s) / chunk.step_s - 1e-9))
        if begun < chunk.num_steps:
            chunk.num_steps, chunk.tail_s, chunk.due = begun, 0.0, []
            self.num_plans += 1

    def finish(self) -> list[Lane]:
        """End the chunk that is over; the lanes with a new report."""
        chunk, self._chunk = self._chunk, None
        if chunk is None:
            return []
        self.busy_s += chunk.end_s - chunk.start_s
        for lane in chunk.training:
            lane.step += chunk.num_steps
        self.lane_steps += chunk.num_steps * len(chunk.training)
        for lane in chunk.due:
            lane.num_said += 1
            if lane.num_said == len(lane.reports):
                self.lanes.pop(lane.key, None)
        return chunk.due

    def begin(self, now_s: float) -> None:
        """Read what was delivered; train until the next report is due, once every report so far was fetched."""
        num_seated = 0
        for lane, stays in self._inbox:
            if not stays:
                self.lanes.pop(lane.key, None)
            else:
                self.lanes[lane.key] = lane
                num_seated += 1
        self._inbox.clear()
        seating_s = num_seated * self.costs.seat_s
        self.busy_s += seating_s
        lanes = list(self.lanes.values())
        if lanes and all(lane.num_fetched == lane.num_said for lane in lanes):
            self._chunk = self._planned(lanes, now_s + seating_s)
        self.num_plans += 1

    def _planned(self, lanes: list[Lane], start_s: float) -> _Chunk:
        first = [lane for lane in lanes if lane.num_said == 0]
        training = [lane for lane in lanes if lane.num_said > 0]
        num_steps = min((lane.steps_to_report for lane in training), default=0)
        num_steps = min(num_steps, 1) if first else num_steps
        due = [lane for lane in training if lane.steps_to_report == num_steps]
        endings = (lane.reports[lane.num_said].ending for lane in due)
        num_finished = sum(ending is not None and ending.outcome == "finished" for ending in endings)
        return _Chunk(
            start_s=start_s,
            step_s=self.costs.joint_step_s(len(training)) if training else 0.0,
            num_steps=num_steps,
            tail_s=len(first) * self.costs.first_s
            + len(due) * self.costs.evaluation_s
            + num_finished * self.costs.final_s,
            training=training,
            due=first + due,
        )
