"""What a metric is: a named quantity, how it is measured, and where its definition comes from."""

from collections.abc import Callable
from dataclasses import dataclass

from study.statistics.claims import Comparison, Part
from study.statistics.contrast import Contrast
from study.statistics.trials import Trials


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a metric is asked: who, where and with which settings."""

    comparison: Comparison
    part: Part
    workload: str
    claim: str = ""
    """Id of the claim, which names the slice that was laid out for it."""
    tau: float | None = None
    """Target loss in nats, resolved from the part's `tau`; None where it has none."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One testable quantity."""

    name: str
    title: str
    """For a table's head, such as `usable learning-rate width`."""
    unit: str
    """`nats`, `decades`, `fraction`, `steps`, `nats·decades`, …"""
    better: str
    """`less` or `greater`: which values are good."""
    phase: str
    """The phase it reads."""
    formula: str
    """In plain text."""
    source: str
    """Paper or book."""
    needs: tuple[str, ...] = ()
    """Settings that a claim must give: `tau`, `factor`, `k`, `decades`, `perturbation`."""
    may_be_skewed: bool = False
    """Whether differences are continuous and may be skewed, so that the bootstrap-t is to be used where they are."""
    contrast: Callable[[Trials, Question], Contrast]
    """Paired differences of the two families; raises NotEvaluableError."""
