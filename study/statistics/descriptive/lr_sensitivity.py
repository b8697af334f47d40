"""M6: Wortsman's learning-rate sensitivity, which describes and is never tested.

It takes a minimum over noisy means, which is too low, so a noisier family looks more sensitive than it is. The
cross-fit form chooses the best learning rate on the other seeds and does not have this bias upward. Both are zero for
a family that fails at every learning rate.

Shapes: R replicates (seeds), K learning rates, B resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from study.records import Phase
from study.statistics.contrast import NotEvaluableError, paired_rows
from study.statistics.metrics.lr_slices import read_slices
from study.statistics.metrics.paired import REPLICATE
from study.statistics.trials import Trials

NUM_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class LrSensitivity:
    """One family's sensitivity, both ways, beside the noise that bends it."""

    family: str
    workload: str
    plug_in: float
    """Nats."""
    plug_in_se: float | None
    """Bootstrap over replicates, nats; None for a single one."""
    cross_fit: float | None
    """Nats; None for a single replicate."""
    cross_fit_se: float | None
    noise: float | None
    """Standard error of a mean loss at one learning rate, root mean square over learning rates, nats."""
    span: float
    """Largest minus smallest mean loss over the learning rates, nats."""
    num_replicates: int

    @property
    def note(self) -> str:
        """One sentence on how far the plug-in may be trusted."""
        if self.noise is None:
            return "One replicate tells nothing of the noise, which makes the sensitivity too high."
        return (
            f"Noise of {self.noise:.2g} nats in a curve that spans {self.span:.2g} nats makes the plug-in too high; "
            "it is not tested."
        )


def lr_sensitivity(
    trials: Trials, family: str, workload: str, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> LrSensitivity:
    """Sensitivity of one family from its learning-rate slices.

    Replicates are averaged at the same place of their grids, which lie within a step of each other.

    Args:
        trials: the table.
        family: whose slices.
        workload: which one.
        num_resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        NotEvaluableError: no slices, or slices that break a rule of integrity.
    """
    rows = paired_rows(
        trials, family, "", phase=Phase.LR_SLICE, workload=workload, slice_name="lr", pair_on=(REPLICATE,)
    ).a
    capped_RK = read_slices(rows).capped
    num_replicates = len(capped_RK)
    mean_K = capped_RK.mean(axis=0)
    several = num_replicates > 1
    parts_R = cross_fit_parts(capped_RK) if several else np.empty(0)
    return LrSensitivity(
        family=family,
        workload=workload,
        plug_in=plug_in_sensitivity(capped_RK),
        plug_in_se=_bootstrap_se(capped_RK, num_resamples, seed) if several else None,
        cross_fit=float(parts_R.mean()) if several else None,
        cross_fit_se=float(parts_R.std(ddof=1) / np.sqrt(num_replicates)) if several else None,
        noise=float(np.sqrt(capped_RK.var(axis=0, ddof=1).mean() / num_replicates)) if several else None,
        span=float(np.ptp(mean_K)),
        num_replicates=num_replicates,
    )


def plug_in_sensitivity(capped_RK: NDArray[np.float64]) -> float:
    """S = mean over learning rates of the seed-mean capped loss, minus its minimum; nats.

    Source: Wortsman et al. 2023, Small-scale proxies for large-scale Transformer training instabilities, section 2.
    """
    mean_K = capped_RK.mean(axis=0)
    return float(mean_K.mean() - mean_K.min())


def cross_fit_parts(capped_RK: NDArray[np.float64]) -> NDArray[np.float64]:
    """Per seed: its mean loss minus its loss at the learning rate that is best on the other seeds; nats, shape R.

    Their mean estimates the sensitivity relative to a learning rate chosen without the seed it is scored on.

    Raises:
        NotEvaluableError: fewer than two seeds.
    """
    num_replicates = len(capped_RK)
    if num_replicates < 2:  # noqa: PLR2004
        raise NotEvaluableError("one seed leaves no other on which to choose the learning rate")
    others_RK = capped_RK.sum(axis=0) - capped_RK
    best_R = others_RK.argmin(axis=1)
    parts_R: NDArray[np.float64] = capped_RK.mean(axis=1) - capped_RK[np.arange(num_replicates), best_R]
    return parts_R


def _bootstrap_se(capped_RK: NDArray[np.float64], num_resamples: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(capped_RK), size=(num_resamples, len(capped_RK)))
    mean_BK = capped_RK[chosen].mean(axis=1)
    return float((mean_BK.mean(axis=1) - mean_BK.min(axis=1)).std(ddof=1))
