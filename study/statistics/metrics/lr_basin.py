"""M5: how wide and how deep the basin in the learning rate is.

Both are sums over a grid with a random offset per replicate, which makes them unbiased for the basin's width and area
wherever it lies: a family that only wants another learning rate is not narrower. This needs the whole basin within
the window.
"""

import numpy as np
import pandas as pd

from study.records import Phase
from study.statistics.contrast import Contrast, NotEvaluableError
from study.statistics.metrics.lr_slices import LrSlices, read_slices
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import (
    REPLICATE,
    Values,
    check_reached,
    contrast,
    lr_slice_rows,
    target_loss,
)
from study.statistics.trials import Trials

END_FRAC = 0.2
"""Share of the largest mean gain that the ends of a full basin stay below."""


def lr_width(rows: pd.DataFrame, tau: float) -> pd.Series:
    """W = h * #{k: min(l, l0)(lr_k) <= tau} on an even grid of step h in log10 lr.

    Source: Wortsman et al. 2023 (learning-rate sweeps with capped loss), turned free of the minimum; random-start
    systematic sampling makes it unbiased for the length of {log lr: loss <= tau}.

    Args:
        rows: trials of one family's learning-rate slices.
        tau: target in nats.

    Returns:
        Decades per replicate.

    Raises:
        NotEvaluableError: a grid is not even.
    """
    slices = read_slices(rows)
    return slices.per_replicate(slices.step * (slices.capped <= tau).sum(axis=1))


def basin_area(rows: pd.DataFrame) -> pd.Series:
    """B = h * sum_k (l0 - min(l, l0)(lr_k)) on an even grid of step h in log10 lr.

    Source: as `lr_width`; unbiased for the integral of the gain over log lr.

    Args:
        rows: trials of one family's learning-rate slices.

    Returns:
        Nats times decades per replicate.

    Raises:
        NotEvaluableError: a grid is not even, or the loss at initialisation is unknown.
    """
    slices = read_slices(rows)
    return slices.per_replicate(slices.step * slices.gain.sum(axis=1))


def _width_contrast(trials: Trials, question: Question) -> Contrast:
    tau = target_loss(question)
    rows = lr_slice_rows(trials, question)
    check_reached(rows, tau)
    for side in (rows.a, rows.b):
        _check_ends_above(read_slices(side), tau)
    values = Values(a=lr_width(rows.a, tau), b=lr_width(rows.b, tau))
    return contrast(values, better="greater", unit=REPLICATE, notes=rows.notes)


def _area_contrast(trials: Trials, question: Question) -> Contrast:
    rows = lr_slice_rows(trials, question)
    sides = [read_slices(side) for side in (rows.a, rows.b)]
    if not max(side.gain.max() for side in sides) > 0:
        raise NotEvaluableError("no trial of either family improves on the loss at initialisation")
    for side in sides:
        _check_ends_flat(side)
    values = Values(a=basin_area(rows.a), b=basin_area(rows.b))
    return contrast(values, better="greater", unit=REPLICATE, notes=rows.notes)


def _check_ends_above(slices: LrSlices, tau: float) -> None:
    """At both ends of the window the mean loss is above the target, or usable learning rates lie outside."""
    mean_K = slices.capped.mean(axis=0)
    for end, loss in (("lower", mean_K[0]), ("upper", mean_K[-1])):
        if not loss > tau:
            raise NotEvaluableError(
                f"window not full-basin: at its {end} end family {slices.family}'s mean loss is {loss:.4g} nats, not "
                f"above tau = {tau:.4g}"
            )


def _check_ends_flat(slices: LrSlices) -> None:
    """At both ends of the window next to nothing is gained, or gain lies outside."""
    mean_K = slices.gain.mean(axis=0)
    largest = float(np.max(mean_K))
    for end, value in (("lower", mean_K[0]), ("upper", mean_K[-1])):
        if value > 0 and not value < END_FRAC * largest:
            raise NotEvaluableError(
                f"window not full-basin: at its {end} end family {slices.family} gains {value:.4g} nats, not under "
                f"{END_FRAC:.0%} of its largest mean gain, {largest:.4g}"
            )


LR_WIDTH = Metric(
    name="lr_width",
    title="usable learning-rate width",
    unit="decades",
    better="greater",
    phase=Phase.LR_SLICE,
    formula="grid step in decades times the number of learning rates with min(l, l0) <= tau",
    source="Wortsman et al. 2023, with random-start systematic sampling",
    needs=("tau",),
    contrast=_width_contrast,
)
BASIN_AREA = Metric(
    name="basin_area",
    title="area of the learning-rate basin",
    unit="nats·decades",
    better="greater",
    phase=Phase.LR_SLICE,
    formula="grid step in decades times the sum over learning rates of l0 - min(l, l0)",
    source="Wortsman et al. 2023, with random-start systematic sampling",
    contrast=_area_contrast,
)
