"""All studies of a ledger, as the first page lists them."""

from dataclasses import dataclass

from study.ledger import Ledger, StudyState
from study.service.pages.progress import current_phase, phase_rows
from study.service.pages.reading import Reading
from study.service.pages.tallies import Tally, whole


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """One study."""

    name: str
    state: StudyState
    phase: str
    """The phase that it is in; empty where all have ended."""
    tally: Tally
    families: tuple[str, ...]
    spent_s: float
    """Device-seconds of trials that have ended."""
    created_at: float
    """Unix time in seconds."""


def study_rows(ledger: Ledger, *, now: float) -> tuple[StudyRow, ...]:
    """Every study, the newest first.

    Args:
        ledger: the record.
        now: Unix time in seconds.
    """
    found = []
    for record in reversed(ledger.studies()):
        reading = Reading(
            now=now,
            record=record,
            holder=ledger.holder(record.name),
            trials=ledger.trial_activity(record.name),
            rungs=(),
            events=(),
            newest={},
        )
        phase = current_phase(phase_rows(reading))
        endings = [one.record.ending for one in reading.trials if one.record.ending is not None]
        found.append(
            StudyRow(
                name=record.name,
                state=reading.state,
                phase=phase.title if phase else "",
                tally=whole(reading),
                families=reading.families,
                spent_s=sum(ending.device_seconds for ending in endings),
                created_at=record.created_at,
            )
        )
    return tuple(found)
