"""Claims on simulated studies: one for every testable metric."""

from collections.abc import Sequence
from dataclasses import replace

from study.statistics.claims import Claim, ClaimSet, Comparison, Role, Tau
from study.statistics.metrics import METRICS
from tests.validation.scenarios import ASKED, MATCHED, Asked

SESOI = 0.05


def claim(asked: Asked, *, a: str = "a", b: str = "b", tau: Tau | None = None, nats: float = 1.0) -> Claim:
    """Family a is better than family b by one metric; `nats` is the size of a nat in the table's unit of loss."""
    question = asked.question()
    given = tau or (Tau(value=asked.tau) if asked.tau is not None else None)
    unit = nats if METRICS[asked.metric].unit.startswith("nats") else 1.0
    part = replace(question.part, sesoi=SESOI * unit, tau=given if asked.tau is not None else None)
    comparison = Comparison(a=a, b=b, at=question.comparison.at, at_text="lr" if asked.at else "")
    return Claim(
        id=MATCHED if asked.at else asked.metric,
        title=f"{a} is better than {b} by {asked.metric}",
        role=Role.EXPLORATORY,
        comparison=comparison,
        parts=(part,),
    )


def claim_set(
    metrics: Sequence[str] = tuple(ASKED),
    *,
    a: str = "a",
    b: str = "b",
    tau: Tau | None = None,
    nats: float = 1.0,
) -> ClaimSet:
    """One claim a metric, each at 5 %, uncorrected."""
    return ClaimSet(claims=tuple(claim(ASKED[name], a=a, b=b, tau=tau, nats=nats) for name in metrics))
