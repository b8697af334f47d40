"""What a view of a study must know of its trials, within the transaction that is given.

A view looks again and again, and most trials of a large study have not changed since: they are kept.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Row, select

from study.ledger import schema
from study.ledger.measurements import newest_by_trial
from study.ledger.rows import TrialActivity
from study.ledger.trials import as_record

MOST_STUDIES = 8
"""Studies whose trials are kept: those that were looked at last."""
_BATCH = 500
"""Trials read by one query."""

_A = schema.attempt.c
_T = schema.trial.c


@dataclass
class _Study:
    lock: Lock = field(default_factory=Lock)
    stands: dict[int, tuple[str | None, int]] = field(default_factory=dict)
    """Row number of each trial → its outcome and its number of attempts."""
    trials: dict[int, TrialActivity] = field(default_factory=dict)

    def keep(self, trials: dict[int, TrialActivity]) -> None:
        """Put trials in place of what was kept of them."""
        self.trials |= trials
        for number, one in trials.items():
            ending = one.record.ending
            self.stands[number] = (ending.outcome if ending else None, one.record.attempts)


class Activity:
    """Every trial of the studies that were looked at last; a look reads what may have changed since the one before.

    A trial that has not started or that has ended changes only together with its outcome or its number of attempts,
    which are read of all trials; a trial under way is read anew each time.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = Lock()
        self._studies: OrderedDict[str, _Study] = OrderedDict()

    def listed(self, connection: Connection, study_id: int) -> list[TrialActivity]:
        """Every trial in the order in which it was planned."""
        study = self._study(connection, study_id)
        with study.lock:
            query = select(_T.id, _T.outcome, _T.attempts).where(_T.study_id == study_id).order_by(_T.id)
            now = {number: (outcome, attempts) for number, outcome, attempts in connection.execute(query)}
            changed = [
                number
                for number, (outcome, attempts) in now.items()
                if study.stands.get(number) != (outcome, attempts) or (outcome is None and attempts)
            ]
            for start in range(0, len(changed), _BATCH):
                study.keep(_read(connection, changed[start : start + _BATCH]))
            return [study.trials[number] for number in now if number in study.trials]

    def _study(self, connection: Connection, study_id: int) -> _Study:
        """What is kept of a study; its row number may be another's once it is deleted, its uid never is."""
        uid = connection.scalars(select(schema.study.c.uid).where(schema.study.c.id == study_id)).one()
        with self._lock:
            study = self._studies.setdefault(uid, _Study())
            self._studies.move_to_end(uid)
            while len(self._studies) > MOST_STUDIES:
                self._studies.popitem(last=False)
            return study


def _read(connection: Connection, numbers: Sequence[int]) -> dict[int, TrialActivity]:
    """Some trials by their row numbers."""
    rows = connection.execute(select(schema.trial).where(_T.id.in_(numbers)))
    attempts: dict[int, list[Row[Any]]] = {}
    for attempt in connection.execute(
        select(_A.trial_id, _A.started_at, _A.ended_at, _A.pack, _A.node)
        .where(_A.trial_id.in_(numbers))
        .order_by(_A.number)
    ):
        attempts.setdefault(attempt.trial_id, []).append(attempt)
    newest = newest_by_trial(connection, numbers)
    return {row.id: _activity(row, attempts.get(row.id, []), newest.get(row.id, 0)) for row in rows}


def _activity(row: Row[Any], attempts: Sequence[Row[Any]], newest: int) -> TrialActivity:
    first, last = (attempts[0], attempts[-1]) if attempts else (None, None)
    closed_at = last.ended_at if last else None
    return TrialActivity(
        record=as_record(row),
        running=last is not None and closed_at is None,
        started_at=first.started_at if first else None,
        ended_at=row.ended_at if row.ended_at is not None else closed_at,
        last_measurement=newest,
        pack=last.pack if last else None,
        node=last.node if last else None,
    )
