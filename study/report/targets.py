"""Target losses that claims name, and when trials reach them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from study.records import Outcome, Phase
from study.statistics.claims import Claim, Part, Tau
from study.statistics.contrast import NotEvaluableError
from study.statistics.results import Analysis
from study.statistics.trials import Trials

OF_A_LOSS = frozenset({"lr_width", "usable_mass"})
"""Metrics whose target can be drawn beside a curve of the report loss."""
OF_TIME = frozenset({"steps_to_target"})
FEWEST_WORKLOADS = 3
"""Below it a profile over workloads says nothing."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A loss that claims ask to reach, on one workload."""

    workload: str
    tau: float
    """Nats."""
    claims: tuple[str, ...]
    """Ids of the claims that name it."""


@dataclass(frozen=True, kw_only=True)
class ArrivalCurve:
    """When one family's confirmation trials reach a target."""

    family: str
    workload: str
    tau: float
    """Nats of select loss."""
    steps: tuple[float, ...]
    """Where the share rises."""
    share: tuple[float, ...]
    """Of all trials, those that have arrived; the last one's rest never do."""
    budget: float
    """Optimizer steps at full budget."""
    num_seeds: int


@dataclass(frozen=True, kw_only=True)
class TimeScore:
    """AlgoPerf's score of one family over all workloads."""

    family: str
    ratios: tuple[float | None, ...]
    """Steps over those of the fastest family, ascending, one per workload; None where the target is missed."""
    score: float
    low: float
    high: float
    level: float
    num_seeds: int


def lr_targets(trials: Trials, analysis: Analysis | None) -> tuple[Target, ...]:
    """Every target loss that a claim on learning rates or on the space names."""
    return tuple(
        Target(workload=workload, tau=tau, claims=ids)
        for (workload, tau), ids in _named(trials, analysis, OF_A_LOSS).items()
    )


def arrivals(trials: Trials, analysis: Analysis | None, families: Sequence[str]) -> tuple[ArrivalCurve, ...]:
    """When the tuned families reach the first target that a claim on time names, workload by workload."""
    found = []
    for workload, tau in _time_targets(trials, analysis).items():
        for family in families:
            found += _arrival(trials, family, workload, tau)
    return tuple(found)


def time_scores(trials: Trials, analysis: Analysis | None, families: Sequence[str]) -> tuple[TimeScore, ...]:
    """Profiles over workloads of the time to target."""
    targets = _time_targets(trials, analysis)
    if len(targets) < FEWEST_WORKLOADS:
        return ()
    from study.statistics.descriptive.time_profile import arrival_times, time_profiles

    try:
        profiles = time_profiles(arrival_times(trials, targets, tuple(families)))
    except NotEvaluableError:
        return ()
    return tuple(
        TimeScore(
            family=one.family,
            ratios=tuple(ratio if np.isfinite(ratio) else None for ratio in one.ratios),
            score=one.score,
            low=one.interval.low,
            high=one.interval.high,
            level=one.level,
            num_seeds=one.num_seeds,
        )
        for one in profiles
    )


def _time_targets(trials: Trials, analysis: Analysis | None) -> dict[str, float]:
    """Workload → the first target that a claim on time names."""
    found: dict[str, float] = {}
    for workload, tau in _named(trials, analysis, OF_TIME):
        found.setdefault(workload, tau)
    return found


def _named(
    trials: Trials, analysis: Analysis | None, metrics: frozenset[str]
) -> dict[tuple[str, float], tuple[str, ...]]:
    """(workload, target loss) → ids of the claims that name it."""
    found: dict[tuple[str, float], list[str]] = {}
    for claim, part in _parts(analysis.claim_set.claims if analysis else (), metrics):
        for workload in trials.workloads:
            tau = _resolved(trials, part.tau or Tau(ref=claim.comparison.b or claim.comparison.a), workload)
            if tau is not None:
                found.setdefault((workload, tau), []).append(claim.id)
    return {key: tuple(dict.fromkeys(ids)) for key, ids in found.items()}


def _parts(claims: Iterable[Claim], metrics: frozenset[str]) -> list[tuple[Claim, Part]]:
    return [(claim, part) for claim in claims for part in claim.parts if part.metric in metrics]


def _resolved(trials: Trials, tau: Tau, workload: str) -> float | None:
    from study.statistics.analysis import target_loss

    try:
        return target_loss(trials, tau, workload)
    except NotEvaluableError:
        return None


def _arrival(trials: Trials, family: str, workload: str, tau: float) -> list[ArrivalCurve]:
    from study.statistics.descriptive.time_profile import arrival_curve, arrival_times

    try:
        times = arrival_times(trials, {workload: tau}, (family,))[family, workload]
    except NotEvaluableError:
        return []
    rows = trials.rows(family=family, phase=Phase.CONFIRMATION, workload=workload)
    budget = rows.loc[rows["outcome"] == Outcome.FINISHED, "steps"].max()
    curve = arrival_curve(times)
    return [
        ArrivalCurve(
            family=family,
            workload=workload,
            tau=tau,
            steps=tuple(float(step) for step in curve.index),
            share=tuple(float(share) for share in curve),
            budget=float(budget) if np.isfinite(budget) else float(rows["steps"].max()),
            num_seeds=len(times),
        )
    ]
