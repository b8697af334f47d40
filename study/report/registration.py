"""Whether the claims were there before the data: hash and time of the lock against the first trial that tests them."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from study.records import Phase
from study.report.words import moment
from study.statistics.results import Analysis

TESTED = (Phase.SENSITIVITY, Phase.LR_SLICE, Phase.FACTOR_SLICE, Phase.CONFIRMATION)
"""Phases whose trials a claim may rest on."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """How the claims file came about."""

    sha256: str
    """Of the canonical claims; empty where they were never locked."""
    locked_at: str
    commit: str
    first_tested_at: str
    """When the first trial that a claim may rest on was measured; empty where it is not recorded."""
    locked_first: bool | None
    """Whether the lock is older, or of the same moment; None where one of the times is missing."""
    amendments: tuple[str, ...]
    """One sentence each, oldest first."""


def registration(analysis: Analysis | None, phase_starts: Mapping[str, float]) -> Registration | None:
    """The registration of an analysis; None without claims.

    Args:
        analysis: the verdicts.
        phase_starts: phase → Unix time in seconds of its first measurement.
    """
    if analysis is None:
        return None
    registered = analysis.claim_set.registered
    starts = [phase_starts[phase.value] for phase in TESTED if phase.value in phase_starts]
    first = min(starts, default=None)
    locked = _seconds(registered.get("at", ""))
    return Registration(
        sha256=registered.get("sha256", ""),
        locked_at=moment(locked) if locked is not None else registered.get("at", ""),
        commit=registered.get("commit", ""),
        first_tested_at="" if first is None else moment(first),
        locked_first=None if first is None or locked is None else locked <= first,
        amendments=tuple(_amendment(one) for one in analysis.claim_set.amendments),
    )


def registration_sentence(found: Registration) -> str:
    """Lock and first trial in one sentence."""
    if not found.sha256:
        return "The claims file was never locked, so its claims are not registered."
    locked = f"The claims were locked at {found.locked_at or 'an unrecorded time'}"
    if not found.first_tested_at:
        return f"{locked}; when the first trial that tests them ran is not recorded."
    if found.locked_first is None:
        return f"{locked}; the first trial that tests them reported at {found.first_tested_at}."
    order = "before" if found.locked_first else "after"
    return f"{locked}, {order} the first trial that tests them reported at {found.first_tested_at}."


def _seconds(written: str) -> float | None:
    """An ISO 8601 time as Unix seconds; UTC where it names no zone."""
    try:
        at = dt.datetime.fromisoformat(written)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()


def _amendment(one: Mapping[str, str]) -> str:
    rest = {key: value for key, value in one.items() if key not in ("at", "reason", "claim")}
    head = " ".join(part for part in (one.get("at", ""), one.get("claim", "")) if part)
    told = "; ".join(f"{key} {value}" for key, value in rest.items())
    text = ": ".join(part for part in (head, one.get("reason", "").rstrip(".")) if part)
    return f"{text}{f' ({told})' if told else ''}."
