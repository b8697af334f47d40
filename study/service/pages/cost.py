"""What a study has cost, what is to come, and how long that will take."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.records import CALIBRATED, Phase
from study.service.pages.reading import Reading

FEWEST_FOR_PACE = 4
"""Trials that must have ended under the present driver before its pace says anything."""
SHORTEST_FOR_PACE_S = 20.0


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """Device-seconds of one phase."""

    phase: Phase
    spent_s: float
    to_come_s: float | None
    """Absent where nothing is known to judge by."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Device-seconds of a study; those of trials that still train are counted when they end."""

    phases: tuple[PhaseCost, ...]
    spent_s: float
    to_come_s: float | None
    """Absent while nothing is known to judge by."""
    left_s: float | None
    """Wall-clock seconds to the end; absent where the study does not run, or nothing is known to judge by."""
    by: str
    """What `to_come_s` is judged by: `calibration`, `trials` or nothing."""
    predicted: Mapping[str, Any]
    """What the launch predicted, as `study.prediction.predicted` says; empty without a calibration."""


def cost(reading: Reading) -> Cost:
    """Judge a study's cost by its calibration, or, without one, by the trials that have ended."""
    predicted = _prediction(reading)
    spent = _spent(reading)
    rates = _rates(reading, predicted)
    open_trials = _open_trials(reading)
    phases = []
    for phase in reading.counts:
        here = {family: number for (place, family), number in open_trials.items() if place is phase}
        known = [rates.get((phase, family)) for family in here]
        to_come = (
            None if None in known else sum(rates[phase, family] * number for family, number in here.items())
        )
        phases.append(PhaseCost(phase=phase, spent_s=spent[phase], to_come_s=to_come))
    parts = [one.to_come_s for one in phases]
    to_come_s = None if None in parts else sum(part for part in parts if part is not None)
    return Cost(
        phases=tuple(phases),
        spent_s=sum(spent.values()),
        to_come_s=to_come_s,
        left_s=_left_s(reading, to_come_s, predicted),
        by="" if to_come_s is None else "calibration" if predicted else "trials",
        predicted=predicted,
    )


def _prediction(reading: Reading) -> Mapping[str, Any]:
    for event in reversed(reading.events):
        if event.kind == CALIBRATED:
            return event.detail.get("prediction") or {}
    return {}


def _spent(reading: Reading) -> dict[Phase, float]:
    spent: dict[Phase, float] = defaultdict(float)
    for one in reading.trials:
        if one.record.ending is not None:
            spent[one.record.planned.phase] += one.record.ending.device_seconds
    return spent


def _open_trials(reading: Reading) -> dict[tuple[Phase, str], int]:
    """Trials that have not ended, by phase and family."""
    found = {
        (phase, family): number
        for phase, families in reading.counts.items()
        for family, number in families.items()
    }
    for one in reading.trials:
        if one.record.ending is not None:
            found[one.record.planned.phase, one.record.planned.family] -= 1
    return {place: max(0, number) for place, number in found.items()}


def _rates(reading: Reading, predicted: Mapping[str, Any]) -> dict[tuple[Phase, str], float]:
    """Device-seconds of a trial, by phase and family."""
    counts = reading.counts
    if predicted:
        return {
            (Phase(phase), family): seconds / max(1, counts.get(Phase(phase), {}).get(family, 0))
            for phase, families in predicted.get("device_seconds", {}).items()
            for family, seconds in families.items()
        }
    ended = [
        one.record.ending
        for one in reading.trials
        if one.record.ending is not None and one.record.ending.steps
    ]
    if not ended:
        return {}
    step_s = sum(ending.device_seconds for ending in ended) / sum(ending.steps for ending in ended)
    return {
        (phase, family): step_s * reading.steps for phase, families in counts.items() for family in families
    }


def _left_s(reading: Reading, to_come_s: float | None, predicted: Mapping[str, Any]) -> float | None:
    """At the pace of the present driver, else as it was predicted."""
    if reading.holder is None or to_come_s is None:
        return None
    since = reading.holder.claimed_at
    ended = [
        one.record.ending.device_seconds
        for one in reading.trials
        if one.record.ending is not None and one.ended_at is not None and one.ended_at >= since
    ]
    elapsed_s = reading.now - since
    if len(ended) >= FEWEST_FOR_PACE and elapsed_s >= SHORTEST_FOR_PACE_S and sum(ended) > 0:
        return to_come_s * elapsed_s / sum(ended)
    total_s = sum(sum(families.values()) for families in predicted.get("device_seconds", {}).values())
    hours = predicted.get("hours")
    return 3600 * hours * to_come_s / total_s if hours and total_s else None
