"""Where all studies stand, within the transaction that is given: as many queries for many studies as for one."""

from sqlalchemy import Connection, func, select

from study.ledger import claims, schema, studies, trials
from study.ledger.rows import StudyStanding, StudyState

_A = schema.attempt.c
_S = schema.study.c
_T = schema.trial.c


def listed(connection: Connection, now: float) -> list[StudyStanding]:
    """Every study, the oldest first.

    Args:
        connection: of a transaction.
        now: Unix time in seconds, by which a driver is taken to be alive.
    """
    held = claims.living(connection, now)
    tallies = trials.tallies(connection)
    running = _num_running(connection)
    return [
        StudyStanding(
            record=record,
            holder=held.get(number),
            tallies=tallies.get(number, []),
            num_running=running.get(number, 0),
        )
        for number, record in studies.listed(connection).items()
    ]


def _num_running(connection: Connection) -> dict[int, int]:
    """Row number of each running study → its trials with an open attempt."""
    query = (
        select(_T.study_id, func.count())
        .join(schema.attempt, _A.trial_id == _T.id)
        .join(schema.study, _S.id == _T.study_id)
        .where(_S.state == StudyState.RUNNING.value, _A.ended_at.is_(None))
        .group_by(_T.study_id)
    )
    return dict(connection.execute(query).tuples().all())
