"""The phases section of a study file, and the sizes that a tier gives to what the file leaves out.

A tier trades cost for the smallest effect that can be told from noise. `smoke` (4 replicates of 8 points, 5
seeds) draws every figure and decides nothing; `standard` (10 replicates of 16, up to 30 seeds) finds a paired
difference of 0.7 standard deviations with power 0.9; `strong` (20 replicates of 16, up to 50 seeds) shows
equivalence within half a standard deviation with power 0.9. All by paired t-tests at 5 %.
"""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from search_spaces import ROLES
from search_spaces.errors import unknown
from study.spec_errors import SpecValueError, first_mistake, shown
from study.spec_perturbations import PerturbationField
from trainers.workload import Section


class PhaseSection(Section):
    """A frozen section whose field docstrings are the hints that an editor shows."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def _without_default(schema: dict[str, Any]) -> None:
    """Drop a default that depends on the rest of the study."""
    schema.pop("default", None)


class Search(PhaseSection):
    """Find each family's best configuration; trials are stopped early, so nothing is inferred from it."""

    trials: int = Field(default=32, ge=1)
    """Configurations per family; a power of two makes the Sobol' points a whole net."""
    sampler: Literal["sobol", "tpe", "random"] = "sobol"
    """How configurations are drawn. Sobol' and random points are shared by the families."""
    reduction: int = Field(default=3, ge=2)
    """At each rung of successive halving, about one trial in `reduction` goes on."""
    grace_steps: int = Field(default=1, ge=1, json_schema_extra=_without_default)
    """Optimizer steps before a trial may be stopped; absent: a ninth of the steps, at least the warm-up."""


class AroundTuned(PhaseSection):
    """A window of learning rates around each family's tuned one."""

    decades_below: float = Field(default=3.0, gt=0, le=12)
    decades_above: float = Field(default=3.0, gt=0, le=12)


LrRange = tuple[float, float]
"""Lowest and highest learning rate of a window."""


def _read_window(written: Any) -> Any:
    """Check a declared window here, since a union of forms would blame all of them at once."""
    if isinstance(written, list | tuple):
        return _lr_range(written)
    if isinstance(written, Mapping) and not any(str(key).startswith("decades_") for key in written):
        if not written:
            raise ValueError("is empty: write [low, high] or {decades_below: 3, decades_above: 3}")
        return {family: _lr_range(limits) for family, limits in written.items()}
    if not isinstance(written, Mapping):
        raise ValueError(  # noqa: TRY004 -- pydantic turns no other error into a mistake of the file
            f"is {shown(written)}, but a window is [low, high] or {{decades_below: 3, decades_above: 3}}: write one"
        )
    try:
        return AroundTuned.model_validate(written)
    except ValidationError as error:
        raise ValueError(f"is wrong, since {first_mistake(error, AroundTuned)}") from None


def _lr_range(written: Any) -> LrRange:
    numbers = written if isinstance(written, list | tuple) else ()
    if len(numbers) != 2 or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers):  # noqa: PLR2004
        raise ValueError(f"is {shown(written)}, but a window is [low, high]: write two learning rates")
    low, high = float(numbers[0]), float(numbers[1])
    if low <= 0:
        raise ValueError(f"is [{low:g}, {high:g}], but learning rates are above 0: raise the lower end")
    if low >= high:
        raise ValueError(
            f"is [{low:g}, {high:g}], which is upside down or empty: write the smaller number first"
        )
    return low, high


_RANGE_SCHEMA = {
    "type": "array",
    "items": {"type": "number", "exclusiveMinimum": 0},
    "minItems": 2,
    "maxItems": 2,
}
_WINDOW_SCHEMA: dict[str, Any] = {
    "description": "Around each family's tuned learning rate, one [low, high] for all, or one per family.",
    "anyOf": [
        {
            "type": "object",
            "properties": {
                side: {"type": "number", "exclusiveMinimum": 0, "maximum": 12, "default": 3.0}
                for side in ("decades_below", "decades_above")
            },
            "additionalProperties": False,
        },
        _RANGE_SCHEMA,
        {"type": "object", "additionalProperties": _RANGE_SCHEMA, "minProperties": 1},
    ],
}
Window = Annotated[
    AroundTuned | LrRange | dict[str, LrRange], BeforeValidator(_read_window), WithJsonSchema(_WINDOW_SCHEMA)
]


class LrSlice(PhaseSection):
    """Learning rates over a whole window, all else as tuned, on a grid with a random offset per replicate."""

    step_decades: float = Field(default=0.5, gt=0, le=2)
    """Distance of two learning rates, in factors of ten."""
    window: Window = AroundTuned()
    """Where to look; both ends should fail, so that the whole usable range is inside."""

    @property
    def num_learning_rates(self) -> float:
        """How many the widest window takes, to one."""
        if isinstance(self.window, AroundTuned):
            return (self.window.decades_below + self.window.decades_above) / self.step_decades
        ranges = self.window.values() if isinstance(self.window, dict) else [self.window]
        return max(math.log10(high) - math.log10(low) for low, high in ranges) / self.step_decades


class Sensitivity(PhaseSection):
    """How the result depends on the hyperparameters: a replicated design over each family's whole space."""

    replicates: int = Field(default=10, ge=1)
    """Independent repeats of design and seeds: the unit of analysis."""
    points: int = Field(default=16, ge=1)
    """Configurations per replicate and family, a power of two; all families share the points."""
    lr_slice: LrSlice | None = None
    """Absent: no learning-rate slice, unless a tier fills it."""
    factor_slices: tuple[str, ...] = ()
    """Hyperparameters to vary one at a time around the tuned configuration."""

    @field_validator("points")
    @classmethod
    def _power_of_two(cls, points: int) -> int:
        if points & (points - 1):
            lower = 1 << (points.bit_length() - 1)
            raise ValueError(
                f"is {points}, but a Sobol' net has a power of two of points: write {lower} or {2 * lower}"
            )
        return points

    @field_validator("factor_slices")
    @classmethod
    def _known_factors(cls, factors: tuple[str, ...]) -> tuple[str, ...]:
        for factor in factors:
            if factor == "lr":
                raise ValueError("holds 'lr', which has a slice of its own: write it as lr_slice")
            if factor not in ROLES:
                raise SpecValueError(
                    unknown("hyperparameter", factor, [role for role in ROLES if role != "lr"])
                )
        repeated = sorted({factor for factor in factors if factors.count(factor) > 1})
        if repeated:
            raise ValueError(f"holds {repeated[0]!r} twice: write it once")
        return factors


class Confirmation(PhaseSection):
    """The tuned configurations on fresh seeds that all families share: the basis of every verdict."""

    seeds: int = Field(default=30, ge=2)
    """Trials per family at the most."""
    looks: tuple[int, ...] = ()
    """Seeds at which the verdict may be read, ascending to `seeds`; absent: every ten."""
    default_seeds: int = Field(default=0, ge=0)
    """On how many seeds, the first of these, the default configuration is trained too after a search."""
    perturbed_seeds: int = Field(default=0, ge=0)
    """On how many the tuned configuration is trained too with its learning rate half a decade up, and down."""
    perturbations: tuple[PerturbationField, ...] = ()
    """Under what every finished adapter is scored again, such as `expert_dropped` or `{router_noise: 0.5}`."""

    @model_validator(mode="before")
    @classmethod
    def _fill_looks(cls, written: Any) -> Any:
        if not isinstance(written, Mapping) or written.get("looks") is not None:
            return written
        seeds = written.get("seeds", cls.model_fields["seeds"].default)
        return {**written, "looks": default_looks(seeds)} if isinstance(seeds, int) else written

    @field_validator("looks")
    @classmethod
    def _ascending_looks(cls, looks: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        seeds = info.data.get("seeds")
        if seeds is None:
            return looks
        ascending = all(a < b for a, b in pairwise(looks))
        if not looks or not ascending or looks[0] < 2 or looks[-1] != seeds:  # noqa: PLR2004
            raise ValueError(
                f"is {list(looks)}, but looks ascend from 2 or more and end at seeds = {seeds}: "
                f"write {list(default_looks(seeds))}"
            )
        return looks

    @field_validator("perturbations")
    @classmethod
    def _distinct_perturbations(cls, found: tuple[PerturbationField, ...]) -> tuple[PerturbationField, ...]:
        names = [perturbation.name for perturbation in found]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"holds {repeated[0]} twice: write it once")
        return found


class Phases(PhaseSection):
    """What the study does, in this order; a phase that is null or absent is not run."""

    search: Search | None = None
    sensitivity: Sensitivity | None = None
    confirmation: Confirmation | None = None


Tier = Literal["smoke", "standard", "strong"]

_FACTORS = ["num_experts", "top_k", "rank"]
TIERS: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {
        "search": {"trials": 8},
        "sensitivity": {
            "replicates": 4,
            "points": 8,
            "lr_slice": {"step_decades": 1.0},
            "factor_slices": _FACTORS,
        },
        "confirmation": {"seeds": 5},
    },
    "standard": {
        "search": {"trials": 32},
        "sensitivity": {
            "replicates": 10,
            "points": 16,
            "lr_slice": {"step_decades": 0.5},
            "factor_slices": _FACTORS,
        },
        "confirmation": {"seeds": 30, "default_seeds": 5, "perturbed_seeds": 5},
    },
    "strong": {
        "search": {"trials": 64},
        "sensitivity": {
            "replicates": 20,
            "points": 16,
            "lr_slice": {"step_decades": 0.25},
            "factor_slices": _FACTORS,
        },
        "confirmation": {"seeds": 50, "default_seeds": 5, "perturbed_seeds": 5},
    },
}
"""What each tier writes where the study file says nothing."""


def default_looks(seeds: int) -> tuple[int, ...]:
    """A look every ten seeds, and the last one at `seeds`."""
    return (*range(10, seeds - 4, 10), seeds)


def default_grace_steps(steps: int, warmup: float, eval_every: int) -> int:
    """A ninth of the steps and no less than the warm-up, rounded up to an evaluation, at most all steps."""
    least = max(steps / 9, warmup * steps)
    return min(math.ceil(least / eval_every) * eval_every, steps)


def fill_phases(phases: Mapping[str, Any], tier: str) -> dict[str, Any]:
    """`phases` as written, with the tier's phases and sizes where nothing is written; null stays null."""
    filled = dict(phases)
    for phase, sizes in TIERS[tier].items():
        written = filled.get(phase, {})
        if isinstance(written, Mapping):
            filled[phase] = {**sizes, **written}
    lr_slice = TIERS[tier]["sensitivity"]["lr_slice"]
    sensitivity = filled["sensitivity"]
    if isinstance(sensitivity, Mapping) and isinstance(sensitivity.get("lr_slice"), Mapping):
        filled["sensitivity"] = {**sensitivity, "lr_slice": {**lr_slice, **sensitivity["lr_slice"]}}
    return filled
