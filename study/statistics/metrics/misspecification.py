"""M7: what a learning rate that is off by a factor costs.

The tuned learning rate is itself an estimate, and two equal families tuned to different sides of an asymmetric basin
look different. So every combination of both anchors moved by one grid step either way must agree.
"""

import itertools

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.records import Phase
from study.statistics.contrast import Contrast, NotEvaluableError, difference
from study.statistics.metrics.lr_slices import LrSlices, read_slices
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import REPLICATE, lr_slice_rows, two_families
from study.statistics.trials import Trials

SHIFTS = (0, -1, 1)
"""Grid steps by which each family's anchor is moved; the first is the registered one."""
_SAME = 1e-9


def misspecification_cost(
    rows: pd.DataFrame, *, tuned_lr: float, decades: float, shift: int = 0
) -> pd.Series:
    """C(m) = [l(x + m) + l(x - m)] / 2 - mean of l(x - h), l(x), l(x + h), at x = log10 of the tuned learning rate.

    l is the capped loss, linear in log lr between the points of the replicate's own grid of step h. A second
    difference: on a quadratic basin c x^2 it is c (m^2 - 2 h^2 / 3) for every x, if m is a whole number of steps.

    Args:
        rows: trials of one family's learning-rate slices.
        tuned_lr: the family's tuned learning rate.
        decades: m, the factor of ten by which the learning rate is off.
        shift: grid steps by which x is moved.

    Returns:
        Nats per replicate.

    Raises:
        NotEvaluableError: a grid is not even, or it does not reach x - m, x + m or the neighbours of x.
    """
    slices = read_slices(rows)
    anchor_R = np.log10(tuned_lr) + shift * slices.step
    off_R = (_at(slices, anchor_R - decades) + _at(slices, anchor_R + decades)) / 2
    near_R = np.mean([_at(slices, anchor_R + j * slices.step) for j in (-1, 0, 1)], axis=0)
    return slices.per_replicate(off_R - near_R)


def tuned_learning_rate(trials: Trials, family: str, workload: str) -> float:
    """The learning rate of a family's confirmation trials.

    Raises:
        NotEvaluableError: there are none, or they do not share one positive learning rate.
    """
    rows = trials.rows(family=family, phase=Phase.CONFIRMATION, workload=workload)
    if rows.empty or "param.lr" not in rows.columns:
        raise NotEvaluableError(
            f"family {family} has no confirmation trials, which tell its tuned learning rate"
        )
    lr = pd.to_numeric(rows["param.lr"], errors="coerce").to_numpy(dtype="float64")
    if not (lr > 0).all() or np.ptp(np.log(lr)) > _SAME:
        raise NotEvaluableError(f"family {family}'s confirmation trials do not share one learning rate")
    return float(lr[0])


def _at(slices: LrSlices, log_lr_R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Capped loss at one learning rate per replicate, between grid points."""
    low_R, high_R = slices.log_lr[:, 0], slices.log_lr[:, -1]
    if (log_lr_R < low_R - _SAME).any() or (log_lr_R > high_R + _SAME).any():
        raise NotEvaluableError(
            f"the slice of family {slices.family} does not reach the misspecified learning rates, which a wider window "
            "would"
        )
    rows = zip(log_lr_R, slices.log_lr, slices.capped, strict=True)
    return np.array([np.interp(x, grid_K, loss_K) for x, grid_K, loss_K in rows])


def _contrast(trials: Trials, question: Question) -> Contrast:
    decades = question.part.decades
    if decades is None:
        raise NotEvaluableError("misspecification_cost needs `decades`, by which the learning rate is off")
    rows = lr_slice_rows(trials, question)
    costs = []
    for family, side in zip(two_families(question), (rows.a, rows.b), strict=True):
        lr = tuned_learning_rate(trials, family, question.workload)
        costs.append({s: misspecification_cost(side, tuned_lr=lr, decades=decades, shift=s) for s in SHIFTS})
    a, b = costs
    main, *others = (
        difference(a[i], b[j].loc[a[i].index], better="less") for i, j in itertools.product(SHIFTS, SHIFTS)
    )
    return Contrast(
        differences=main,
        unit=REPLICATE,
        a_values=a[0],
        b_values=b[0],
        anchors=tuple(others),
        notes=rows.notes,
    )


MISSPECIFICATION_COST = Metric(
    name="misspecification_cost",
    title="cost of a wrong learning rate",
    unit="nats",
    better="less",
    phase=Phase.LR_SLICE,
    formula="[l(lr*10^m) + l(lr/10^m)]/2 - mean of l at the tuned lr and its two grid neighbours",
    source="Second difference of the capped learning-rate curve; largest p over anchors moved by a grid step",
    needs=("decades",),
    contrast=_contrast,
)
