"""M12: budget to target over workloads, as AlgoPerf scores it: descriptive only.

t_{f,w} is a family's median over seeds of the steps to the workload's target, infinite where the target is not
reached. The profile rho_f(r) is the share of workloads on which the family needs at most r times the steps of the
fastest one, and its score is B_f = 1/(r_max - 1) * integral from 1 to r_max of rho_f.

Source: Dolan and More 2002; Dahl et al. 2023 (AlgoPerf), r_max = 4.
Differs from AlgoPerf: a seed of the tuned configuration stands for a study of five trials, and time is steps.
Shapes: F families, W workloads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from study.records import Phase
from study.statistics.contrast import NotEvaluableError, paired_rows
from study.statistics.intervals import Interval
from study.statistics.metrics.steps_to_target import check_curves, check_has_curves, first_arrival
from study.statistics.trials import Trials

R_MAX = 4.0
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class TimeProfile:
    """One family's profile over workloads."""

    family: str
    medians: Mapping[str, float]
    """Workload -> median steps to target; infinite where the target is not reached."""
    ratios: tuple[float, ...]
    """Where the profile steps up: steps over those of the fastest family, ascending, one per workload."""
    score: float
    """B_f, in [0, 1]."""
    interval: Interval
    """Of B_f, by drawing seeds again, percentiles."""
    level: float
    num_seeds: int
    """Fewest seeds on a workload."""

    def fraction(self, ratio: float) -> float:
        """rho_f(ratio)."""
        return float(np.mean(np.asarray(self.ratios) <= ratio))


def time_ratios(times_FW: ArrayLike) -> NDArray[np.float64]:
    """Times over the fastest family's, shape (F, W); infinite where a family, or every family, misses the target.

    Args:
        times_FW: steps (or seconds) to target, infinite where it is not reached, never negative.
    """
    times = np.asarray(times_FW, dtype=np.float64)
    best = times.min(axis=0, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(times == best, 1.0, times / best)
    return np.where(np.isfinite(times), ratios, np.inf)


def profile_scores(ratios_FW: ArrayLike, *, r_max: float = R_MAX) -> NDArray[np.float64]:
    """B_f = mean over workloads of max(0, r_max - ratio) / (r_max - 1), shape (F,).

    This is the integral of rho_f in closed form, since rho_f is a step function.

    Args:
        ratios_FW: what `time_ratios` gives.
        r_max: largest ratio that counts, above 1.
    """
    ratios = np.asarray(ratios_FW, dtype=np.float64)
    gains: NDArray[np.float64] = np.clip(r_max - ratios, 0.0, None).mean(axis=-1) / (r_max - 1)
    return gains


def arrival_times(
    trials: Trials, targets: Mapping[str, float], families: Sequence[str] = ()
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Steps to target per family, workload and seed; infinite where it is not reached.

    Args:
        trials: the table, with curves.
        targets: workload -> target loss in nats.
        families: which; empty: all.

    Raises:
        NotEvaluableError: there are no curves, or confirmation trials break a rule of integrity.
    """
    check_has_curves(trials)
    times: dict[tuple[str, str], NDArray[np.float64]] = {}
    for family in families or trials.families:
        for workload, tau in targets.items():
            rows = paired_rows(trials, family, "", phase=Phase.CONFIRMATION, workload=workload).a
            check_curves(trials, rows, family)
            times[family, workload] = first_arrival(rows, trials.curves, tau=tau).to_numpy(dtype=np.float64)
    return times


def time_profiles(
    times: Mapping[tuple[str, str], ArrayLike],
    *,
    r_max: float = R_MAX,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = 2_000,
) -> tuple[TimeProfile, ...]:
    """Profiles of all families, best score first.

    Args:
        times: (family, workload) -> steps to target, one per seed, infinite where it is not reached.
        r_max: largest ratio that counts.
        level: confidence of the scores' intervals.
        seed: of the resampling of seeds.
        resamples: how often.

    Raises:
        NotEvaluableError: a family has no times on a workload that another one has.
    """
    families, workloads = (list(dict.fromkeys(names)) for names in zip(*times, strict=True))
    missing = [(f, w) for f in families for w in workloads if (f, w) not in times]
    if missing:
        raise NotEvaluableError(f"family {missing[0][0]} has no times on {missing[0][1]}")
    samples_FW = [[np.asarray(times[f, w], dtype=np.float64) for w in workloads] for f in families]
    medians_FW = np.array([[_median(sample) for sample in row] for row in samples_FW])
    ratios_FW = time_ratios(medians_FW)
    scores = profile_scores(ratios_FW, r_max=r_max)
    drawn = _drawn_scores(samples_FW, r_max, seed, resamples)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    found = [
        TimeProfile(
            family=family,
            medians=dict(zip(workloads, medians_FW[i].tolist(), strict=True)),
            ratios=tuple(sorted(ratios_FW[i].tolist())),
            score=float(scores[i]),
            interval=Interval(float(low[i]), float(high[i])),
            level=level,
            num_seeds=min(sample.size for sample in samples_FW[i]),
        )
        for i, family in enumerate(families)
    ]
    return tuple(sorted(found, key=lambda profile: -profile.score))


def arrival_curve(times: ArrayLike) -> pd.Series:
    """Share of seeds that have reached the target, indexed by step: an ECDF with a plateau below 1 for misses.

    Args:
        times: steps to target, one per seed, infinite where it is not reached.
    """
    steps = np.asarray(times, dtype=np.float64)
    reached = np.sort(steps[np.isfinite(steps)])
    share = np.arange(1, reached.size + 1) / steps.size
    return pd.Series(share, index=pd.Index(reached, name="step")).groupby(level=0).max()


def _drawn_scores(
    samples_FW: list[list[NDArray[np.float64]]], r_max: float, seed: int, resamples: int
) -> NDArray[np.float64]:
    """Scores of seeds drawn again, shape (resamples, F)."""
    rng = np.random.default_rng(seed)
    medians = (
        [[_median(rng.choice(sample, sample.size)) for sample in row] for row in samples_FW]
        for _ in range(resamples)
    )
    return np.array([profile_scores(time_ratios(one), r_max=r_max) for one in medians])


def _median(steps: NDArray[np.float64]) -> float:
    """The lower of the two middle values' mean, infinite where either middle value is."""
    ordered = np.sort(steps)
    low, high = ordered[(ordered.size - 1) // 2], ordered[ordered.size // 2]
    return float(low if low == high else (low + high) / 2)
