"""What `report.json` holds, field by field; `docs/report.schema.json` is made from it.

Numbers are plain; what is absent, not a number or infinite is null. Keys beyond these may be added without a new
version; a change of meaning, or a key that goes, raises it.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from study.statistics.claims import Direction, Role
from study.statistics.results import Grade, Verdict

FORMAT, VERSION = "trialwright-report", 2


class _Closed(BaseModel):
    """A part of the document without other keys than its own."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ThresholdsEntry(_Closed):
    """What an estimate is held against, in the part's unit, relative to `null`."""

    null: float
    """The value of no difference: 0, or 0.5 for a probability."""
    margin: float
    """What the effect must exceed; what a non-inferiority may lose."""
    sesoi: float | None
    """Smallest effect of interest; null: none was registered."""
    equivalence: float | None
    """Bound of equivalence; null: there is none."""


class PartEntry(_Closed):
    """One endpoint on one workload; estimates are turned so that above the null favours family `a`."""

    metric: str
    """Name of the metric, such as `lr_width`."""
    title: str
    """The metric in words, with its factor, budget or target."""
    unit: str
    """Unit of estimate, interval, thresholds and differences, such as `nats` or `decades`."""
    direction: Direction
    """What the claim says of family `a`."""
    factor: str
    """Hyperparameter that is varied; empty without one."""
    workload: str
    """Task and base model, or what stands for all of them."""
    a: str
    """The claimed family."""
    b: str
    """What it is compared with; empty for a claim on `a` alone."""
    verdict: Verdict
    """Of this endpoint on this workload."""
    grade: Grade
    """How strongly, or which way; empty without one."""
    reason: str
    """One sentence: why the verdict is what it is."""
    extra: int | None
    """Further units (see `n_unit`) for the planned power at the registered effect; null unless inconclusive."""
    estimate: float | None
    """Mean paired difference, in `unit`."""
    ci_low: float | None
    """Lower end of the interval, in `unit`."""
    ci_high: float | None
    """Upper end of the interval, in `unit`."""
    level: float | None = Field(ge=0, le=1)
    """Confidence of the interval as a fraction, after correction for the other claims and for looks."""
    ci_kind: str
    """Kind of interval, such as `t over replicates`."""
    p_t: float | None
    """Two-sided p of Student's t against the margin, as a fraction."""
    p_signflip: float | None
    """Two-sided p by exact sign flips against the margin, as a fraction."""
    p_adjusted: float | None
    """The claim's p after correction for the other claims, as a fraction."""
    effect_size: float | None
    """Mean over standard deviation of the paired differences (d_z), without unit."""
    win_probability: float | None
    """Share of pairs that `a` wins, ties half, as a fraction."""
    win_low: float | None
    """Lower end of its 95 % interval, as a fraction."""
    win_high: float | None
    """Upper end of its 95 % interval, as a fraction."""
    e_value: float | None
    """E-value against the margin, without unit; valid whenever it is looked at."""
    n: int
    """Paired units that were analysed, of the kind of `n_unit`."""
    n_planned: int | None
    """Paired units that were planned; null: whatever there is."""
    n_unit: str
    """`replicate` or `seed`."""
    look: int | None
    """Which planned look this is, from 1; null: there was one look, or none planned."""
    fragile: bool
    """Whether t and sign-flip disagree at the claim's level."""
    half_sesoi_n: int | None
    """Units at which the interval's half-width is half the smallest effect of interest."""
    thresholds: ThresholdsEntry | None
    """What the estimate is held against; null where nothing could be estimated."""
    units: list[str]
    """Name of each paired unit."""
    differences: list[float | None]
    """Paired difference of each unit, in `unit`."""
    a_values: list[float | None]
    """Family `a`'s own value of each unit; empty where the metric has none."""
    b_values: list[float | None]
    """Family `b`'s own value of each unit; empty where the metric has none."""
    notes: list[str]
    """What a reader must know of this endpoint, one sentence each."""


class ClaimEntry(_Closed):
    """One claim with its verdict; it holds when every part holds."""

    id: str
    """Name in the claims file."""
    title: str
    """The claim in the words of its author."""
    role: Role
    """`primary` (Holm), `secondary` (Benjamini-Hochberg) or `exploratory` (not corrected)."""
    a: str
    """The claimed family."""
    b: str
    """What it is compared with; empty for a claim on `a` alone."""
    at: str
    """Transformation of `a`'s hyperparameters at which `b` is trained; empty without one."""
    workloads: str
    """`each`, `any` or `aggregate`."""
    verdict: Verdict
    """What the data say of the claim."""
    grade: Grade
    """How strongly, or which way; empty without one."""
    extra: int | None
    """Further replicates or seeds for the planned power; null unless inconclusive."""
    reason: str
    """Why the verdict is what it is."""
    p: float | None
    """Largest p of the parts, as a fraction."""
    p_adjusted: float | None
    """The same after correction for the other claims, as a fraction."""
    alpha: float = Field(ge=0, le=1)
    """The level at which this claim's intervals stand, as a fraction."""
    amended: str
    """When and why it was amended after data were seen; empty if it was not."""
    parts: list[PartEntry]
    """Its endpoints, one for each workload."""


class StabilityEntry(_Closed):
    """One claim's verdict when one choice of the analysis is changed."""

    claim: str
    """Id of the claim."""
    choice: str
    """What was changed."""
    verdict: Verdict
    """The verdict then."""
    changed: bool
    """Whether it differs from the reported one."""
    detail: str
    """How often, where a choice is many: `2 of 30 change the verdict`; empty elsewhere."""


class DesignEntry(_Closed):
    """The registered sizes."""

    seeds_max: int | None
    """Seeds of the confirmation at its last look; null: whatever there is."""
    looks: list[int]
    """Numbers of seeds at which the confirmation may be read; empty: once."""
    spending: str
    """How the error is spent over the looks: `obf` or `pocock`."""
    replicates: int | None
    """Replicates of the space design; null: whatever there is."""


class ProvenanceEntry(_Closed):
    """Where all of it comes from."""

    registered: dict[str, str] | None
    """`sha256`, `at` and `commit` of the locked claims file; null: it was never locked."""
    amendments: list[dict[str, str]]
    """Changes to the claims after they were locked, oldest first."""
    alpha: float | None
    """Level of all tests before correction, as a fraction; null without claims."""
    workloads: list[str]
    """Workloads that the claims name; empty: those of the trial table."""
    design: DesignEntry | None
    """The registered sizes; null without claims."""
    num_duplicates: int
    """Identical rows of the trial table that were dropped."""
    analysis: dict[str, Any]
    """Versions and settings of the engine."""
    manifest: dict[str, Any]
    """Versions, hardware and digests of the study or of the analysed files."""


class ReportDocument(BaseModel):
    """A report of Trialwright: what was claimed, what the data say of it, and all that a reader needs to doubt it."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    format: Literal["trialwright-report"]
    """What this document is."""
    version: Literal[2]
    """Version of its form."""
    name: str
    """Name of the study or of the table."""
    state: str
    """`finished`, or what the study was doing when the report was made."""
    claims: list[ClaimEntry]
    """In the file's order; empty where nothing was claimed."""
    trials: dict[str, dict[str, dict[str, int]]]
    """Phase, family, outcome: number of trials; a trial that has not ended counts under `unfinished`."""
    provenance: ProvenanceEntry
    """Where all of it comes from."""
    stability: list[StabilityEntry]
    """Verdicts under other choices of the analysis."""
    notes: list[str]
    """What a reader must know of how the table was read, one sentence each."""
    tuned: list[dict[str, Any]]
    """Each family's tuned configuration, with its capped report loss in nats over fresh seeds."""
    budget: dict[str, Any]
    """Optimizer steps and device seconds by phase and family, and whether families met on equal ground."""
    forecast: dict[str, Any] | None
    """Trials, steps and seconds by phase as predicted at launch, beside what they were; null without a calibration."""


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of `report.json`."""
    schema = ReportDocument.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
