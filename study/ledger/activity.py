"""What a view of a study must know of its trials, within the transaction that is given."""

from sqlalchemy import Connection, select

from study.ledger import schema
from study.ledger.measurements import newest_by_trial
from study.ledger.rows import TrialActivity
from study.ledger.trials import as_record, in_plan_order

_A = schema.attempt.c
_T = schema.trial.c


def listed(connection: Connection, study_id: int) -> list[TrialActivity]:
    """Every trial in the order in which it was planned, with what a view of it must know."""
    attempts = connection.execute(
        select(_A.trial_id, _A.started_at, _A.ended_at, _A.pack, _A.node)
        .join(schema.trial, _A.trial_id == _T.id)
        .where(_T.study_id == study_id)
        .order_by(_A.number)
    ).all()
    started_at: dict[int, float] = {}
    for attempt in attempts:
        started_at.setdefault(attempt.trial_id, attempt.started_at)
    last = {attempt.trial_id: attempt for attempt in attempts}
    closed_at = {trial_id: attempt.ended_at for trial_id, attempt in last.items()}
    newest = newest_by_trial(connection, study_id)
    return [
        TrialActivity(
            record=as_record(row),
            running=row.id in closed_at and closed_at[row.id] is None,
            started_at=started_at.get(row.id),
            ended_at=row.ended_at if row.ended_at is not None else closed_at.get(row.id),
            last_measurement=newest.get(row.id, 0),
            pack=last[row.id].pack if row.id in last else None,
            node=last[row.id].node if row.id in last else None,
        )
        for row in connection.execute(in_plan_order(study_id))
    ]
