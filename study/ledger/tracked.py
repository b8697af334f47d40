"""What has arrived in a tracking store, within the transaction that is given.

A row without a run id is an intent: the run may or may not have been created when the word got lost, so the
tracker looks for it before it creates one.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, select, update

from study.ledger import schema
from study.ledger.inserting import insert_new
from study.ledger.rows import RunKind, TrackedRun

_C = schema.tracked_run.c


def listed(connection: Connection, study_id: int, store: str) -> list[TrackedRun]:
    """Everything of a study that was shipped, or was about to be, to one store."""
    query = (
        select(_C.kind, _C.key, _C.run_id, _C.shipped_measurement, _C.shipped_state)
        .where(_C.study_id == study_id, _C.store == store)
        .order_by(_C.id)
    )
    return [_run(row._asdict()) for row in connection.execute(query)]


def intend(connection: Connection, study_id: int, store: str, kind: RunKind, key: str) -> bool:
    """Note that a run is about to be created; False where that was noted before."""
    row = {"study_id": study_id, "store": store, "kind": kind.value, "key": key}
    return insert_new(connection, schema.tracked_run, row | {"shipped_measurement": 0, "shipped_state": ""})


def save(connection: Connection, study_id: int, store: str, run: TrackedRun) -> None:
    """Keep what has arrived of a run that was noted."""
    connection.execute(
        update(schema.tracked_run)
        .where(*_is(study_id, store, run.kind, run.key))
        .values(
            run_id=run.run_id,
            shipped_measurement=run.shipped_measurement,
            shipped_state=run.shipped_state,
        )
    )


def forget(connection: Connection, study_id: int, store: str, kind: RunKind | None, key: str) -> None:
    """Drop what was noted of one run, or of the whole store where `kind` is absent."""
    where = [_C.study_id == study_id, _C.store == store]
    if kind is not None:
        where = _is(study_id, store, kind, key)
    else:
        where.append(_C.kind != RunKind.ARTIFACTS.value)
    connection.execute(delete(schema.tracked_run).where(*where))


def _is(study_id: int, store: str, kind: RunKind, key: str) -> list[Any]:
    return [_C.study_id == study_id, _C.store == store, _C.kind == kind.value, _C.key == key]


def _run(row: Mapping[str, Any]) -> TrackedRun:
    return TrackedRun(**{**row, "kind": RunKind(row["kind"])})
