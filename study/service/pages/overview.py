"""All studies of a ledger, as the first page lists them."""

from collections import Counter
from dataclasses import dataclass

from study.ledger import Ledger, StudyStanding, StudyState
from study.records import Outcome, Phase
from study.service.pages.progress import PHASE_TITLES
from study.service.pages.reading import planned_counts
from study.service.pages.tallies import Tally, tally_of


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


def study_rows(ledger: Ledger) -> tuple[StudyRow, ...]:
    """Every study, the newest first; trials are counted by the ledger and not read."""
    return tuple(_row(standing) for standing in reversed(ledger.standings()))


def _row(standing: StudyStanding) -> StudyRow:
    record = standing.record
    laid_out: Counter[tuple[Phase, str]] = Counter()
    outcomes: Counter[Outcome | None] = Counter()
    ended: Counter[Phase] = Counter()
    for one in standing.tallies:
        laid_out[one.phase, one.family] += one.number
        outcomes[one.outcome] += one.number
        ended[one.phase] += 0 if one.outcome is None else one.number
    counts = {phase: sum(families.values()) for phase, families in planned_counts(record, laid_out).items()}
    named = [str(name) for name in record.spec.get("families", ())]
    return StudyRow(
        name=record.name,
        state=standing.state,
        phase=next((PHASE_TITLES[phase] for phase, number in counts.items() if ended[phase] < number), ""),
        tally=tally_of(
            outcomes,
            planned=sum(counts.values()),
            running=standing.num_running if standing.holder else 0,
        ),
        families=tuple(dict.fromkeys([*named, *(family for _, family in laid_out)])),
        spent_s=sum(one.device_seconds for one in standing.tallies),
        created_at=record.created_at,
    )
