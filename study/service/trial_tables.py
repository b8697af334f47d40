"""Trials and measurements for the API: documents in pages, and whole tables."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from study.ledger import Ledger, TrialActivity
from study.records import Measurement
from study.trial_table import curves, trial_table

if TYPE_CHECKING:
    import pandas as pd

Fits = Callable[[TrialActivity], bool]
"""Whether a trial is meant."""


def trial_document(trial: TrialActivity) -> dict[str, Any]:
    """A trial as plain JSON: what was planned, how it ended, where it trains."""
    planned, ending = trial.record.planned, trial.record.ending
    return {
        "trial": planned.key,
        "phase": planned.phase.value,
        "slice": planned.slice,
        "family": planned.family,
        "replicate": planned.replicate,
        "point": planned.point,
        "seed": planned.seed,
        "params": dict(planned.params),
        "steps": planned.steps,
        "attempts": trial.record.attempts,
        "running": trial.running,
        "pack": trial.pack,
        "node": trial.node,
        "started_at": trial.started_at,
        "ended_at": trial.ended_at,
        "outcome": ending.outcome.value if ending else None,
        "steps_done": ending.steps if ending else None,
        "reason": ending.reason if ending else "",
        "value": ending.value if ending else None,
        "select_value": ending.select_value if ending else None,
        "init_value": ending.init_value if ending else None,
        "device_seconds": ending.device_seconds if ending else None,
        "metrics": dict(ending.metrics or {}) if ending else {},
    }


def measurement_document(measurement: Measurement) -> dict[str, Any]:
    """A measurement as plain JSON."""
    return {**asdict(measurement), "metrics": dict(measurement.metrics)}


def trials_page(
    trials: Sequence[TrialActivity], fits: Fits, *, start: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Documents of the trials that fit, and the position at which the next page begins.

    Args:
        trials: all of a study, in planned order: positions hold as it grows, and whatever the trials become.
        fits: which of them are meant.
        start: position of the first.
        limit: most documents on the page.
    """
    places = [place for place in range(start, len(trials)) if fits(trials[place])]
    chosen = places[:limit]
    following = places[limit] if len(places) > limit else None
    return [trial_document(trials[place]) for place in chosen], following


def measurements_page(
    ledger: Ledger,
    study: str,
    trials: Sequence[TrialActivity],
    fits: Fits,
    *,
    start: tuple[int, ...],
    limit: int,
) -> tuple[list[dict[str, Any]], tuple[int, int] | None]:
    """Measurements by trial in planned order, then in the order of their arrival, and where the next page begins.

    Args:
        ledger: the record.
        study: its name.
        trials: all of the study, in planned order.
        fits: which of them are meant.
        start: position of the first trial, and the row number of its measurement after which the page begins.
        limit: most measurements on the page.
    """
    first, after = start
    found: list[dict[str, Any]] = []
    for place in range(first, len(trials)):
        trial = trials[place]
        if fits(trial) and trial.last_measurement > after:
            key, room = trial.record.planned.key, limit - len(found)
            rows = ledger.newer_measurements(study, key, after=after, limit=room)
            found += [measurement_document(measurement) for _, measurement in rows]
            if len(found) == limit:
                return found, (place, rows[-1][0])
        after = 0
    return found, None


def trial_frame(ledger: Ledger, study: str, keys: set[str]) -> "pd.DataFrame":
    """The trial table of some trials."""
    table = trial_table(ledger, study)
    return table[table["trial"].isin(keys)]


def curve_frame(ledger: Ledger, study: str, keys: set[str]) -> "pd.DataFrame":
    """The measurements of some trials as a table."""
    table = curves(ledger, study)
    return table[table["trial"].isin(keys)]
