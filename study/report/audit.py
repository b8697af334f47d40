"""Whether an early loss foretells the last one, on trials that were never stopped.

The space design runs every trial to the end, so it shows what the search's rule would have stopped there: the share
of its best trials that were not among the best at the search's first rung. The search itself cannot show that, since
what it stopped has no last loss.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from study.records import Outcome, Phase
from study.report.estimates import Estimate, rate_estimate
from study.report.snapshot import TrialRow
from study.report.training import LOSS, Measured

LEAST = 6
"""Fewer trials have no best third worth naming."""


@dataclass(frozen=True, kw_only=True)
class AuditPoint:
    """One trial of the space design."""

    early: float
    """Select loss in nats at the first rung, capped at the trial's first one."""
    last: float
    """Capped report loss in nats at full budget."""
    diverged: bool
    would_stop: bool
    """Whether it was outside the best share at the first rung."""
    best: bool
    """Whether it is inside the best share at full budget."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One family's trials at the search's first rung and at full budget."""

    family: str
    step: int
    """Optimizer steps of the first rung."""
    reduction: int
    """One trial in so many goes on."""
    points: tuple[AuditPoint, ...]
    correlation: float | None
    """Spearman's, of early and last losses; None where one of them does not vary."""
    false_stop: Estimate | None
    """Share of the best trials that the rung would have stopped, with Wilson's interval."""
    workload: str = ""


def audit(family: str, rows: Sequence[TrialRow], measured: Measured, spec: Mapping[str, Any]) -> Audit | None:
    """What the search's first rung would have done to one family's space design.

    Args:
        family: the family.
        rows: its trials on one workload, without those beside the design.
        measured: losses by trial and step.
        spec: the study file, for the search's rungs.

    Returns:
        None without a search, or with too few trials that have both losses.
    """
    search = (spec.get("phases") or {}).get("search") or {}
    step, reduction = search.get("grace_steps"), search.get("reduction")
    if not step or not reduction:
        return None
    losses = [
        (early, r.capped, r.outcome is Outcome.DIVERGED)
        for r in rows
        if r.phase is Phase.SENSITIVITY
        and r.capped is not None
        and (early := _early(r, measured, step)) is not None
    ]
    if len(losses) < LEAST:
        return None
    points = _points(losses, kept=max(1, len(losses) // reduction))
    best = [p for p in points if p.best]
    return Audit(
        family=family,
        step=int(step),
        reduction=int(reduction),
        points=points,
        correlation=_correlation(points),
        false_stop=rate_estimate(hits=sum(p.would_stop for p in best), num_trials=len(best)),
    )


def _points(losses: Sequence[tuple[float, float, bool]], *, kept: int) -> tuple[AuditPoint, ...]:
    """(early loss, last loss, diverged) of each trial, held against the `kept` best of both losses."""
    early_cut = sorted(early for early, _, _ in losses)[kept - 1]
    last_cut = sorted(last for _, last, _ in losses)[kept - 1]
    return tuple(
        AuditPoint(
            early=early, last=last, diverged=diverged, would_stop=early > early_cut, best=last <= last_cut
        )
        for early, last, diverged in losses
    )


def _early(row: TrialRow, measured: Measured, step: int) -> float | None:
    """Select loss at the first measurement from `step` on; a trial that diverged before it counts with its first."""
    losses = {at: m[LOSS] for at, m in sorted(measured.get(row.trial, {}).items()) if LOSS in m}
    if not losses:
        return None
    cap = next(iter(losses.values()))
    reached = [loss for at, loss in losses.items() if at >= step]
    if reached:
        return min(reached[0], cap)
    return cap if row.outcome is Outcome.DIVERGED else None


def _correlation(points: Sequence[AuditPoint]) -> float | None:
    early, last = [p.early for p in points], [p.last for p in points]
    if len(set(early)) < 2 or len(set(last)) < 2:  # noqa: PLR2004 - a rank needs two values
        return None
    found = float(stats.spearmanr(early, last).statistic)
    return found if math.isfinite(found) else None
