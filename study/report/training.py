"""Mean training curves of the tuned configurations, with diverged trials kept at the cap."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.records import Outcome
from study.report.estimates import CurvePoint, mean_estimate
from study.report.snapshot import TrialRow
from study.report.tuned import best_search_trial, confirmation_trials

LOSS = "select_loss_nats"
ENTROPY = "gate_entropy_nats"


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """One family's tuned trials over optimizer steps."""

    family: str
    source: str
    """`confirmation`, or `search` for the one best trial of a study without confirmation."""
    num_trials: int
    loss: tuple[CurvePoint, ...]
    """Select loss in nats over steps; a diverged trial stays at its first loss from then on."""
    entropy: tuple[CurvePoint, ...]
    """Gate entropy in nats over steps, of the trials that finished."""
    workload: str = ""
    """Task and base model."""


Measured = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Trial → step → metric → value."""


def read_curves(frame: pd.DataFrame) -> Measured:
    """The table of curves, by trial and step; absent figures are left out."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for record in frame.to_dict("records"):
        metrics = {str(k): float(v) for k, v in record.items() if k not in ("trial", "step") and _finite(v)}
        found.setdefault(str(record["trial"]), {})[int(record["step"])] = metrics
    return found


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def training_curve(family: str, rows: Sequence[TrialRow], measured: Measured) -> TrainingCurve:
    """Curves of one family's confirmation trials, else of its best search trial."""
    confirmed = [r for r in confirmation_trials(rows) if _measured_to_the_end(r, measured)]
    best = best_search_trial(rows)
    trials = confirmed or ([best] if best is not None and best.trial in measured else [])
    steps = sorted({step for r in trials for step in measured[r.trial]})
    return TrainingCurve(
        family=family,
        source="confirmation" if confirmed else "search",
        num_trials=len(trials),
        loss=_mean([_losses(r, measured[r.trial], steps) for r in trials], low=0.0),
        entropy=_mean(
            [
                {s: m[ENTROPY] for s, m in measured[r.trial].items() if ENTROPY in m}
                for r in trials
                if r.outcome is Outcome.FINISHED
            ],
            low=0.0,
        ),
    )


def _measured_to_the_end(row: TrialRow, measured: Measured) -> bool:
    return row.outcome in (Outcome.FINISHED, Outcome.DIVERGED) and row.trial in measured


def _losses(row: TrialRow, by_step: Mapping[int, Mapping[str, float]], steps: list[int]) -> dict[int, float]:
    """Select loss by step, capped at the first one where the trial diverged."""
    losses = {s: m[LOSS] for s, m in sorted(by_step.items()) if LOSS in m}
    if row.outcome is not Outcome.DIVERGED or not losses:
        return losses
    cap = next(iter(losses.values()))
    last = max(losses)
    kept = {s: min(loss, cap) for s, loss in losses.items()}
    return kept | {s: cap for s in steps if s >= last}


def _mean(curves: Sequence[Mapping[int, float]], *, low: float) -> tuple[CurvePoint, ...]:
    """Pointwise mean at the steps that every curve has."""
    if not curves:
        return ()
    shared = sorted(set.intersection(*(set(c) for c in curves)))
    found: list[CurvePoint] = []
    for step in shared:
        y = mean_estimate([c[step] for c in curves], bounds=(low, math.inf))
        if y is not None:
            found.append(CurvePoint(x=float(step), y=y))
    return tuple(found)
