"""What trials measured and how ASHA decided on it, within the transaction that is given."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from search_spaces.errors import LedgerError
from study.ledger import schema
from study.ledger.inserting import insert_new
from study.ledger.trials import number, require_finite
from study.records import Measurement, RungRecord

_M = schema.measurement.c
_R = schema.rung.c
_T = schema.trial.c


def add(connection: Connection, study_id: int, measurement: Measurement) -> bool:
    """Keep a measurement; False where that step of the trial is there already, which is never changed.

    Raises:
        TrialFailedError: a metric is NaN or infinite.
        LedgerError: the trial was never planned.
    """
    metrics = require_finite(measurement.trial, measurement.metrics, f"at step {measurement.step}")
    row = {
        "trial_id": number(connection, study_id, measurement.trial),
        "step": measurement.step,
        "metrics": metrics,
        "recorded_at": measurement.recorded_at,
    }
    return insert_new(connection, schema.measurement, row)


def listed(connection: Connection, study_id: int, trial: str | None) -> list[Measurement]:
    """Measurements of one trial, or of all in planned order, by step."""
    query = (
        select(_T.key, _M.step, _M.metrics, _M.recorded_at)
        .join(schema.trial, _M.trial_id == _T.id)
        .where(_T.study_id == study_id)
        .order_by(_T.id, _M.step)
    )
    if trial is not None:
        query = query.where(_M.trial_id == number(connection, study_id, trial))
    return [_measurement(row) for row in connection.execute(query)]


def at(connection: Connection, numbers: Sequence[int]) -> list[Measurement]:
    """The measurements with some row numbers, in no order."""
    query = (
        select(_T.key, _M.step, _M.metrics, _M.recorded_at)
        .join(schema.trial, _M.trial_id == _T.id)
        .where(_M.id.in_(numbers))
    )
    return [_measurement(row) for row in connection.execute(query)]


def newer(
    connection: Connection, study_id: int, trial: str, after: int, limit: int
) -> list[tuple[int, Measurement]]:
    """The next measurements of a trial in the order of their arrival, each with its row number."""
    query = (
        select(_M.id, _T.key, _M.step, _M.metrics, _M.recorded_at)
        .join(schema.trial, _M.trial_id == _T.id)
        .where(_T.study_id == study_id, _T.key == trial, _M.id > after)
        .order_by(_M.id)
        .limit(limit)
    )
    return [(row.id, _measurement(row)) for row in connection.execute(query)]


def newest_by_trial(connection: Connection, trials: Sequence[int]) -> dict[int, int]:
    """Row number of the newest measurement of some trials, by the trial's row number."""
    query = select(_M.trial_id, func.max(_M.id)).where(_M.trial_id.in_(trials)).group_by(_M.trial_id)
    return {row[0]: row[1] for row in connection.execute(query)}


def add_rung(connection: Connection, study_id: int, rung: RungRecord) -> bool:
    """Keep a decision of ASHA; False where this very decision is there.

    Raises:
        LedgerError: the trial was decided at this rung in another way, or was never planned.
        TrialFailedError: the value or the cutoff is not finite.
    """
    require_finite(rung.trial, {"value": rung.value, "cutoff": rung.cutoff}, f"at rung {rung.rung}")
    trial_id = number(connection, study_id, rung.trial)
    row = {
        "study_id": study_id,
        "trial_id": trial_id,
        "family": rung.family,
        "rung": rung.rung,
        "value": rung.value,
        "cutoff": rung.cutoff,
        "num_recorded": rung.num_recorded,
        "action": rung.action,
    }
    if insert_new(connection, schema.rung, row):
        return True
    kept = connection.execute(_rungs(study_id).where(_R.trial_id == trial_id, _R.rung == rung.rung)).one()
    if _rung(kept) != rung:
        raise LedgerError(f"A rung was decided as {_rung(kept)} and cannot be decided again as {rung}.")
    return False


def rungs(connection: Connection, study_id: int, family: str | None) -> list[RungRecord]:
    """The decisions of one family, or of all, in the order in which they were made."""
    query = _rungs(study_id).order_by(_R.id)
    if family is not None:
        query = query.where(_R.family == family)
    return [_rung(row) for row in connection.execute(query)]


def _rungs(study_id: int) -> Any:
    columns: Sequence[Any] = [column for column in _R if column.name not in {"id", "study_id", "trial_id"}]
    return (
        select(_T.key.label("trial"), *columns)
        .join(schema.trial, _R.trial_id == _T.id)
        .where(_R.study_id == study_id)
    )


def _rung(row: Any) -> RungRecord:
    return RungRecord(**row._asdict())


def _measurement(row: Any) -> Measurement:
    return Measurement(trial=row.key, step=row.step, metrics=row.metrics, recorded_at=row.recorded_at)
