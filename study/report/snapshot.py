"""What a report is made from: the tables of one study at one moment, and its trials read row by row."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from study.records import Outcome, Param, Phase
from study.reproduction.record import Record
from study.statistics.claims import ClaimSet
from study.statistics.trials import COLUMNS, NOT_ENDED, Trials
from study.statistics.trials import read_trials as check_trials

ANALYSED = frozenset({Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED})
LOST = frozenset({Outcome.OUT_OF_MEMORY, Outcome.INFRA_FAILED, Outcome.CANCELLED})
DESIGNED = frozenset({Phase.SENSITIVITY, Phase.CONFIRMATION})
"""Phases whose own trials have no slice; others there were laid out for a claim or beside the tuned ones."""
SOURCE = "The trial table"


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
    claims: ClaimSet | None = None
    """What was claimed; None where no claim was registered."""
    phase_starts: Mapping[str, float] = field(default_factory=dict)
    """Phase → Unix time in seconds of its first measurement, where it is recorded."""
    phase_ends: Mapping[str, float] = field(default_factory=dict)
    """Phase → Unix time in seconds of its last measurement so far, where it is recorded."""
    record: Record | None = None
    """All that is needed to run the study again; None where there is no ledger behind the tables."""


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
    capped: float | None
    """Capped loss in nats: min(report loss, loss at initialisation), the latter if the trial diverged."""
    perturbed: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Perturbation at inference → `loss` in nats and `accuracy` on the report split."""

    @property
    def extra(self) -> bool:
        """Whether the trial stands beside the design: for a claim, at defaults or at a shifted learning rate."""
        return self.phase in DESIGNED and self.slice != ""

    @property
    def analysed(self) -> bool:
        """Whether the outcome is a result of the method, not of the machine."""
        return self.outcome in ANALYSED

    @property
    def lost(self) -> bool:
        """Whether the machine, memory or the user ended the trial."""
        return self.outcome in LOST


def checked_trials(frame: pd.DataFrame, curves: pd.DataFrame | None = None) -> Trials | None:
    """The trial table by the engine's rules; None where it has no row yet.

    Raises:
        SpecError: a column is missing, a cell is no number, a phase or an outcome is unknown, or two rows of one
            name differ.
    """
    if frame.empty and all(name in frame.columns for name in COLUMNS):
        return None
    return check_trials(frame, curves, source=SOURCE)


def trial_rows(trials: Trials | None) -> tuple[TrialRow, ...]:
    """A checked table as rows, in its own order."""
    if trials is None:
        return ()
    frame = trials.frame.sort_values("_order", kind="stable")
    return tuple(_row(record) for record in frame.to_dict("records"))


def read_trials(frame: pd.DataFrame) -> tuple[TrialRow, ...]:
    """The trial table as rows: `checked_trials`, then `trial_rows`."""
    return trial_rows(checked_trials(frame))


def _row(record: dict[Any, Any]) -> TrialRow:
    params = {
        str(name).removeprefix("param."): _param(value)
        for name, value in record.items()
        if str(name).startswith("param.") and not _absent(value)
    }
    outcome = str(record["outcome"])
    return TrialRow(
        trial=_text(record.get("trial")) or f"row {record['_order'] + 1}",
        phase=Phase(record["phase"]),
        slice=record["slice"],
        workload=record["workload"],
        family=record["family"],
        replicate=int(record["replicate"]),
        point=int(record["point"]),
        seed=int(record["seed"]),
        params=params,
        value=_number(record["value"]),
        select_value=_number(record["select_value"]),
        init_value=_number(record["init_value"]),
        outcome=None if outcome in NOT_ENDED else Outcome(outcome),
        steps=_whole(record["steps"]),
        device_seconds=_number(record["device_seconds"]) or 0.0,
        attempts=_whole(record.get("attempts")),
        reason=_text(record.get("reason")),
        report_accuracy=_number(record.get("report_accuracy")),
        select_accuracy=_number(record.get("select_accuracy")),
        capped=_number(record["capped"]),
        perturbed=_perturbed(record),
    )


def _perturbed(record: Mapping[Any, Any]) -> dict[str, dict[str, float]]:
    """Columns `perturbed.<name>.loss` and `perturbed.<name>.accuracy`, by name."""
    found: dict[str, dict[str, float]] = {}
    for column, value in record.items():
        head, _, rest = str(column).partition(".")
        name, _, score = rest.rpartition(".")
        number = _number(value) if head == "perturbed" and name else None
        if number is not None:
            found.setdefault(name, {})[score] = number
    return found


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
