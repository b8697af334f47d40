"""What an analysis finds: verdicts with all that a reader needs to doubt them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from study.statistics.claims import ClaimSet, Direction, Role


class Verdict(StrEnum):
    """What the data say of a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    NOT_EVALUABLE = "not evaluable"


class Grade(StrEnum):
    """How strongly, or which way."""

    NONE = ""
    MEANINGFUL = "meaningful"
    DETECTABLE = "detectable"
    REVERSED = "reversed"
    SMALLER_THAN_SESOI = "supported but smaller than the smallest effect of interest"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What an estimate is held against, in the metric's own unit, relative to the value of no difference."""

    null: float
    margin: float
    """What a superiority must exceed; minus what a non-inferiority may lose."""
    sesoi: float | None
    equivalence: float | None


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """One endpoint on one workload. Estimates are oriented: above the null favours family a."""

    metric: str
    title: str
    """With factor, budget or target, for a table's cell."""
    unit: str
    direction: Direction
    factor: str
    workload: str
    a: str
    b: str
    verdict: Verdict
    grade: Grade = Grade.NONE
    reason: str = ""
    """One sentence: why the verdict is what it is; for `not evaluable` the broken rule."""
    extra: int | None = None
    """Further units for the planned power at the registered effect; of an inconclusive part only."""
    estimate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    level: float | None = None
    """Confidence of the interval, after correction for the other claims and for looks."""
    ci_kind: str = ""
    """`t over replicates`, `repeated t at look 2`, `t-mixture confidence sequence`, `Wilson`, …"""
    p_t: float | None = None
    """Two-sided, against the margin."""
    p_signflip: float | None = None
    p_adjusted: float | None = None
    """The claim's p after correction for the other claims."""
    effect_size: float | None = None
    """Mean over standard deviation of the paired differences (d_z)."""
    win_probability: float | None = None
    win_low: float | None = None
    win_high: float | None = None
    e_value: float | None = None
    """t-mixture e-value against the margin; valid whenever it is looked at."""
    n: int = 0
    n_planned: int | None = None
    n_unit: str = ""
    """`replicate` or `seed`."""
    look: int | None = None
    """From 1; None where there is only one, or where this number of units was never planned."""
    fragile: bool = False
    """Whether t and sign-flip disagree at the claim's level."""
    half_sesoi_n: int | None = None
    """Units at which, with the observed spread, the interval's half-width is half the smallest effect."""
    thresholds: Thresholds | None = None
    units: tuple[str, ...] = ()
    differences: tuple[float, ...] = ()
    """One per unit."""
    a_values: tuple[float, ...] = ()
    """Family a's own values per unit; empty where the metric has none."""
    b_values: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """One claim with its verdict."""

    id: str
    title: str
    role: Role
    a: str
    b: str
    at: str
    """The transformed hyperparameter, as written; empty without one."""
    workloads: str
    verdict: Verdict
    grade: Grade
    extra: int | None
    reason: str
    p: float | None
    """Largest p of the parts (intersection-union)."""
    p_adjusted: float | None
    alpha: float
    """The level at which this claim's intervals stand."""
    parts: tuple[PartResult, ...]
    amended: str = ""


@dataclass(frozen=True, kw_only=True)
class Stability:
    """One claim's verdict when one choice of the analysis is changed."""

    claim: str
    choice: str
    """What was changed, such as `tau +50 %`."""
    verdict: Verdict
    changed: bool
    detail: str = ""
    """How often, where a choice is many: `2 of 30 change the verdict`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """Everything that the engine says of one table and one claims file."""

    claim_set: ClaimSet
    claims: tuple[ClaimResult, ...]
    trial_counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    """Phase, family, outcome → number."""
    num_duplicates: int
    notes: tuple[str, ...] = ()
    stability: tuple[Stability, ...] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)
