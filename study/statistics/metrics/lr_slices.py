"""Learning-rate slices as arrays, one even grid in log lr per replicate.

Shapes: R replicates, K learning rates.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.paired import REPLICATE, UNKNOWN_INIT

EVEN = 0.01
"""Relative difference of two steps above which a grid is not even; tables round their learning rates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LrSlices:
    """One family's slices, learning rates ascending."""

    family: str
    replicates: pd.Index
    log_lr: NDArray[np.float64]
    """log10 of the learning rate (R, K)."""
    step: NDArray[np.float64]
    """Decades from one learning rate to the next (R)."""
    capped: NDArray[np.float64]
    """Capped loss in nats (R, K)."""
    init: NDArray[np.float64]
    """Loss at initialisation in nats (R, K); NaN where the workload has none."""

    @property
    def gain(self) -> NDArray[np.float64]:
        """Loss at initialisation minus capped loss in nats (R, K), never below 0.

        Raises:
            NotEvaluableError: the loss at initialisation is unknown.
        """
        if np.isnan(self.init).any():
            raise NotEvaluableError(UNKNOWN_INIT)
        return self.init - self.capped

    def per_replicate(self, values: NDArray[np.float64]) -> pd.Series:
        """Values of shape R, indexed by replicate."""
        return pd.Series(values, index=self.replicates, dtype="float64")


def read_slices(rows: pd.DataFrame) -> LrSlices:
    """The grids of one family.

    Args:
        rows: trials of its learning-rate slices.

    Raises:
        NotEvaluableError: a trial has no positive learning rate, replicates differ in their number of learning rates,
            or a grid has fewer than two of them or uneven steps.
    """
    family = str(rows["family"].iloc[0])
    log_lr = np.log10(_learning_rates(rows, family))
    ordered = rows.assign(_log_lr=log_lr).sort_values([REPLICATE, "_log_lr"], kind="stable")
    sizes = ordered.groupby(REPLICATE).size()
    if sizes.min() != sizes.max():
        raise NotEvaluableError(
            f"replicate {sizes.idxmin()} of family {family} has {sizes.min()} learning rates where replicate "
            f"{sizes.idxmax()} has {sizes.max()}"
        )
    shape = (len(sizes), int(sizes.iloc[0]))
    log_lr_RK = ordered["_log_lr"].to_numpy(dtype="float64").reshape(shape)
    return LrSlices(
        family=family,
        replicates=sizes.index,
        log_lr=log_lr_RK,
        step=_steps(log_lr_RK, sizes.index, family),
        capped=ordered["capped"].to_numpy(dtype="float64").reshape(shape),
        init=ordered["init_value"].to_numpy(dtype="float64").reshape(shape),
    )


def _learning_rates(rows: pd.DataFrame, family: str) -> NDArray[np.float64]:
    if "param.lr" not in rows.columns:
        raise NotEvaluableError("the trial table has no column 'param.lr', which names the learning rates")
    lr = pd.to_numeric(rows["param.lr"], errors="coerce").to_numpy(dtype="float64")
    if not (np.isfinite(lr) & (lr > 0)).all():
        raise NotEvaluableError(f"a trial in family {family}'s slice has no positive learning rate")
    return lr


def _steps(log_lr_RK: NDArray[np.float64], replicates: pd.Index, family: str) -> NDArray[np.float64]:
    if log_lr_RK.shape[1] < 2:  # noqa: PLR2004
        raise NotEvaluableError(f"family {family}'s slice has one learning rate, and one point has no width")
    steps = np.diff(log_lr_RK, axis=1)
    step_R: NDArray[np.float64] = steps.mean(axis=1)
    uneven = ~(np.abs(steps - step_R[:, None]).max(axis=1) <= EVEN * step_R) | ~(step_R > 0)
    if uneven.any():
        raise NotEvaluableError(
            f"the learning rates of family {family} in replicate {replicates[int(uneven.argmax())]} are not evenly "
            "spaced in log lr"
        )
    return step_R
