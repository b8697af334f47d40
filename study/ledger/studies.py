"""Studies and their events, each function within the transaction it is given."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, delete, insert, select, update

from search_spaces.errors import LedgerError, SpecError, unknown
from study.ledger import schema
from study.ledger.inserting import insert_new
from study.ledger.rows import Event, StudyRecord, StudyState

_S = schema.study.c


def find(connection: Connection, name: str) -> int:
    """Row number of a study; a writing transaction holds the study's row until it ends.

    Raises:
        SpecError: there is no such study; says the nearest name.
    """
    query = select(_S.id).where(_S.name == name)
    if connection.get_execution_options().get("writes"):
        query = query.with_for_update()
    number = connection.scalar(query)
    if number is None:
        known = connection.scalars(select(_S.name)).all()
        if not known:
            raise SpecError(
                f"Unknown study {name!r}: this ledger holds no study yet, start one by "
                "`trialwright launch STUDY.yaml`, or name the home that holds it by --home DIR."
            )
        raise unknown("study", name, known)
    return int(number)


def create(connection: Connection, study: StudyRecord) -> StudyRecord:
    """Add a study, or give the one that is there when its spec is the same.

    Raises:
        SpecError: a study with this name and another spec exists.
    """
    if insert_new(connection, schema.study, _columns(study)):
        return study
    row = connection.execute(select(schema.study).where(_S.name == study.name)).one()
    if row.spec_digest != study.spec_digest:
        raise SpecError(
            f"Study {study.name!r} was started with another spec (digest {row.spec_digest[:12]}, now "
            f"{study.spec_digest[:12]}), and a study never changes once it is planned: "
            "undo the change, give the study a new name, or use another home."
        )
    return _record(row)


def fresh(
    *, name: str, spec: Mapping[str, Any], spec_digest: str, manifest: Mapping[str, Any], now: float
) -> StudyRecord:
    """A planned study that no ledger holds yet, with a name of its own for every ledger."""
    return StudyRecord(
        uid=uuid4().hex,
        name=name,
        spec_digest=spec_digest,
        spec=dict(spec),
        manifest=dict(manifest),
        plan=None,
        state=StudyState.PLANNED,
        created_at=now,
        changed_at=now,
    )


def get(connection: Connection, name: str) -> StudyRecord:
    """One study by name."""
    number = find(connection, name)
    return _record(connection.execute(select(schema.study).where(_S.id == number)).one())


def listed(connection: Connection) -> dict[int, StudyRecord]:
    """All studies by their row numbers, the oldest first."""
    return {row.id: _record(row) for row in connection.execute(select(schema.study).order_by(_S.id))}


def set_fields(connection: Connection, number: int, **fields: Any) -> None:
    """Overwrite columns of one study, by its row number."""
    connection.execute(update(schema.study).where(_S.id == number).values(**fields))


def remove(connection: Connection, name: str) -> None:
    """Delete a study and everything that belongs to it."""
    number = find(connection, name)
    connection.execute(delete(schema.study).where(_S.id == number))


def add_event(
    connection: Connection, study_id: int, kind: str, detail: Mapping[str, Any], now: float
) -> None:
    """Append to the study's events."""
    row = {"study_id": study_id, "kind": kind, "detail": dict(detail), "recorded_at": now}
    connection.execute(insert(schema.event).values(row))


def events(connection: Connection, name: str) -> list[Event]:
    """All events of a study in the order in which they happened."""
    columns = schema.event.c
    number = find(connection, name)
    rows = connection.execute(select(schema.event).where(columns.study_id == number).order_by(columns.id))
    return [Event(kind=row.kind, detail=row.detail, recorded_at=row.recorded_at) for row in rows]


def _columns(study: StudyRecord) -> dict[str, Any]:
    return {**asdict(study), "state": study.state.value}


def _record(row: Row[Any]) -> StudyRecord:
    try:
        state = StudyState(row.state)
    except ValueError as error:
        raise LedgerError(f"Study {row.name!r} is in the unknown state {row.state!r}.") from error
    fields = {column: value for column, value in row._asdict().items() if column not in {"id", "state"}}
    return StudyRecord(**fields, state=state)
