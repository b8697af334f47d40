"""What a study did, as one document: enough to run it again elsewhere and to compare every figure.

`docs/record.schema.json` is made from it. Keys beyond these may be added without a new version; a change of meaning, or
a key that goes, raises it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from search_spaces.errors import SpecError
from study.records import Outcome, Param, Phase, PlannedTrial, RungRecord

FILE_NAME = "record.json"
MAX_BYTES = 2**30
"""Longest record that is read."""
LOST = frozenset({Outcome.OUT_OF_MEMORY, Outcome.INFRA_FAILED, Outcome.CANCELLED})
"""Outcomes that say nothing about the method, so that nothing is compared."""


class _Part(BaseModel):
    """A frozen part of the document."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class RecordedEnding(_Part):
    """How a trial ended."""

    outcome: Outcome
    steps: int = Field(ge=0)
    """Optimizer steps done."""
    reason: str = ""
    """One sentence; empty for a finished trial."""
    value: float | None = None
    """Loss in nats on the report split; null when diverged, stopped or lost."""
    select_value: float | None = None
    """Loss in nats on the select split at the last step done."""
    init_value: float | None = None
    """Loss in nats on the report split at initialisation."""
    device_seconds: float = 0.0
    metrics: dict[str, float] = Field(default_factory=dict)
    """Further final figures, such as `report_accuracy`."""


class RecordedRung(_Part):
    """A decision of successive halving on the trial."""

    rung: int
    """Optimizer steps of the rung."""
    value: float
    """The capped loss in nats that was compared."""
    cutoff: float | None
    """What it was compared with; null for the first arrivals."""
    num_recorded: int
    """Trials at the rung when it was decided, this one included."""
    action: Literal["continue", "stop"]


class RecordedTrial(_Part):
    """A trial as planned, as measured and as ended."""

    key: str
    phase: Phase
    slice: str
    family: str
    replicate: int
    point: int
    seed: int
    params: dict[str, Param]
    steps: int
    """Optimizer steps at full budget."""
    measured_steps: tuple[int, ...] = ()
    """Optimizer steps done at each measurement, ascending."""
    measurements: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)
    """Metric to its figure at each of `measured_steps`; null where that measurement lacks it."""
    ending: RecordedEnding | None = None
    """Null while the trial is planned or running."""
    rungs: tuple[RecordedRung, ...] = ()

    @model_validator(mode="after")
    def _whole_columns(self) -> Self:
        for name, column in self.measurements.items():
            if len(column) != len(self.measured_steps):
                raise ValueError(
                    f"{name} has {len(column)} figures for {len(self.measured_steps)} measurements"
                )
        return self

    @property
    def planned(self) -> PlannedTrial:
        """The trial as the ledger plans it."""
        return PlannedTrial(**{name: getattr(self, name) for name in PlannedTrial.__dataclass_fields__})

    @property
    def decisions(self) -> list[RungRecord]:
        """The decisions on the trial as the ledger keeps them."""
        return [RungRecord(family=self.family, trial=self.key, **rung.model_dump()) for rung in self.rungs]

    @property
    def is_a_result(self) -> bool:
        """Whether it ended, and not by its surroundings."""
        return self.ending is not None and self.ending.outcome not in LOST


class Record(_Part):
    """One study, whole."""

    format: Literal["trialwright-record"] = "trialwright-record"
    version: Literal[1] = 1
    uid: str = Field(pattern=r"^[0-9a-f]{8,64}$")
    """Random name of the study, unlike that of any other with its name."""
    name: str
    state: str
    """`finished`, `failed` (trials were lost), or what the study was doing."""
    spec: dict[str, Any]
    """The study file with every default written out, as `docs/study.schema.json` describes it."""
    manifest: dict[str, Any]
    """What it ran on: versions, hardware and digests; the whole claims file as `claims.written`."""
    precision: dict[str, Any] | None = None
    """How exact float32 products were, and which mode all packs used; null where nothing was measured."""
    chosen: dict[str, dict[str, Param]] | None = None
    """Each family's tuned configuration; null before it was chosen."""
    trials: tuple[RecordedTrial, ...] = ()
    """In planned order."""

    @property
    def matmul_mode(self) -> str:
        """How float32 products were done."""
        return "highest" if self.precision is None else str(self.precision["mode"])

    @property
    def claims(self) -> Mapping[str, Any] | None:
        """The claims file as plain data; None where nothing was claimed."""
        written = (self.manifest.get("claims") or {}).get("written")
        return written if isinstance(written, Mapping) else None

    def to_json(self) -> bytes:
        """UTF-8 text whose numbers read back to the bit."""
        return f"{self.model_dump_json()}\n".encode()


def read_record(folder: Path) -> Record:
    """The record that a report's folder holds.

    Raises:
        SpecError: there is none, or it cannot be read.
    """
    path = folder / FILE_NAME
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SpecError(f"{str(path)!r} is larger than {MAX_BYTES:,} bytes: it is no record of a study.")
        return Record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SpecError(
            f"The folder {str(folder)!r} holds no readable {FILE_NAME} ({error.strerror}): write the report again with "
            "trialwright report STUDY --format json."
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise SpecError(
            f"{str(path)!r} is no record of a study that this version reads ({place}: {first['msg']}): write the "
            "report again, or use the Trialwright that wrote it."
        ) from None


def json_schema() -> dict[str, Any]:
    """JSON Schema of `record.json`."""
    return Record.model_json_schema(mode="serialization")
