"""Means, rates and their intervals: the few formulas on which every figure of the report stands.

Everything here describes; nothing tests. Paired differences and verdicts belong to the statistics.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Confidence of every interval that says nothing else."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Two ends and how sure they are."""

    low: float
    high: float
    level: float
    """Confidence, such as 0.95."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean or a rate over independent units, with its interval."""

    mean: float
    num_units: int
    """Seeds, replicates or trials, as the caller says."""
    interval: Interval | None
    """Absent where one unit alone gives no spread."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One abscissa of a curve with its estimate."""

    x: float
    y: Estimate


def mean_estimate(
    values: Sequence[float],
    *,
    level: float = LEVEL,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Estimate | None:
    """Mean with Student's t-interval over independent units.

    Args:
        values: one finite number per unit.
        level: confidence of the interval.
        bounds: what the quantity cannot leave; the interval is clipped there, so it may be asymmetric.

    Returns:
        The estimate, or None where there is no value.
    """
    if not values:
        return None
    sample = np.asarray(values, dtype=float)
    mean = float(sample.mean())
    if sample.size == 1:
        return Estimate(mean=mean, num_units=1, interval=None)
    error = float(sample.std(ddof=1)) / math.sqrt(sample.size)
    half = error * float(stats.t.ppf((1 + level) / 2, sample.size - 1))
    low, high = max(bounds[0], mean - half), min(bounds[1], mean + half)
    return Estimate(mean=mean, num_units=int(sample.size), interval=Interval(low=low, high=high, level=level))


def rate_estimate(*, hits: int, num_trials: int, level: float = LEVEL) -> Estimate | None:
    """Share of trials with Wilson's interval, which treats them as independent.

    Returns:
        The estimate, or None where there is no trial.
    """
    if num_trials == 0:
        return None
    found = stats.binomtest(hits, num_trials).proportion_ci(confidence_level=level, method="wilson")
    interval = Interval(low=float(found.low), high=float(found.high), level=level)
    return Estimate(mean=hits / num_trials, num_units=num_trials, interval=interval)


def simultaneous_level(num_points: int, *, level: float = LEVEL) -> float:
    """Confidence of each of `num_points` intervals so that all hold together at `level` (Bonferroni)."""
    return 1 - (1 - level) / max(1, num_points)


def mean_of_curves(
    curves: Sequence[Sequence[tuple[float, float]]], *, num_points: int = 41
) -> tuple[CurvePoint, ...]:
    """Mean of curves that were sampled at different places, with a pointwise t-interval over curves.

    Each curve is interpolated linearly between its own points; the mean spans only what all of them cover.

    Args:
        curves: per unit its (x, y) points; curves of fewer than two points are left out.
        num_points: how finely the common range is sampled.
    """
    usable = [np.array(sorted(points)) for points in curves if len(points) > 1]
    if not usable:
        return ()
    low, high = max(c[0, 0] for c in usable), min(c[-1, 0] for c in usable)
    if low >= high:
        return ()
    grid = np.linspace(low, high, num_points)
    values_CG = np.stack([np.interp(grid, c[:, 0], c[:, 1]) for c in usable])
    found: list[CurvePoint] = []
    for x, column in zip(grid.tolist(), values_CG.T.tolist(), strict=True):
        y = mean_estimate(column)
        if y is not None:
            found.append(CurvePoint(x=x, y=y))
    return tuple(found)
