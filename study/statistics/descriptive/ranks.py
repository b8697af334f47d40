"""M15: ranks of families over workloads, for a table and a critical-difference diagram; never over seeds.

The Nemenyi difference belongs to the figure. Mean ranks of two families depend on which others are in the pool
(Benavoli et al. 2016), so what is said of a pair comes from a sign-flip test on the pair alone, corrected by Holm.

Source: Demsar 2006; Friedman 1937; Nemenyi 1963; Iman and Davenport 1980.
Shapes: W workloads (blocks), F families.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import isfinite, nan, sqrt

import numpy as np
import pandas as pd
from scipy import stats

from study.records import Phase
from study.statistics.contrast import NotEvaluableError, paired_rows
from study.statistics.multiplicity import holm_levels
from study.statistics.paired import sign_flip_p
from study.statistics.trials import Trials

ALPHA = 0.05
FEWEST_WORKLOADS = 5
"""Below this a diagram of ranks says nothing, since no pair can differ."""


@dataclass(frozen=True, kw_only=True)
class RankedPair:
    """Two families over all workloads."""

    a: str
    b: str
    difference: float
    """Mean loss of b minus mean loss of a: above 0 favours a."""
    p: float
    """Two-sided sign-flip p over workloads."""
    p_adjusted: float
    """By Holm's method over all pairs."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """What a critical-difference diagram shows, and what may be said of it."""

    mean_ranks: Mapping[str, float]
    """1 is best; the best family first."""
    num_workloads: int
    chi_square: float
    """Friedman's statistic, corrected for ties; NaN where all families tie everywhere."""
    p: float
    f: float
    """Iman and Davenport's, which is less conservative; infinite where the order is the same on every workload."""
    p_f: float
    critical_difference: float
    """Nemenyi's, in ranks, at `alpha`."""
    alpha: float
    groups: tuple[tuple[str, ...], ...]
    """Families in order whose mean ranks lie within the critical difference, largest groups only."""
    pairs: tuple[RankedPair, ...]


def workload_losses(trials: Trials, families: tuple[str, ...] = ()) -> pd.DataFrame:
    """Mean capped loss in nats of each family's tuned configuration, workloads x families.

    Args:
        trials: the table.
        families: which; empty: all.

    Raises:
        NotEvaluableError: a family was not confirmed on a workload, or breaks a rule of integrity there.
    """
    chosen = families or trials.families
    return pd.DataFrame(
        {
            family: {
                workload: float(
                    paired_rows(trials, family, "", phase=Phase.CONFIRMATION, workload=workload)
                    .a["capped"]
                    .mean()
                )
                for workload in trials.workloads
            }
            for family in chosen
        }
    )


def rank_families(losses_WF: pd.DataFrame, *, alpha: float = ALPHA) -> Ranks:
    """Ranks over workloads, their tests and the critical difference.

    Args:
        losses_WF: one loss per workload (row) and family (column), lower is better.
        alpha: level of the critical difference.

    Raises:
        NotEvaluableError: fewer than three families or two workloads, or a loss is missing.
    """
    num_workloads, num_families = losses_WF.shape
    if num_families < 3 or num_workloads < 2:  # noqa: PLR2004
        raise NotEvaluableError(
            f"ranks need three families on two workloads at least, and there are {num_families} on {num_workloads}"
        )
    if losses_WF.isna().to_numpy().any():
        raise NotEvaluableError("ranks need a loss of every family on every workload")
    mean_ranks = losses_WF.rank(axis=1).mean(axis=0).sort_values(kind="stable")
    with np.errstate(invalid="ignore"):
        friedman = stats.friedmanchisquare(*(losses_WF[name] for name in losses_WF.columns))
    chi_square = float(friedman.statistic)
    f, p_f = iman_davenport(chi_square, num_workloads, num_families)
    difference = critical_difference(num_families, num_workloads, alpha=alpha)
    return Ranks(
        mean_ranks={str(name): float(rank) for name, rank in mean_ranks.items()},
        num_workloads=num_workloads,
        chi_square=chi_square,
        p=float(friedman.pvalue),
        f=f,
        p_f=p_f,
        critical_difference=difference,
        alpha=alpha,
        groups=_groups(mean_ranks, difference),
        pairs=_pairs(losses_WF, alpha),
    )


def critical_difference(num_families: int, num_workloads: int, *, alpha: float = ALPHA) -> float:
    """Nemenyi's difference of mean ranks, q sqrt(k (k + 1) / (6 n)), q the studentised range over sqrt(2)."""
    q = float(stats.studentized_range.isf(alpha, num_families, np.inf)) / sqrt(2)
    return q * sqrt(num_families * (num_families + 1) / (6 * num_workloads))


def iman_davenport(chi_square: float, num_workloads: int, num_families: int) -> tuple[float, float]:
    """F = (n - 1) chi2 / (n (k - 1) - chi2) with its p, from Friedman's chi-square."""
    if not isfinite(chi_square):
        return nan, nan
    left = num_workloads * (num_families - 1) - chi_square
    if left <= 1e-9 * num_workloads:  # the same order everywhere
        return float("inf"), 0.0
    f = (num_workloads - 1) * chi_square / left
    df = num_families - 1
    return f, float(stats.f.sf(f, df, df * (num_workloads - 1)))


def _groups(mean_ranks: pd.Series, difference: float) -> tuple[tuple[str, ...], ...]:
    """Maximal runs of families that the critical difference does not tell apart, two families at least."""
    names, ranks = [str(name) for name in mean_ranks.index], mean_ranks.to_numpy(dtype=np.float64)
    ends = [int(np.searchsorted(ranks, rank + difference, side="right")) for rank in ranks]
    runs = [(i, end) for i, end in enumerate(ends) if end - i > 1 and (i == 0 or end > ends[i - 1])]
    return tuple(tuple(names[i:end]) for i, end in runs)


def _pairs(losses_WF: pd.DataFrame, alpha: float) -> tuple[RankedPair, ...]:
    names = list(combinations(losses_WF.columns, 2))
    differences = [losses_WF[b] - losses_WF[a] for a, b in names]
    ps = [sign_flip_p(difference) for difference in differences]
    return tuple(
        RankedPair(a=a, b=b, difference=float(difference.mean()), p=p, p_adjusted=step.adjusted_p)
        for (a, b), difference, p, step in zip(names, differences, ps, holm_levels(ps, alpha), strict=True)
    )
