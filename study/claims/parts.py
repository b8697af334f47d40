"""One claim as it is written: who is compared, and the endpoints that must all hold."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from study.claims.sections import ALIASES, Amount, ClaimsSection, Count, Positive, Share
from study.spec_errors import shown

_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,31}")
_NUMBER = {"type": "number"}
_ABOVE_0 = {"type": "number", "exclusiveMinimum": 0}


def _number(written: Any) -> bool:
    return isinstance(written, int | float) and not isinstance(written, bool) and math.isfinite(written)


def _read_ranges(written: Any) -> Any:
    """Ranges by hyperparameter; a union of their two forms would blame both at once."""
    if not isinstance(written, Mapping):
        raise ValueError(  # noqa: TRY004 -- pydantic turns no other error into a mistake of the file
            f"is {shown(written)}, but must map hyperparameters to ranges: write {{rank: [4, 16]}}"
        )
    return {str(role): _read_range(str(role), limits) for role, limits in written.items()}


def _read_range(role: str, written: Any) -> tuple[float, float]:
    ends: list[Any] = []
    if isinstance(written, Mapping) and written and written.keys() <= {"min", "max"}:
        ends = [written.get("min", -math.inf), written.get("max", math.inf)]
    elif isinstance(written, list | tuple) and len(written) == 2:  # noqa: PLR2004
        ends = list(written)
    if not ends or not all(_number(end) or (isinstance(end, float) and math.isinf(end)) for end in ends):
        raise ValueError(
            f"gives {role} as {shown(written)}, but a range is [low, high] or {{min: low, max: high}}: "
            "write numbers"
        )
    low, high = float(ends[0]), float(ends[1])
    if low > high:
        raise ValueError(
            f"gives {role} as [{low:g}, {high:g}], which is upside down: write the smaller number first"
        )
    return low, high


_RANGE_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
        {
            "type": "object",
            "properties": {"min": _NUMBER, "max": _NUMBER},
            "minProperties": 1,
            "additionalProperties": False,
        },
    ]
}
Ranges = Annotated[
    dict[str, tuple[float, float]],
    BeforeValidator(_read_ranges),
    WithJsonSchema({"type": "object", "additionalProperties": _RANGE_SCHEMA}),
]


def _read_by_metric(written: Any) -> Any:
    """One number for every part, or one per metric."""
    if isinstance(written, Mapping):
        wrong = next((key for key, value in written.items() if not (_number(value) and value > 0)), None)
        if wrong is None:
            return dict(written)
        raise ValueError(
            f"gives {wrong} as {shown(written[wrong])}, but must be a number above 0: correct it"
        )
    if _number(written) and written > 0:
        return written
    raise ValueError(
        f"is {shown(written)}, but must be a number above 0, or one for each metric, such as {{lr_width: 0.25}}: "
        "correct it"
    )


ByMetric = Annotated[
    float | dict[str, float],
    BeforeValidator(_read_by_metric),
    WithJsonSchema({"anyOf": [_ABOVE_0, {"type": "object", "additionalProperties": _ABOVE_0}]}),
]


class TauSection(ClaimsSection):
    """A target loss: in nats, or so far above a family's confirmed loss."""

    value: Positive | None = None
    """Nats."""
    ref: str | None = None
    """A family, or `<family>.confirmed`: its mean loss in the confirmation."""
    within: Share = 0.05
    """Part of the way from there to the loss at initialisation."""

    @property
    def family(self) -> str:
        """The family that is referred to; empty for a loss in nats."""
        return (self.ref or "").removesuffix(".confirmed")


class _Endpoint(ClaimsSection):
    """What is measured, and what is claimed of it."""

    metric: str
    """A metric of the engine."""
    direction: Literal["greater", "less", "noninferior", "equivalent"]
    """What a's value is against b's: better in the metric's own direction, not worse, or equal."""
    margin: Amount | None = None
    """What the effect must exceed (0 if absent); for noninferior, the loss that is accepted."""
    sesoi: Positive | None = None
    """Smallest effect of interest; for noninferior, the margin if absent."""
    unit: str | None = None
    """Of the numbers above: the metric's own, or `relative`: fractions of b's mean."""
    factor: str | None = None
    """Hyperparameter along which robustness is measured."""
    tau: TauSection | None = None
    """Target loss: nats, or {ref, within}."""
    k: Count | None = None
    """Budget in trials."""
    decades: Positive | None = None
    """By how many factors of ten the learning rate is off."""
    perturbation: str | None = Field(default=None, min_length=1)
    """Name of a perturbation at inference."""
    of: Literal["loss", "accuracy"] | None = None
    """What the perturbation moves; loss if absent."""
    phase: Literal["sensitivity", "lr_slice", "factor_slice", "confirmation"] | None = None
    """Where to look, for metrics that can be read in several phases."""
    where: Ranges = Field(default_factory=dict)
    """Which trials of the design count, by a's hyperparameters."""

    @field_validator("tau", mode="before")
    @classmethod
    def _read_tau(cls, written: Any) -> Any:
        if _number(written):
            return {"value": written}
        if isinstance(written, Mapping) and ("value" in written) == ("ref" in written):
            raise ValueError(
                f"is {shown(dict(written))}, but a target is a loss in nats or {{ref: family, within: 0.05}}: write one"
            )
        return written

    @field_validator("factor")
    @classmethod
    def _one_name(cls, factor: str | None) -> str | None:
        return ALIASES.get(factor, factor) if factor is not None else None


class PartSection(_Endpoint):
    """One endpoint of a claim."""

    equivalence: Positive | None = None
    """Differences within it count as none; the smallest effect of interest if absent."""


class CompareSection(ClaimsSection):
    """Who is compared with whom."""

    a: str
    """The claimed family."""
    b: str | None = None
    """What it is compared with; absent: the claim is on `a` alone."""
    at: dict[str, Any] | None = None
    """Hyperparameters of b as formulas of a's, such as {lr: "b.lr = a.lr * sqrt(top_k)"}; all others are a's."""


class PlanSection(ClaimsSection):
    """What the sample was planned for."""

    power: Share = 0.8
    n_unit: Literal["replicate", "seed"] | None = None
    """The units that are counted."""
    sd: ByMetric | None = None
    """Standard deviation of the paired differences to plan with, where no pilot gives one; in the part's unit."""


class _Claim(ClaimsSection):
    """What every claim has."""

    id: str = Field(json_schema_extra={"pattern": f"^{_ID.pattern}$"})
    """1 to 32 letters, digits, dots, dashes and underscores, the first a letter."""
    title: str = Field(min_length=1)
    role: Literal["primary", "secondary", "exploratory"] = "primary"
    compare: CompareSection | None = None
    """Absent: that of the claim before."""
    workloads: Literal["each", "any", "aggregate", "aggregate(iqm)"] = "each"
    """Where it must hold: on each workload, on one at least, or on their average."""
    plan: PlanSection = PlanSection()
    underpowered: Literal["accepted"] | None = None
    """Lock it although the planned power is too low or unknown."""

    @field_validator("id")
    @classmethod
    def _plain_id(cls, written: str) -> str:
        if not _ID.fullmatch(written):
            raise ValueError(
                f"is {shown(written)}, but an id is 1 to 32 letters, digits, '.', '-' or '_', the first a letter: "
                "rename it"
            )
        return written


class ConjunctiveClaim(_Claim):
    """A claim that holds when all its parts hold."""

    all_of: tuple[PartSection, ...] = Field(json_schema_extra={"minItems": 1})
    equivalence: ByMetric | None = None
    """Bound of equivalence of the parts that have none of their own: one number, or one per metric."""

    @field_validator("all_of")
    @classmethod
    def _some(cls, parts: tuple[PartSection, ...]) -> tuple[PartSection, ...]:
        if not parts:
            raise ValueError("is empty, but a claim has a part at least: write one")
        return parts

    @property
    def parts(self) -> tuple[PartSection, ...]:
        """The endpoints, each with its bound of equivalence."""
        return tuple(self._with_bound(part) for part in self.all_of)

    def _with_bound(self, part: PartSection) -> PartSection:
        shared = self.equivalence
        bound = shared.get(part.metric) if isinstance(shared, dict) else shared
        if part.equivalence is not None or bound is None or part.direction == "noninferior":
            return part
        return part.model_copy(update={"equivalence": bound})


class SimpleClaim(_Endpoint, _Claim):
    """A claim of one part, written without a list."""

    equivalence: ByMetric | None = None
    """Differences within it count as none; the smallest effect of interest if absent."""

    @property
    def parts(self) -> tuple[PartSection, ...]:
        """The one endpoint."""
        written = {name: getattr(self, name) for name in _Endpoint.model_fields}
        bound = self.equivalence.get(self.metric) if isinstance(self.equivalence, dict) else self.equivalence
        return (PartSection(**written, equivalence=bound),)


ClaimSection = ConjunctiveClaim | SimpleClaim
