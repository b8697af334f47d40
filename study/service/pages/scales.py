"""Where values stand on the axes of a small chart, with a few round ticks; no drawing library is needed for these."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MINUS = "\u2212"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A round value of an axis."""

    place: float
    """In percent from the low end."""
    label: str


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A scale from 0 to 100 percent; values beyond its ends stand at the ends."""

    low: float
    high: float
    log: bool
    ticks: tuple[Tick, ...]

    def at(self, value: float) -> float:
        """Place of a value in percent from the low end."""
        return _place(value, self.low, self.high, log=self.log)


def linear_axis(values: Sequence[float], *, num_ticks: int = 4, from_zero: bool = False) -> Axis:
    """An axis that holds all values, with a little air."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = (0.0 if from_zero else low - air), high + (0 if from_zero else air)
    step = _round_step((high - low) / num_ticks)
    first = math.ceil(low / step - 1e-9)
    marks = [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple(
        Tick(place=_place(mark, low, high, log=False), label=f"{mark:,.{places}f}".replace("-", MINUS))
        for mark in marks
    )
    return Axis(low=low, high=high, log=False, ticks=ticks)


def log_axis(values: Sequence[float], *, num_ticks: int = 5) -> Axis:
    """A logarithmic axis over positive values, with powers of ten as its ticks."""
    low, high = (min(values) / 1.4, max(values) * 1.4) if values else (0.1, 10.0)
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    every = max(1, math.ceil((last - first + 1) / num_ticks))
    ticks = tuple(
        Tick(
            place=_place(10.0**power, low, high, log=True),
            label="1" if power == 0 else "10" if power == 1 else "10" + str(power).translate(SUPERSCRIPTS),
        )
        for power in range(first, last + 1, every)
    )
    return Axis(low=low, high=high, log=True, ticks=ticks)


def _place(value: float, low: float, high: float, *, log: bool) -> float:
    if log:
        value, low, high = (math.log10(max(one, 1e-300)) for one in (value, low, high))
    if high <= low:
        return 50.0
    return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 2)


def _round_step(rough: float) -> float:
    """The round number at or above a rough step."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
