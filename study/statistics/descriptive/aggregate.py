"""M15: several workloads as one, for claims that aggregate and for tables.

Shapes: R replicates, W workloads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from study.statistics.contrast import Contrast, NotEvaluableError
from study.statistics.intervals import Interval, t_interval

_CUT = 0.25
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One family's normalised scores over all workloads."""

    mean: float
    mean_interval: Interval
    """Student's t over replicates."""
    iqm: float
    """Interquartile mean over replicates and workloads."""
    iqm_interval: Interval
    """Student's t over the jackknife's pseudo-values."""
    num_replicates: int
    num_workloads: int


def aggregate_contrasts(contrasts: Sequence[Contrast]) -> Contrast:
    """One contrast of several workloads: per unit the mean over workloads of its differences.

    Every workload weighs the same, and its differences enter as they are: a metric has one unit on all workloads, and
    dividing by a workload's own spread would weigh it by its noise. A margin that is relative is thus a fraction of the
    mean over workloads of family b's means. Units are matched by name, so that what a unit shares between workloads
    (a design, a seed) stays within it. Workloads whose units have no name in common are independent samples, and
    their units are matched in order.

    Args:
        contrasts: one per workload, of one metric and one pair of families.

    Raises:
        NotEvaluableError: no contrasts, or contrasts that differ in unit, null or number of anchors, or whose units
            overlap without any that all of them have.
    """
    if not contrasts:
        raise NotEvaluableError("there is no workload to average over")
    first = contrasts[0]
    alike = {(one.unit, one.null, len(one.anchors)) for one in contrasts}
    if len(alike) > 1:
        raise NotEvaluableError("the workloads measure different things, which cannot be averaged")
    rows, notes = _matched([one.differences.index for one in contrasts], first.unit)
    return Contrast(
        differences=_mean([one.differences for one in contrasts], rows),
        unit=first.unit,
        null=first.null,
        binary=first.binary and len(contrasts) == 1,
        a_values=_known_mean([one.a_values for one in contrasts], rows),
        b_values=_known_mean([one.b_values for one in contrasts], rows),
        anchors=tuple(
            _mean(anchor, rows) for anchor in zip(*(one.anchors for one in contrasts), strict=True)
        ),
        notes=(*dict.fromkeys(note for one in contrasts for note in one.notes), *notes),
    )


def _matched(units: Sequence[pd.Index], unit: str) -> tuple[list[pd.Index], tuple[str, ...]]:
    """Which units of each workload meet, in the same order, and what to say of it."""
    common = reduce(lambda left, right: left[left.isin(right)], units)
    if len(common):
        left_out = max(len(one) for one in units) - len(common)
        note = f"{left_out} {unit}s are not on every workload and are left out."
        return [common] * len(units), (note,) if left_out else ()
    every = pd.Index(np.concatenate([one.to_numpy() for one in units]))
    if every.has_duplicates:
        raise NotEvaluableError(f"no {unit} is on every workload, so they cannot be averaged")
    number = min(len(one) for one in units)
    return [one[:number] for one in units], (
        f"The workloads share no {unit}: they are independent, and their {unit}s are matched in order.",
    )


def _mean(series: Sequence[pd.Series], rows: Sequence[pd.Index]) -> pd.Series:
    """Mean over workloads, indexed by the first workload's units."""
    values = [one.loc[chosen].to_numpy(dtype=np.float64) for one, chosen in zip(series, rows, strict=True)]
    return pd.Series(np.mean(values, axis=0), index=rows[0])


def _known_mean(series: Sequence[pd.Series | None], rows: Sequence[pd.Index]) -> pd.Series | None:
    """The mean where every workload has values."""
    known = [one for one in series if one is not None]
    return _mean(known, rows) if len(known) == len(series) else None


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean: the mean of the middle half of all scores, in their unit.

    A quarter of the scores is cut on either side, rounded down. Source: Agarwal et al. 2021.

    Args:
        scores: finite numbers of any shape.
    """
    return float(stats.trim_mean(np.asarray(scores, dtype=np.float64), _CUT, axis=None))


def aggregate_scores(scores_RW: ArrayLike, *, level: float = LEVEL) -> Aggregate:
    """Mean and interquartile mean of normalised scores, with intervals over replicates.

    Replicates are the units: the percentile bootstrap over runs, which is usual here, covers .74 to .93 instead of .95.

    Args:
        scores_RW: one score per replicate and workload, such as the space score.
        level: confidence of the intervals.

    Raises:
        NotEvaluableError: a score is missing.
    """
    scores = np.atleast_2d(np.asarray(scores_RW, dtype=np.float64))
    num_replicates, num_workloads = scores.shape
    whole = iqm(scores)
    pseudo = [
        num_replicates * whole - (num_replicates - 1) * iqm(np.delete(scores, r, axis=0))
        for r in range(num_replicates if num_replicates > 1 else 0)
    ]
    spread = t_interval(pseudo, level) if pseudo else Interval(-np.inf, np.inf)
    shift = whole - float(np.mean(pseudo)) if pseudo else 0.0
    return Aggregate(
        mean=float(scores.mean()),
        mean_interval=t_interval(scores.mean(axis=1), level),
        iqm=whole,
        iqm_interval=Interval(spread.low + shift, spread.high + shift),
        num_replicates=num_replicates,
        num_workloads=num_workloads,
    )
