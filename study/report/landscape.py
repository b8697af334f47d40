"""Loss over the space: learning-rate curves, factor slices, tuning curves and where trials diverged.

All of it rests on trials that ran at full budget. A trial that the search stopped early has no loss there
and is left out; a diverged one counts with the loss at initialisation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.records import Outcome, Param, Phase
from study.report.estimates import (
    CurvePoint,
    Estimate,
    mean_estimate,
    mean_of_curves,
    rate_estimate,
    simultaneous_level,
)
from study.report.snapshot import TrialRow


@dataclass(frozen=True, kw_only=True)
class LrPoint:
    """One trial in the plane of learning rate and loss."""

    lr: float
    loss: float
    """Capped report loss in nats."""
    phase: Phase
    diverged: bool


@dataclass(frozen=True, kw_only=True)
class LrCurve:
    """One family's loss over its learning rate."""

    family: str
    points: tuple[LrPoint, ...]
    """All trials at full budget, of the search, the space design and the slice."""
    mean: tuple[CurvePoint, ...]
    """Mean of the slice's seeds over log10 of the learning rate; empty without a slice."""
    num_seeds: int
    """Seeds of the slice."""
    init_loss: float | None
    """Mean report loss at initialisation, the cap, in nats."""
    workload: str = ""
    """Task and base model."""


@dataclass(frozen=True, kw_only=True)
class FactorLevel:
    """One level of a factor slice."""

    level: Param
    loss: Estimate
    """Mean over seeds of the capped report loss in nats, with Student's t-interval."""


@dataclass(frozen=True, kw_only=True)
class FactorSlice:
    """One family's loss over one factor, everything else as tuned."""

    factor: str
    family: str
    levels: tuple[FactorLevel, ...]
    workload: str = ""
    """Task and base model."""


@dataclass(frozen=True, kw_only=True)
class TuningCurve:
    """What a family reaches when only k trials may be spent."""

    family: str
    points: tuple[CurvePoint, ...]
    """k → expected capped report loss of the trial chosen among the first k by its select loss."""
    num_replicates: int
    trial_seconds: float | None = None
    """Mean device seconds of a search trial, stopped ones included; absent without a search."""
    workload: str = ""
    """Task and base model."""


@dataclass(frozen=True, kw_only=True)
class MapPoint:
    """One trial of the space design in the plane of learning rate and experts."""

    lr: float
    num_experts: float
    diverged: bool


@dataclass(frozen=True, kw_only=True)
class DivergenceMap:
    """Where one family diverged."""

    family: str
    phase: Phase
    """`sensitivity`, or `search` where no space design ran."""
    points: tuple[MapPoint, ...]
    rate: Estimate | None
    """Share of diverged trials with Wilson's interval."""
    workload: str = ""
    """Task and base model."""


def lr_curve(family: str, rows: Sequence[TrialRow]) -> LrCurve:
    """The learning-rate curve of one family's trials."""
    drawn = (Phase.SEARCH, Phase.SENSITIVITY, Phase.LR_SLICE)
    points = tuple(
        LrPoint(lr=lr, loss=loss, phase=r.phase, diverged=r.outcome is Outcome.DIVERGED)
        for r in rows
        if r.phase in drawn and (lr := _lr(r)) is not None and (loss := r.capped) is not None
    )
    seeds: dict[int, list[tuple[float, float]]] = {}
    for r in rows:
        if r.phase is Phase.LR_SLICE and (lr := _lr(r)) is not None and (loss := r.capped) is not None:
            seeds.setdefault(r.replicate, []).append((math.log10(lr), loss))
    init = mean_estimate([r.init_value for r in rows if r.init_value is not None])
    return LrCurve(
        family=family,
        points=points,
        mean=mean_of_curves([seeds[replicate] for replicate in sorted(seeds)]),
        num_seeds=len(seeds),
        init_loss=init.mean if init else None,
    )


def factor_slices(family: str, rows: Sequence[TrialRow]) -> tuple[FactorSlice, ...]:
    """One slice per factor that was varied, its levels in order."""
    values: dict[str, dict[Param, dict[int, list[float]]]] = {}
    for r in rows:
        if r.phase is Phase.FACTOR_SLICE and r.slice in r.params and (loss := r.capped) is not None:
            level = values.setdefault(r.slice, {}).setdefault(r.params[r.slice], {})
            level.setdefault(r.replicate, []).append(loss)
    return tuple(
        FactorSlice(factor=factor, family=family, levels=_levels(levels)) for factor, levels in values.items()
    )


def _levels(levels: dict[Param, dict[int, list[float]]]) -> tuple[FactorLevel, ...]:
    found: list[FactorLevel] = []
    for level in sorted(levels, key=lambda v: (isinstance(v, str), v)):
        seeds = [sum(losses) / len(losses) for _, losses in sorted(levels[level].items())]
        estimate = mean_estimate(seeds, bounds=(0.0, math.inf))
        if estimate is not None:
            found.append(FactorLevel(level=level, loss=estimate))
    return tuple(found)


def tuning_curve(family: str, rows: Sequence[TrialRow]) -> TuningCurve:
    """Expected loss after k trials, k doubling, over the replicates of the space design.

    The first k points of a scrambled Sobol' net are a search of k trials. A replicate enters when all of its
    points have an outcome of the method; the intervals hold together over k (Bonferroni).
    """
    replicates: dict[int, list[TrialRow]] = {}
    for r in rows:
        if r.phase is Phase.SENSITIVITY:
            replicates.setdefault(r.replicate, []).append(r)
    size = max((len(points) for points in replicates.values()), default=0)
    scored = [_scores(replicates[replicate]) for replicate in sorted(replicates)]
    complete = [scores for scores in scored if len(scores) == size]
    budgets = [2**j for j in range(size.bit_length()) if 2**j <= size] if complete else []
    level = simultaneous_level(len(budgets))
    curve: list[CurvePoint] = []
    for k in budgets:
        chosen = [min(scores[:k])[1] for scores in complete]
        y = mean_estimate(chosen, level=level, bounds=(0.0, math.inf))
        if y is not None:
            curve.append(CurvePoint(x=float(k), y=y))
    return TuningCurve(
        family=family,
        points=tuple(curve),
        num_replicates=len(complete),
        trial_seconds=_trial_seconds(rows),
    )


def _trial_seconds(rows: Sequence[TrialRow]) -> float | None:
    spent = [
        r.device_seconds for r in rows if r.phase is Phase.SEARCH and r.analysed and r.device_seconds > 0
    ]
    return math.fsum(spent) / len(spent) if spent else None


def _scores(points: Sequence[TrialRow]) -> list[tuple[float, float]]:
    """(select loss, capped report loss) in the design's order; a diverged trial is chosen last."""
    return [
        (math.inf if r.outcome is Outcome.DIVERGED or r.select_value is None else r.select_value, loss)
        for r in sorted(points, key=lambda r: r.point)
        if (loss := r.capped) is not None
    ]


def divergence_map(family: str, rows: Sequence[TrialRow]) -> DivergenceMap:
    """Where one family's trials diverged: over its space design, else over its search."""
    designed = any(r.phase is Phase.SENSITIVITY and r.analysed for r in rows)
    phase = Phase.SENSITIVITY if designed else Phase.SEARCH
    mine = [r for r in rows if r.phase is phase and r.analysed]
    points = tuple(
        MapPoint(lr=lr, num_experts=float(experts), diverged=r.outcome is Outcome.DIVERGED)
        for r in mine
        if (lr := _lr(r)) is not None and isinstance(experts := r.params.get("num_experts"), int | float)
    )
    hits = sum(r.outcome is Outcome.DIVERGED for r in mine)
    return DivergenceMap(
        family=family, phase=phase, points=points, rate=rate_estimate(hits=hits, num_trials=len(mine))
    )


def _lr(row: TrialRow) -> float | None:
    lr = row.params.get("lr")
    return float(lr) if isinstance(lr, int | float) and lr > 0 else None
