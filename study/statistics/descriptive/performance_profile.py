"""M4's curve: the usable share of the space at every target loss, with a band that holds the whole curve.

The area under the curve up to the loss at initialisation, over the reachable gain, is M3's space score: a family whose
curve lies above another's everywhere is usable at every target, not only at the registered one.

Shapes: R replicates, T targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.records import Phase
from study.statistics.contrast import paired_rows
from study.statistics.intervals import max_t_bands
from study.statistics.metrics.usable_mass import usable_mass
from study.statistics.trials import Trials

LEVEL = 0.95
NUM_TARGETS = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """F(tau) = P(min(l, l0) <= tau) of one family, or the difference of two, at T targets."""

    family: str
    """For a difference, family a."""
    versus: str
    """Family b of a difference a - b; empty for one family."""
    workload: str
    tau: NDArray[np.float64]
    """Targets in nats, ascending."""
    fraction: NDArray[np.float64]
    """Mean over replicates."""
    low: NDArray[np.float64]
    """Simultaneous band: all targets at once at `level`."""
    high: NDArray[np.float64]
    level: float
    num_replicates: int


def performance_profile(
    trials: Trials,
    family: str,
    workload: str,
    *,
    taus: Sequence[float] | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Profile:
    """The profile of one family over its design, its band kept within 0 and 1.

    Source: Dolan & Moré 2002; Agarwal et al. 2021, with the band over replicates instead of runs.

    Args:
        trials: the table.
        family: whose design.
        workload: which one.
        taus: targets in nats; None: evenly from the lowest to the highest capped loss of the family.
        level: joint confidence.
        seed: of the band's resampling.

    Raises:
        NotEvaluableError: no design, or one that breaks a rule of integrity.
    """
    rows = paired_rows(trials, family, "", phase=Phase.SENSITIVITY, workload=workload).a
    tau_T = _targets(taus, [rows])
    matrix_RT = profile_matrix(rows, tau_T)
    profile = _banded(matrix_RT, tau_T, level, seed)
    return replace(profile, family=family, workload=workload, low=np.maximum(profile.low, 0.0))


def profile_difference(
    trials: Trials,
    a: str,
    b: str,
    workload: str,
    *,
    taus: Sequence[float] | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Profile:
    """F_a(tau) - F_b(tau), paired by replicate; above 0 favours family a.

    Args:
        trials: the table.
        a: family a.
        b: family b.
        workload: which one.
        taus: targets in nats; None: evenly from the lowest to the highest capped loss of both families.
        level: joint confidence.
        seed: of the band's resampling.

    Raises:
        NotEvaluableError: designs that are missing, unpaired or break a rule of integrity.
    """
    rows = paired_rows(trials, a, b, phase=Phase.SENSITIVITY, workload=workload)
    tau_T = _targets(taus, [rows.a, rows.b])
    matrix_RT = profile_matrix(rows.a, tau_T) - profile_matrix(rows.b, tau_T)
    return replace(_banded(matrix_RT, tau_T, level, seed), family=a, versus=b, workload=workload)


def profile_matrix(rows: pd.DataFrame, tau_T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Usable share of the design per replicate and target, shape (R, T)."""
    return np.column_stack([usable_mass(rows, float(tau)).to_numpy(dtype="float64") for tau in tau_T])


def _banded(matrix_RT: NDArray[np.float64], tau_T: NDArray[np.float64], level: float, seed: int) -> Profile:
    """A profile without its names; no fraction, and no difference of two, is beyond -1 or 1."""
    low, high = max_t_bands(matrix_RT, level, seed)
    return Profile(
        family="",
        versus="",
        workload="",
        tau=tau_T,
        fraction=matrix_RT.mean(axis=0),
        low=np.maximum(low, -1.0),
        high=np.minimum(high, 1.0),
        level=level,
        num_replicates=len(matrix_RT),
    )


def _targets(taus: Sequence[float] | None, sides: list[pd.DataFrame]) -> NDArray[np.float64]:
    if taus is not None:
        return np.sort(np.asarray(taus, dtype="float64"))
    losses = np.concatenate([side["capped"].to_numpy(dtype="float64") for side in sides])
    return np.linspace(losses.min(), losses.max(), NUM_TARGETS)
