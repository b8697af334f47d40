"""What a study was expected to take when it was launched, and what it took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.records import CALIBRATED, Phase
from study.report.accounting import PHASE_TITLES
from study.report.blocks import Column, Table
from study.report.snapshot import Snapshot, TrialRow
from study.report.words import duration

TITLE = "Predicted and actual"
DASH = "\u2013"


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Compute of one phase, predicted or used so far."""

    trials: int
    """Trials that start."""
    steps: int
    """Optimizer steps of all of them."""
    device_seconds: float
    """Seconds of packs."""
    wall_seconds: float | None
    """Wall-clock seconds, once begun from the first to the last measurement; None where they are not recorded."""


@dataclass(frozen=True, kw_only=True)
class PhaseForecast:
    """One phase, as predicted at launch and as it went."""

    phase: Phase
    predicted: Spent
    actual: Spent


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A study's cost as its launch predicted it, beside what it was."""

    lanes: int
    """Trials that shared a pack."""
    packs: int
    steps_per_second: Mapping[str, float]
    """Lanes tried → trial-steps per second of a pack."""
    phases: tuple[PhaseForecast, ...]
    """In the order in which they run, where a trial was predicted or started."""
    num_calibrations: int
    """Launches that calibrated; the newest one's prediction is shown."""
    num_interrupted: int
    """Trials that were started more than once."""


def forecast(rows: Sequence[TrialRow], snapshot: Snapshot) -> Forecast | None:
    """The newest prediction beside what is known now; None where no launch calibrated."""
    details = [event["detail"] for event in snapshot.events if event.get("kind") == CALIBRATED]
    if not details:
        return None
    expected, calibration = details[-1]["prediction"], details[-1]["calibration"]
    both = ((phase, _predicted(expected, phase), _actual(rows, phase, snapshot)) for phase in Phase)
    return Forecast(
        lanes=int(details[-1]["lanes"]),
        packs=int(details[-1]["packs"]),
        steps_per_second={lanes: int(lanes) / seconds for lanes, seconds in calibration["step_s"].items()},
        phases=tuple(
            PhaseForecast(phase=phase, predicted=predicted, actual=actual)
            for phase, predicted, actual in both
            if predicted.trials or actual.trials
        ),
        num_calibrations=len(details),
        num_interrupted=sum(row.attempts > 1 for row in rows),
    )


def forecast_sentences(found: Forecast | None, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader must know of the table, or why there is none; nothing of a table without a study."""
    if found is None:
        told = "The study was launched without a calibration, so there is no prediction to compare with."
        return (told,) if spec else ()
    speeds = ", ".join(f"{speed:.2f} with {lanes}" for lanes, speed in found.steps_per_second.items())
    place = f"{_counted(found.packs, 'pack')} of {_counted(found.lanes, 'lane')} each"
    sentences = [
        f"Predicted at launch for {place}, from steps timed there at families' defaults.",
        f"Trial-steps per second of a pack by its lanes: {speeds}.",
        "A search is predicted with one in its reduction passing each rung.",
        "Wall-clock time runs from a phase's first to its last measurement, pauses of the study included.",
    ]
    if found.num_interrupted:
        times = "trial was" if found.num_interrupted == 1 else "trials were"
        sentences.append(
            f"{found.num_interrupted:,} {times} started more than once, so there were interruptions."
        )
    if found.num_calibrations > 1:
        sentences.append(
            f"The study was calibrated {found.num_calibrations} times; the newest prediction is shown."
        )
    return tuple(sentences)


def forecast_table(found: Forecast, spec: Mapping[str, Any]) -> Table:
    """One row a phase, and one for all: predicted, then actual."""
    pairs = ("Trials", "Steps", "Device time", "Wall clock")
    columns = (
        Column(title="Phase"),
        *(
            Column(title=f"{what}, {when}", numeric=True)
            for what in pairs
            for when in ("predicted", "actual")
        ),
    )
    rows = [(PHASE_TITLES[one.phase], *_cells(one.predicted, one.actual)) for one in found.phases]
    whole = [_whole([getattr(one, when) for one in found.phases]) for when in ("predicted", "actual")]
    rows.append(("All", *_cells(*whole)))
    return Table(
        title=TITLE, columns=columns, rows=tuple(rows), note=" ".join(forecast_sentences(found, spec))
    )


def _predicted(expected: Mapping[str, Any], phase: Phase) -> Spent:
    return Spent(
        trials=expected["trials"].get(phase, 0),
        steps=expected["steps"].get(phase, 0),
        device_seconds=sum(expected["device_seconds"].get(phase, {}).values()),
        wall_seconds=expected["seconds"].get(phase, 0.0),
    )


def _actual(rows: Sequence[TrialRow], phase: Phase, snapshot: Snapshot) -> Spent:
    mine = [row for row in rows if row.phase is phase]
    first, last = snapshot.phase_starts.get(phase), snapshot.phase_ends.get(phase)
    return Spent(
        trials=sum(row.steps > 0 or row.outcome is not None for row in mine),
        steps=sum(row.steps for row in mine),
        device_seconds=sum(row.device_seconds for row in mine),
        wall_seconds=None if first is None or last is None else last - first,
    )


def _whole(phases: Sequence[Spent]) -> Spent:
    clocked = [one.wall_seconds for one in phases if one.wall_seconds is not None]
    return Spent(
        trials=sum(one.trials for one in phases),
        steps=sum(one.steps for one in phases),
        device_seconds=sum(one.device_seconds for one in phases),
        wall_seconds=sum(clocked) if clocked else None,
    )


def _cells(predicted: Spent, actual: Spent) -> tuple[str, ...]:
    return tuple(cell for both in zip(_shown(predicted), _shown(actual), strict=True) for cell in both)


def _shown(spent: Spent) -> tuple[str, str, str, str]:
    wall = DASH if spent.wall_seconds is None else duration(spent.wall_seconds)
    return (f"{spent.trials:,}", f"{spent.steps:,}", duration(spent.device_seconds), wall)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"
