"""What a study claims, as the engine reads it; `study.claims` reads it from a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from study.records import Param


class Direction(StrEnum):
    """What a part of a claim says of family a against family b."""

    GREATER = "greater"
    LESS = "less"
    NONINFERIOR = "noninferior"
    EQUIVALENT = "equivalent"


class Role(StrEnum):
    """How a claim is corrected for the number of claims beside it."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    EXPLORATORY = "exploratory"


@dataclass(frozen=True, kw_only=True)
class Tau:
    """A target loss: absolute, or so far above a family's confirmed loss.

    tau = loss_ref + within * (loss at initialisation - loss_ref), loss_ref the mean capped confirmed loss of `ref`.
    """

    value: float | None = None
    """Nats; None: use `ref` and `within`."""
    ref: str = ""
    """Family."""
    within: float = 0.05
    """Fraction of the gap between the loss at initialisation and the reference."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Values of a hyperparameter, both ends included."""

    low: float = -float("inf")
    high: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One endpoint of a claim."""

    metric: str
    """Name in `METRICS`."""
    direction: Direction
    margin: float = 0.0
    """What the effect must exceed; for non-inferiority, the loss that is accepted. Never negative."""
    sesoi: float | None = None
    """Smallest effect of interest; absent only where the file is not registered."""
    equivalence: float | None = None
    """Bound of equivalence; absent: the smallest effect of interest."""
    relative: bool = False
    """Whether margin, sesoi and equivalence are fractions of family b's mean."""
    factor: str = ""
    tau: Tau | None = None
    k: int | None = None
    """Budget in trials, for tuning curves."""
    decades: float | None = None
    """Factor of ten by which the learning rate is off, for the cost of misspecification."""
    perturbation: str = ""
    """Name of a perturbation at inference."""
    of: str = "loss"
    """`loss` or `accuracy`, for perturbations."""
    phase: str = ""
    """Where to look, for metrics that can be read in several phases; empty: the metric's own."""
    where: Mapping[str, Range] = field(default_factory=dict)
    """Which trials of a design count, by family a's hyperparameters."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Who is compared with whom."""

    a: str
    """The claimed family."""
    b: str = ""
    """What it is compared with; empty for a claim on `a` alone."""
    at: Callable[[Mapping[str, Param]], Mapping[str, Param]] | None = None
    """From a's hyperparameters to those at which b is trained; None: each family in its own space."""
    at_text: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim; it holds when every part holds."""

    id: str
    title: str
    role: Role
    comparison: Comparison
    parts: tuple[Part, ...]
    workloads: str = "each"
    """`each`, `any` or `aggregate`."""
    power: float = 0.8
    """Planned power, for the number of extra replicates or seeds."""
    underpowered: bool = False
    amended: str = ""
    """When and why it was amended after data were seen; such a claim is exploratory."""
    registered_role: Role | None = None
    """What an amended claim was registered as: it still counts among those, so that no amendment eases the others."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """The registered sizes that the tests depend on."""

    seeds_max: int | None = None
    """Seeds at the last look; None: whatever there is, one look."""
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which the confirmation may be read; empty: once."""
    spending: str = "obf"
    """`obf` (O'Brien-Fleming) or `pocock`."""
    replicates: int | None = None


@dataclass(frozen=True, kw_only=True)
class ClaimSet:
    """All claims of a file, and what it registers."""

    claims: tuple[Claim, ...]
    alpha: float = 0.05
    workloads: tuple[str, ...] = ()
    """Empty: those of the trial table."""
    design: Design = Design()
    study: str = ""
    registered: Mapping[str, str] = field(default_factory=dict)
    """`sha256`, `at`, `commit`; empty where the file was never locked."""
    amendments: tuple[Mapping[str, str], ...] = ()
