"""A linear scale in percent, for the small marks that stand inside a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Where a value stands between two ends."""

    low: float
    high: float
    ticks: tuple[float, ...]
    """Round values inside the scale."""

    def at(self, value: float) -> float:
        """Place of a value in percent from the left, inside 0 to 100."""
        if self.high <= self.low:
            return 50.0
        return round(min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low))), 2)


def scale_of(values: Sequence[float]) -> Scale:
    """A scale that holds all values with a little air, and a few round ticks."""
    if not values:
        return Scale(low=0.0, high=1.0, ticks=())
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    low, high = low - air, high + air
    ticks = MaxNLocator(nbins=4, steps=[1, 2, 5, 10]).tick_values(low, high)
    return Scale(low=low, high=high, ticks=tuple(float(t) for t in ticks if low <= t <= high))
