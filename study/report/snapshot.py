"""What a report is made from: the tables of one study at one moment, and its trials read row by row."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from search_spaces.errors import SpecError, unknown
from study.records import Outcome, Param, Phase

REQUIRED = ("phase", "slice", "workload", "family", "replicate", "point", "seed")
REQUIRED_RESULTS = ("value", "select_value", "init_value", "outcome", "steps", "device_seconds")
NOT_ENDED = frozenset({"", "planned", "pending", "running"})
ANALYSED = frozenset({Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED})
LOST = frozenset({Outcome.OUT_OF_MEMORY, Outcome.INFRA_FAILED, Outcome.CANCELLED})


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """One study at one moment, as plain tables."""

    name: str
    state: str
    """`finished`, or what the study was doing when the snapshot was taken."""
    spec: Mapping[str, Any]
    """The study file, as read."""
    plan: Mapping[str, Any] | None
    """`trial_counts` (phase → family → number) tells how many trials are still to be planned."""
    manifest: Mapping[str, Any]
    """Versions, hardware and digests; `spaces` (family → dimension → range) if it is there."""
    trials: pd.DataFrame
    """The trial table, in planned order."""
    curves: pd.DataFrame
    """One row per trial and step: `trial`, `step` and metrics."""
    rungs: pd.DataFrame
    """One row per decision of ASHA: family, trial, rung, value, cutoff, num_recorded, action."""
    events: list[dict[str, Any]]
    """What happened to the study, oldest first."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One row of the trial table."""

    trial: str
    phase: Phase
    slice: str
    workload: str
    family: str
    replicate: int
    point: int
    seed: int
    params: Mapping[str, Param]
    value: float | None
    """Report loss in nats."""
    select_value: float | None
    """Select loss in nats at the last step."""
    init_value: float | None
    """Report loss in nats at initialisation, the cap."""
    outcome: Outcome | None
    """Absent while the trial is planned or running."""
    steps: int
    device_seconds: float
    attempts: int
    reason: str
    report_accuracy: float | None
    select_accuracy: float | None

    @property
    def analysed(self) -> bool:
        """Whether the outcome is a result of the method, not of the machine."""
        return self.outcome in ANALYSED

    @property
    def lost(self) -> bool:
        """Whether the machine, memory or the user ended the trial."""
        return self.outcome in LOST

    @property
    def capped(self) -> float | None:
        """Capped loss in nats: min(report loss, loss at initialisation), the latter if the trial diverged."""
        if self.outcome is Outcome.DIVERGED:
            return self.init_value
        if self.outcome is not Outcome.FINISHED or self.value is None:
            return None
        return self.value if self.init_value is None else min(self.value, self.init_value)


def read_trials(frame: pd.DataFrame) -> tuple[TrialRow, ...]:
    """The trial table as rows.

    A diverged trial without a loss at initialisation takes its workload's median one, which LoRA's zero
    start makes the loss of the base model.

    Raises:
        SpecError: a column is missing, or a phase or an outcome is unknown.
    """
    missing = [name for name in (*REQUIRED, *REQUIRED_RESULTS) if name not in frame.columns]
    if missing:
        raise SpecError(
            f"The trial table has no column {missing[0]!r}, which a report needs; write the table with "
            f"`trialwright report --format csv` or add the column."
        )
    rows = [_row(index, record) for index, record in enumerate(frame.to_dict("records"))]
    return _with_initial_loss(rows)


def _row(index: int, record: dict[Any, Any]) -> TrialRow:
    params = {
        str(name).removeprefix("param."): _param(value)
        for name, value in record.items()
        if str(name).startswith("param.") and not _absent(value)
    }
    return TrialRow(
        trial=_text(record.get("trial")) or f"row {index + 1}",
        phase=_phase(record["phase"]),
        slice=_text(record["slice"]),
        workload=_text(record["workload"]),
        family=_text(record["family"]),
        replicate=_whole(record["replicate"]),
        point=_whole(record["point"]),
        seed=_whole(record["seed"]),
        params=params,
        value=_number(record["value"]),
        select_value=_number(record["select_value"]),
        init_value=_number(record["init_value"]),
        outcome=_outcome(record["outcome"]),
        steps=_whole(record["steps"]),
        device_seconds=_number(record["device_seconds"]) or 0.0,
        attempts=_whole(record.get("attempts")),
        reason=_text(record.get("reason")),
        report_accuracy=_number(record.get("report_accuracy")),
        select_accuracy=_number(record.get("select_accuracy")),
    )


def _with_initial_loss(rows: Iterable[TrialRow]) -> tuple[TrialRow, ...]:
    rows = tuple(rows)
    known: dict[str, list[float]] = {}
    for row in rows:
        if row.init_value is not None:
            known.setdefault(row.workload, []).append(row.init_value)
    medians = {workload: float(np.median(values)) for workload, values in known.items()}
    return tuple(
        replace(row, init_value=medians.get(row.workload))
        if row.outcome is Outcome.DIVERGED and row.init_value is None
        else row
        for row in rows
    )


def _absent(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _text(value: object) -> str:
    return "" if _absent(value) else str(value)


def _number(value: Any) -> float | None:
    if _absent(value) or value == "":
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int:
    if _absent(value) or value == "":
        return 0
    return int(value)


def _param(value: Any) -> Param:
    if isinstance(value, str):
        return value
    number = float(value)
    return int(number) if number.is_integer() and abs(number) >= 1 else number


def _phase(value: object) -> Phase:
    try:
        return Phase(_text(value))
    except ValueError:
        raise unknown("phase in the trial table", _text(value), (p.value for p in Phase)) from None


def _outcome(value: object) -> Outcome | None:
    text = _text(value)
    if text in NOT_ENDED:
        return None
    try:
        return Outcome(text)
    except ValueError:
        raise unknown("outcome in the trial table", text, (o.value for o in Outcome)) from None
