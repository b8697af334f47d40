"""M13: how much a family's score depends on tuning it anew for each workload: descriptive only.

With Gamma(e, h) the expected normalised score of setting h on workload e,

    Phi = mean_e max_h Gamma(e, h) - max_h mean_e Gamma(e, h),

and the effective dimension is the least number of hyperparameters that must be tuned per workload, the others left
at the setting that is best on average, to reach .95 of what tuning all of them reaches.

A maximum over noisy means is too high, and more so with more noise, so settings are chosen on half of the replicates
and scored on the other half. Even so Phi is a difference of two maxima and is never tested.

Source: Adkins et al. 2024.
Differs from the paper: cross-fitting; a setting that diverged counts with its capped loss, where the paper's code
leaves it out of the search for the setting that is best on average; scores are not clipped.
Shapes: E workloads, H settings, R replicates, P hyperparameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from study.statistics.contrast import NotEvaluableError, paired_rows
from study.statistics.intervals import Interval
from study.statistics.trials import Trials

NEAR = 0.95
"""Share of the fully tuned score that counts as near it."""
LEVEL = 0.95
NUM_SPLITS = 20
_PERCENTILES = (5, 95)
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """One family's losses at settings that every workload has, several times."""

    settings: pd.DataFrame
    """Hyperparameters, one row per setting (H x P)."""
    workloads: tuple[str, ...]
    losses: Array
    """Capped losses in nats (E x H x R)."""


@dataclass(frozen=True, kw_only=True)
class PlanePoint:
    """One family in the plane of performance and sensitivity."""

    family: str
    tuned_score: float
    """Mean over workloads of the score of the setting tuned there."""
    sensitivity: float
    """Phi, cross-fitted."""
    sensitivity_plug_in: float
    """Phi as in the paper, too high where there is noise."""
    dimension: int
    """Effective dimension."""
    num_hyperparameters: int
    tuned_interval: Interval
    """Percentiles over replicates drawn again."""
    sensitivity_interval: Interval
    level: float


def shared_grid(trials: Trials, family: str, phase: str, *, slice_name: str = "") -> Grid:
    """The settings of a family that every workload has with at least two replicates.

    Args:
        trials: the table.
        family: whose.
        phase: where to look.
        slice_name: which slice of it.

    Raises:
        NotEvaluableError: one workload, fewer than two such settings, or a broken rule of integrity.
    """
    if len(trials.workloads) < 2:  # noqa: PLR2004
        raise NotEvaluableError("sensitivity across workloads needs two workloads at least")
    rows = pd.concat(
        paired_rows(trials, family, "", phase=phase, workload=workload, slice_name=slice_name).a
        for workload in trials.workloads
    )
    names = [
        str(name) for name in rows.columns if str(name).startswith("param.") and rows[name].notna().any()
    ]
    rows["setting"] = rows.groupby(names, sort=True, dropna=False).ngroup()
    num_repeats = pd.crosstab(rows["setting"], rows["workload"]).min(axis=1)
    kept = num_repeats[num_repeats > 1].index
    if len(kept) < 2:  # noqa: PLR2004
        raise NotEvaluableError(
            f"{len(kept)} settings of family {family} were repeated on every workload, and at least 2 are needed"
        )
    number = int(num_repeats[kept].min())
    runs = rows.groupby(["workload", "setting"])["capped"]
    losses = [[runs.get_group((w, h)).to_numpy()[:number] for h in kept] for w in trials.workloads]
    settings = rows.groupby("setting")[names].first().loc[kept].reset_index(drop=True)
    return Grid(
        settings=settings.rename(columns=lambda name: name.removeprefix("param.")),
        workloads=trials.workloads,
        losses=np.array(losses, dtype=np.float64),
    )


def normalised_scores(losses: Mapping[str, Array]) -> dict[str, Array]:
    """Scores in which, on every workload, 0 and 1 are the 95th and 5th percentile of all families' losses.

    Args:
        losses: family -> losses (E x H x R), workloads in the same order for all families.

    Raises:
        NotEvaluableError: all losses of a workload are alike.
    """
    num_workloads = len(next(iter(losses.values())))
    pooled = [np.concatenate([one[e].ravel() for one in losses.values()]) for e in range(num_workloads)]
    best, worst = (np.array([np.percentile(p, q) for p in pooled])[:, None, None] for q in _PERCENTILES)
    if not (worst > best).all():
        raise NotEvaluableError("all losses of a workload are alike, so they cannot be turned into scores")
    return {family: (worst - one) / (worst - best) for family, one in losses.items()}


def sensitivity(scores_EH: Array) -> float:
    """Phi of expected scores, without noise: what tuning per workload gains over one setting for all."""
    return float(scores_EH.max(axis=1).mean() - scores_EH.mean(axis=0).max())


def cross_fit(chosen_EH: Array, scored_EH: Array) -> tuple[float, float]:
    """Score tuned per workload, and Phi: settings chosen by one set of scores and scored by another.

    Args:
        chosen_EH: mean scores of one half of the replicates.
        scored_EH: mean scores of the other half.
    """
    tuned = float(np.take_along_axis(scored_EH, chosen_EH.argmax(axis=1)[:, None], axis=1).mean())
    return tuned, tuned - float(scored_EH[:, chosen_EH.mean(axis=0).argmax()].mean())


def effective_dimension(
    chosen_EH: Array, scored_EH: Array, settings: pd.DataFrame, *, near: float = NEAR
) -> int:
    """Least number of hyperparameters to tune per workload for `near` of the score of tuning all of them.

    Args:
        chosen_EH: mean scores by which settings are chosen.
        scored_EH: mean scores by which they are scored; the same for no cross-fitting.
        settings: one row per setting.
        near: share that counts as near, in (0, 1].

    Returns:
        0 where one setting for all workloads is near enough, at most the number of hyperparameters.
    """
    default = settings.iloc[int(chosen_EH.mean(axis=0).argmax())]
    at_default = (settings == default).to_numpy() | settings.isna().to_numpy()
    target = near * cross_fit(chosen_EH, scored_EH)[0]
    names = range(settings.shape[1])
    for number in names:
        for tuned in combinations(names, number):
            fixed = [name for name in names if name not in tuned]
            open_H = at_default[:, fixed].all(axis=1)
            if cross_fit(chosen_EH[:, open_H], scored_EH[:, open_H])[0] >= target:
                return number
    return settings.shape[1]


def plane(
    grids: Mapping[str, Grid], *, level: float = LEVEL, seed: int = 0, resamples: int = 500
) -> tuple[PlanePoint, ...]:
    """All families in the plane of performance and sensitivity.

    Args:
        grids: family -> its grid, over the same workloads.
        level: confidence of the intervals.
        seed: of the splits and resamples.
        resamples: draws of replicates for the intervals.

    Raises:
        NotEvaluableError: workloads differ, or all losses of one are alike.
    """
    if len({grid.workloads for grid in grids.values()}) > 1:
        raise NotEvaluableError("families are compared over the same workloads, and these differ")
    scores = normalised_scores({family: grid.losses for family, grid in grids.items()})
    found = []
    for family, grid in grids.items():
        drawn = _drawn(scores[family], seed, resamples)
        ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        tuned_interval, sensitivity_interval = (Interval(float(low), float(high)) for low, high in ends.T)
        found.append(
            PlanePoint(
                family=family,
                **_estimates(scores[family], grid.settings, seed),
                tuned_interval=tuned_interval,
                sensitivity_interval=sensitivity_interval,
                level=level,
            )
        )
    return tuple(found)


def _estimates(scores_EHR: Array, settings: pd.DataFrame, seed: int) -> dict[str, Any]:
    """The fields of a point that are not intervals, averaged over random halves of the replicates."""
    rng = np.random.default_rng(seed)
    halves = [_split(rng.permutation(scores_EHR.shape[2])) for _ in range(NUM_SPLITS)]
    tuned, phi = np.mean([_scored(scores_EHR, a, b) for a, b in halves], axis=0)
    dimensions = [
        effective_dimension(scores_EHR[..., a].mean(axis=2), scores_EHR[..., b].mean(axis=2), settings)
        for a, b in halves
    ]
    return {
        "tuned_score": float(tuned),
        "sensitivity": float(phi),
        "sensitivity_plug_in": sensitivity(scores_EHR.mean(axis=2)),
        "dimension": int(np.median(dimensions)),
        "num_hyperparameters": settings.shape[1],
    }


def _drawn(scores_EHR: Array, seed: int, resamples: int) -> Array:
    """Tuned score and Phi of replicates drawn again within random halves, shape (resamples, 2).

    Drawing within a half keeps a replicate from choosing settings and scoring them.
    """
    rng = np.random.default_rng(seed)
    halves = [_split(rng.permutation(scores_EHR.shape[2])) for _ in range(resamples)]
    return np.array([_scored(scores_EHR, *(rng.choice(half, len(half)) for half in both)) for both in halves])


def _split(replicates: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    half = len(replicates) // 2
    return replicates[:half], replicates[half:]


def _scored(scores_EHR: Array, a: NDArray[np.int64], b: NDArray[np.int64]) -> Array:
    """Tuned score and Phi, the mean of both ways round."""
    halves = [scores_EHR[..., half].mean(axis=2) for half in (a, b)]
    both: Array = np.mean([cross_fit(halves[0], halves[1]), cross_fit(halves[1], halves[0])], axis=0)
    return both
