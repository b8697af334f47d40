"""Other readings of the same differences, beside the verdicts: they describe, and may only agree or not."""

from dataclasses import dataclass

from study.statistics.contrast import NotEvaluableError
from study.statistics.results import Analysis, PartResult
from study.statistics.trials import Trials

DRAWS = 5_000
"""Of the posterior: its probabilities are told to two digits."""
LOSSES = frozenset({"tuned_loss", "matched_loss"})
"""Metrics whose values are losses of independent trials, which can be ordered."""


@dataclass(frozen=True, kw_only=True)
class RopeRow:
    """A Bayesian signed-rank test of one endpoint with a region of practical equivalence."""

    claim: str
    title: str
    workload: str
    a: str
    b: str
    a_better: float
    equal: float
    b_better: float
    rope: float
    """Half-width of the region in the endpoint's unit: its bound of equivalence, else its smallest effect."""
    unit: str
    epsilon_min: float | None
    """Almost stochastic order of a's losses over b's; None where the endpoint has none."""


@dataclass(frozen=True, kw_only=True)
class MixedRow:
    """A mixed model of all trials of two families' designs."""

    a: str
    b: str
    workload: str
    estimate: float
    """Loss of b minus loss of a in nats: above 0 favours a."""
    low: float
    high: float
    level: float
    p: float
    num_trials: int
    converged: bool
    formula: str


def rope_rows(analysis: Analysis | None) -> tuple[RopeRow, ...]:
    """One row for each endpoint with differences and a registered region."""
    if analysis is None:
        return ()
    return tuple(
        row for claim in analysis.claims for part in claim.parts if (row := _rope(claim.id, part)) is not None
    )


def mixed_rows(trials: Trials, analysis: Analysis | None) -> tuple[MixedRow, ...]:
    """One row for each pair of families that a claim names, on each workload."""
    pairs = dict.fromkeys((claim.a, claim.b) for claim in (analysis.claims if analysis else ()) if claim.b)
    return tuple(
        row for workload in trials.workloads for a, b in pairs for row in _mixed(trials, a, b, workload)
    )


def _rope(claim: str, part: PartResult) -> RopeRow | None:
    limits = part.thresholds
    region = next((size for size in (limits.equivalence, limits.sesoi) if size), None) if limits else None
    if limits is None or region is None or len(part.differences) < 3:  # noqa: PLR2004 - as for a verdict
        return None
    from study.statistics.descriptive.bayes import almost_stochastic_order, rope_probabilities

    found = rope_probabilities([d - limits.null for d in part.differences], region, draws=DRAWS)
    order = None
    if part.metric in LOSSES and part.a_values and part.b_values:
        order = almost_stochastic_order(part.a_values, part.b_values).epsilon_min
    return RopeRow(
        claim=claim,
        title=part.title,
        workload=part.workload,
        a=part.a,
        b=part.b,
        a_better=found.a_better,
        equal=found.equal,
        b_better=found.b_better,
        rope=region,
        unit=part.unit,
        epsilon_min=order,
    )


def _mixed(trials: Trials, a: str, b: str, workload: str) -> list[MixedRow]:
    from study.statistics.descriptive.mixed_model import mixed_model

    try:
        found = mixed_model(trials, a, b, workload)
    except NotEvaluableError:
        return []
    return [
        MixedRow(
            a=a,
            b=b,
            workload=workload,
            estimate=found.estimate,
            low=found.interval.low,
            high=found.interval.high,
            level=found.level,
            p=found.p,
            num_trials=found.num_trials,
            converged=found.converged,
            formula=found.formula,
        )
    ]
