"""How well a family does when tuned, and how much of that it owes to tuning.

After the performance-sensitivity plane of Adkins et al. 2024, on a single workload: performance is the tuned loss,
sensitivity what the space loses on average against it. Neither takes a minimum over noisy values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.records import Phase
from study.report.estimates import LEVEL, Estimate, Interval, mean_estimate
from study.report.snapshot import TrialRow
from study.report.tuned import confirmation_trials

NORMAL = 1.959963984540054
"""Quantile of the normal distribution at 97.5 %."""


@dataclass(frozen=True, kw_only=True)
class PlanePoint:
    """One family on one workload."""

    family: str
    tuned: Estimate
    """Mean capped report loss in nats over the confirmation's seeds, with Student's t-interval."""
    sensitivity: Estimate
    """Mean over the space minus the tuned loss, in nats; the interval is normal, from replicates and seeds."""
    num_seeds: int
    num_replicates: int
    workload: str = ""


def plane_point(family: str, rows: Sequence[TrialRow]) -> PlanePoint | None:
    """A family's place in the plane; None without two seeds and two replicates."""
    seeds = [r.capped for r in confirmation_trials(rows) if r.capped is not None]
    replicates: dict[int, list[float]] = {}
    for r in rows:
        if r.phase is Phase.SENSITIVITY and not r.extra and r.capped is not None:
            replicates.setdefault(r.replicate, []).append(r.capped)
    means = [math.fsum(values) / len(values) for _, values in sorted(replicates.items())]
    tuned, space = mean_estimate(seeds), mean_estimate(means)
    if tuned is None or space is None or tuned.interval is None or space.interval is None:
        return None
    error = math.hypot(_error(seeds), _error(means))
    mean = space.mean - tuned.mean
    interval = Interval(low=mean - NORMAL * error, high=mean + NORMAL * error, level=LEVEL)
    return PlanePoint(
        family=family,
        tuned=tuned,
        sensitivity=Estimate(mean=mean, num_units=len(means), interval=interval),
        num_seeds=len(seeds),
        num_replicates=len(means),
    )


def _error(values: Sequence[float]) -> float:
    """Standard error of a mean."""
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))
