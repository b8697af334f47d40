"""What the API and the pages both show of studies, as plain JSON read from the ledger."""

import time
from dataclasses import dataclass
from typing import Any

from study.ledger import Ledger, StudyStanding, StudyState
from study.service.launcher import DRIVER_FAILED, SUBMITTED
from study.status import study_status

LAUNCH_PATIENCE_S = 600.0
"""How long a driver that was asked for may take to claim its study."""
_ENDED = frozenset({StudyState.FINISHED.value, StudyState.FAILED.value})


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A study that is watched, at one moment."""

    document: dict[str, Any]
    """As `status_document` gives it."""
    is_over: bool
    """Whether nothing will change by itself any more."""
    problem: str = ""
    """How its last driver failed; empty where none did."""


def status_document(ledger: Ledger, study: str) -> dict[str, Any]:
    """How far a study is: the document of `trialwright status --json`.

    Raises:
        SpecError: there is no such study.
    """
    return study_status(ledger, study)[0]


def studies_list(ledger: Ledger) -> list[dict[str, Any]]:
    """All studies with where they stand, the newest first."""
    return [_summary(standing) for standing in reversed(ledger.standings())]


def watched(ledger: Ledger, study: str, *, now: float | None = None) -> Watched:
    """What a watcher is to know now.

    Args:
        ledger: the record.
        study: its name.
        now: Unix time in seconds; None: this moment.

    Raises:
        SpecError: there is no such study.
    """
    document = status_document(ledger, study)
    if document["state"] == StudyState.RUNNING or document["state"] in _ENDED:
        return Watched(document=document, is_over=document["state"] in _ENDED)
    waits = document["driver"] is not None or is_starting(ledger, study, now=now)
    problem = driver_problem(
        ledger, study
    )  # read last: a driver that failed meanwhile is why nobody is waited for
    # What was read after the document may be of a driver that has come since: then there is more to tell.
    is_over = not waits and status_document(ledger, study)["state"] == document["state"]
    return Watched(document=document, is_over=is_over, problem=problem if is_over else "")


def is_starting(ledger: Ledger, study: str, *, now: float | None = None) -> bool:
    """Whether a driver was asked for that has not been heard of yet."""
    asked = [event for event in ledger.events(study) if event.kind == SUBMITTED]
    if not asked or driver_problem(ledger, study):
        return False
    asked_at = asked[-1].recorded_at
    patient = (time.time() if now is None else now) - asked_at < LAUNCH_PATIENCE_S
    return patient and asked_at >= ledger.study(study).changed_at


def driver_problem(ledger: Ledger, study: str) -> str:
    """The last line of the newest driver that was asked for, if it failed and nobody drove since; else empty."""
    events = ledger.events(study)
    asked = [event for event in events if event.kind == SUBMITTED]
    if not asked:
        return ""
    job, changed_at = asked[-1].detail.get("job"), ledger.study(study).changed_at
    logs = [
        str(event.detail.get("log", ""))
        for event in events
        if event.kind == DRIVER_FAILED and event.detail.get("job") == job and event.recorded_at >= changed_at
    ]
    if not logs:
        return ""
    last = logs[-1].strip().rpartition("\n")[2].removeprefix("trialwright: ")
    return last or "It ended without a word."


def _summary(standing: StudyStanding) -> dict[str, Any]:
    record = standing.record
    planned = int((record.plan or {}).get("num_trials", 0))
    return {
        "study": record.name,
        "state": standing.state.value,
        "created_at": record.created_at,
        "changed_at": record.changed_at,
        "families": list(record.spec.get("families", ())),
        "num_trials": max(planned, sum(one.number for one in standing.tallies)),
        "num_ended": sum(one.number for one in standing.tallies if one.outcome is not None),
    }
