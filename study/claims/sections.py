"""What a claims file registers beside its claims: families, design, outcome, and the record of locking.

The sections say what was planned. Of the design only the numbers of seeds and replicates and the looks enter a test;
the rest is there to be held against what was done.
"""

import re
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from search_spaces import ROLES
from search_spaces.errors import unknown
from study.spec_errors import SpecValueError, shown
from trainers.workload import Section

ALIASES = {"experts": "num_experts"}
"""Other words for a hyperparameter."""

Amount = Annotated[float, Field(strict=True, ge=0)]
Positive = Annotated[float, Field(strict=True, gt=0)]
Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
Count = Annotated[int, Field(strict=True, ge=1)]
Sha = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ClaimsSection(Section):
    """A frozen section whose field docstrings are the hints that an editor shows."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class FamilySection(ClaimsSection):
    """A family that claims compare."""

    space: str | None = Field(default=None, json_schema_extra={"examples": ["adamw@1"]})
    """Its search space and that space's version, such as `adamw@1`."""
    defaults: dict[str, float | int | str] = Field(default_factory=dict)
    """Hyperparameters to fall back on."""
    inclusion_of: str | None = None
    """A family that this one contains. It must then not lose when both are tuned, and a claim must check that."""
    reduces_when: dict[str, Any] = Field(default_factory=dict)
    """Settings at which it is that family."""

    @field_validator("space")
    @classmethod
    def _versioned(cls, written: str | None) -> str | None:
        if written is not None and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*@[0-9]{1,6}", written):
            raise ValueError(f"is {shown(written)}, but a space is <name>@<version>: write it like adamw@1")
        return written


class PilotDesign(ClaimsSection):
    """Trials that size the study and enter no test."""

    seeds: Count | tuple[int, ...] = 5
    """How many, or which."""
    sd: dict[str, Positive] = Field(default_factory=dict)
    """Standard deviation of the paired differences by metric, in the unit of the claims' parts."""

    @property
    def num_seeds(self) -> int:
        """How many pilot seeds there are."""
        return self.seeds if isinstance(self.seeds, int) else len(self.seeds)

    @field_validator("seeds", mode="before")
    @classmethod
    def _number_or_list(cls, written: Any) -> Any:
        return _seeds(written, least=2)


class SearchDesign(ClaimsSection):
    """How each family is tuned; its trials are stopped early and enter no test."""

    scheduler: Literal["asha"] = "asha"
    per_family: Literal[True] = True
    """Families never share a scheduler: the faster learner would stop the other's trials."""
    trials: Count | None = None
    rf: Annotated[int, Field(strict=True, ge=2)] | None = None
    """Reduction factor: at each rung about one trial in `rf` goes on."""
    grace: Share | None = None
    """Share of the steps before a trial may be stopped."""
    budget: Literal["equal_device_seconds", "equal_trials"] | None = None
    audit_epsilon: Annotated[float, Field(strict=True, ge=0, lt=1)] | None = None
    """Probability with which a stopped trial goes on, to audit the stopping."""
    seeds: tuple[int, ...] = ()

    @field_validator("seeds", mode="before")
    @classmethod
    def _list(cls, written: Any) -> Any:
        return _seed_list(written)


class LrSliceDesign(ClaimsSection):
    """Learning rates over a whole window."""

    step_decades: Positive | None = None
    window: Literal["full_basin"] = "full_basin"
    """Both ends fail for every family."""
    offset: Literal["per_seed", "per_replicate"] = "per_seed"
    """The grid is shifted at random, by the same amount for all families."""


class SensitivityDesign(ClaimsSection):
    """The replicated design over the spaces, and slices; nothing in it is stopped."""

    replicates: Count | None = None
    """Independent repeats: the units of every test on this phase."""
    points: Count | None = None
    sampler: Literal["sobol_owen"] = "sobol_owen"
    stop: Literal["none"] = "none"
    lr_slice: LrSliceDesign | None = None
    factor_slices: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    @field_validator("seeds", mode="before")
    @classmethod
    def _list(cls, written: Any) -> Any:
        return _seed_list(written)

    @field_validator("factor_slices")
    @classmethod
    def _known(cls, factors: tuple[str, ...]) -> tuple[str, ...]:
        named = tuple(ALIASES.get(factor, factor) for factor in factors)
        for factor in named:
            if factor not in ROLES:
                raise SpecValueError(unknown("hyperparameter", factor, [*ROLES, *ALIASES]))
        return named


class ConfirmationDesign(ClaimsSection):
    """The tuned configurations on fresh seeds."""

    seeds_max: Annotated[int, Field(strict=True, ge=2)] | None = None
    """Seeds at the last look."""
    looks: tuple[Count, ...] = ()
    """Numbers of seeds at which verdicts may be read; absent: once, at the end."""
    spending: Literal["obf", "pocock"] = "obf"
    """How the level is spent over the looks: O'Brien-Fleming or Pocock, after Lan and DeMets."""
    extra_seeds: Literal["e_process", "none"] = "e_process"
    """What decides when seeds are added beyond the plan."""
    seeds: tuple[int, ...] = ()

    @field_validator("seeds", mode="before")
    @classmethod
    def _list(cls, written: Any) -> Any:
        return _seed_list(written)

    @model_validator(mode="after")
    def _looks_ascend(self) -> "ConfirmationDesign":
        last = self.num_seeds
        ascending = all(a < b for a, b in pairwise(self.looks))
        if self.looks and (not ascending or self.looks[0] < 2 or self.looks[-1] != last):  # noqa: PLR2004
            raise ValueError(
                f"has looks {list(self.looks)}, but looks ascend from 2 or more and end at seeds_max = {last}: "
                "correct them"
            )
        if self.seeds and len(self.seeds) != last:
            raise ValueError(
                f"lists {len(self.seeds)} seeds, but seeds_max is {last}: write as many seeds as will be used"
            )
        return self

    @property
    def num_seeds(self) -> int | None:
        """Seeds at the last look; None where nothing says it."""
        if self.seeds_max is not None:
            return self.seeds_max
        return self.looks[-1] if self.looks else (len(self.seeds) or None)


class DesignSection(ClaimsSection):
    """The sizes of every phase."""

    pilot: PilotDesign | None = None
    search: SearchDesign | None = None
    sensitivity: SensitivityDesign | None = None
    confirmation: ConfirmationDesign | None = None


class DivergedSection(ClaimsSection):
    """When a trial counts as diverged."""

    nan: Literal[True] = True
    """A loss, a gradient or an update that is not finite."""
    loss_ge: Literal["init_loss"] | None = None
    """A loss at or above that at initialisation."""
    for_evals: Count | None = None
    """So many evaluations in a row."""
    factor: Positive | None = None
    """A select loss above this many times that at initialisation: `training.divergence_factor` of a study."""


class OutcomeSection(ClaimsSection):
    """Which loss is tested, and what a failure counts as."""

    report: str = "test/loss"
    """The loss on rows that nothing was chosen on."""
    select: str = "val/loss"
    """The loss on which configurations are chosen."""
    cap: Literal["init_loss"] = "init_loss"
    """Every loss counts as at most that at initialisation; a diverged trial has exactly that."""
    direction: Literal["min"] = "min"
    diverged: DivergedSection | None = None
    infra_failure: Literal["retry_same_seed"] = "retry_same_seed"


class CorrectionSection(ClaimsSection):
    """How claims are corrected for the number of claims."""

    primary: Literal["holm"] = "holm"
    secondary: Literal["bh"] = "bh"


class RegisteredSection(ClaimsSection):
    """Written by `trialwright claims lock`."""

    at: str
    """When, in UTC."""
    commit: str
    """Git commit of the file's folder, or `none`."""
    sha256: Sha
    """Of everything in the file but `registered` and `amendments`."""
    claims: dict[str, Sha] = Field(default_factory=dict)
    """Of each claim with all that its verdict depends on."""
    margins: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Margin of each part of each claim, those included that the file leaves at 0."""
    spaces: dict[str, Sha] = Field(default_factory=dict)
    """Of each family's search space in the study with which it was locked."""
    seal: Sha | None = None
    """Of this record."""


class AmendmentSection(ClaimsSection):
    """Written by `trialwright claims amend`."""

    at: str
    reason: str
    after_data: bool
    """Whether results had been seen; then the claims it touches are exploratory."""
    claims: dict[str, Sha | Literal["removed"]] = Field(default_factory=dict)
    """What each changed claim is now."""
    margins: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Margin of each part of each changed claim."""
    previous: Sha
    """`sha256` of the record before."""
    sha256: Sha
    """Of everything in the file but `registered` and `amendments`."""
    seal: Sha
    """Of this record and the seal before."""


def _seed_list(written: Any) -> Any:
    if not isinstance(written, list | tuple):
        raise ValueError(f"is {shown(written)}, but must list seeds: write [11, 12, 13]")  # noqa: TRY004 -- pydantic turns no other error into a mistake of the file
    return _seeds(written, least=1)


def _seeds(written: Any, *, least: int) -> Any:
    """A number of seeds or a list of different ones."""
    listed = list(written) if isinstance(written, list | tuple) else [written]
    if any(isinstance(seed, bool) or not isinstance(seed, int) for seed in listed):
        raise ValueError(f"is {shown(written)}, but must be a number of seeds or a list of them: correct it")
    repeated = next((seed for seed in listed if listed.count(seed) > 1), None)
    if repeated is not None:
        raise ValueError(f"holds {repeated} twice: write each seed once")
    if (len(listed) if isinstance(written, list | tuple) else written) < least:
        raise ValueError(f"is {shown(written)}, but {least} seeds are the least: raise it")
    return written
