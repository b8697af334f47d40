"""A study's trials a page at a time, filtered."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.ledger import Ledger, TrialActivity
from study.records import TrialRecord
from study.service.pages.reading import Reading

PAGE_SIZE = 50
KINDS = ("finished", "stopped", "diverged", "lost", "running", "waiting")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One trial."""

    record: TrialRecord
    kind: str
    """As `Reading.kind` says."""
    pack: int | None


@dataclass(frozen=True, kw_only=True)
class Found:
    """One page of the trials that were asked for."""

    rows: Sequence[Row]
    total: int
    page: int
    """1 for the first."""
    num_pages: int
    families: tuple[str, ...]
    """Of the study."""
    steps: int
    """A trial's full budget."""

    @property
    def first(self) -> int:
        """Number of the first trial of the page."""
        return PAGE_SIZE * (self.page - 1) + 1

    @property
    def last(self) -> int:
        """Number of the last trial of the page."""
        return self.first + len(self.rows) - 1


def find_trials(
    ledger: Ledger, study: str, *, phase: str, family: str, kind: str, page: int, now: float
) -> Found:
    """Trials in planned order.

    Args:
        ledger: the record.
        study: its name.
        phase: one phase; empty: all.
        family: one family; empty: all.
        kind: one of `KINDS`; empty: all.
        page: which page, at least 1; beyond the last one, the last one.
        now: Unix time in seconds.

    Raises:
        SpecError: there is no such study.
    """
    reading = Reading(
        now=now,
        record=ledger.study(study),
        holder=ledger.holder(study),
        trials=ledger.trial_activity(study),
        rungs=(),
        events=(),
        newest={},
    )

    def is_wanted(one: TrialActivity) -> bool:
        planned = one.record.planned
        fits = phase in {"", planned.phase.value} and family in {"", planned.family}
        return fits and kind in {"", reading.kind(one)}

    wanted = [one for one in reading.trials if is_wanted(one)]
    num_pages = max(1, -(-len(wanted) // PAGE_SIZE))
    page = min(max(1, page), num_pages)
    shown = wanted[PAGE_SIZE * (page - 1) : PAGE_SIZE * page]
    return Found(
        rows=[Row(record=one.record, kind=reading.kind(one), pack=one.pack) for one in shown],
        total=len(wanted),
        page=page,
        num_pages=num_pages,
        families=reading.families,
        steps=reading.steps,
    )
