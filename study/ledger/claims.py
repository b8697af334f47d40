"""Who drives a study: one process at a time, and a dead one gives way.

Signs of life are compared by the drivers' own clocks, so hosts that share a ledger keep time to within
half a minute of each other, as NTP does.
"""

import os
import platform
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from search_spaces.errors import ClaimLostError, SpecError
from study.ledger import schema
from study.ledger.rows import Claim, StudyState
from study.records import CONNECTED

STALE_AFTER_S = 60.0
"""A driver that gave no sign of life for so long is taken to be dead."""

_C = schema.claim.c


def mine(owner: str, now: float) -> Claim:
    """The claim of this process."""
    return Claim(
        owner=owner,
        host=platform.node(),
        machine=_machine(),
        pid=os.getpid(),
        process_started_at=psutil.Process().create_time(),
        claimed_at=now,
        heartbeat_at=now,
    )


def holder(connection: Connection, study_id: int) -> Claim | None:
    """Who holds the study, alive or not; absent where nobody does."""
    row = connection.execute(select(schema.claim).where(_C.study_id == study_id)).one_or_none()
    if row is None:
        return None
    return _claim(row)


def living(connection: Connection, now: float) -> dict[int, Claim]:
    """Row number of each study that is driven → its driver, which gave a sign of life."""
    held = {row.study_id: _claim(row) for row in connection.execute(select(schema.claim))}
    return {number: claim for number, claim in held.items() if is_alive(claim, now=now)}


def running_on(connection: Connection, cluster: str) -> list[Claim]:
    """Claims, alive or not, on running studies that used a Ray cluster last."""
    event = schema.event.c
    newest = (
        select(event.study_id, func.max(event.id).label("id"))
        .where(event.kind == CONNECTED)
        .group_by(event.study_id)
        .subquery()
    )
    rows = connection.execute(
        select(schema.claim, event.detail)
        .join(schema.study, schema.study.c.id == _C.study_id)
        .join(newest, newest.c.study_id == _C.study_id)
        .join(schema.event, event.id == newest.c.id)
        .where(schema.study.c.state == StudyState.RUNNING.value)
    )
    return [_claim(row) for row in rows if row.detail.get("cluster") == cluster]


def take(connection: Connection, study_id: int, name: str, claim: Claim) -> None:
    """Make the study this process's, unless another one that lives holds it.

    Raises:
        SpecError: another driver holds it; says which.
    """
    held = holder(connection, study_id)
    if held is not None and is_alive(held, now=claim.claimed_at) and not _same_process(held, claim):
        raise SpecError(
            f"Study {name!r} is being run by process {held.pid} on {held.host} (last sign of life "
            f"{max(0.0, claim.claimed_at - held.heartbeat_at):.0f} s ago), and a study has one driver at a "
            f"time: wait for it, or end it with `trialwright stop {name}`."
        )
    connection.execute(delete(schema.claim).where(_C.study_id == study_id))
    row: dict[str, Any] = asdict(claim)
    connection.execute(insert(schema.claim).values(study_id=study_id, **row))


def require(connection: Connection, study_id: int, name: str, owner: str) -> None:
    """Refuse a driver that does not hold the study.

    Raises:
        ClaimLostError: another driver holds it, or none does.
    """
    held = holder(connection, study_id)
    if held is None or held.owner != owner:
        by = f"by process {held.pid} on {held.host}" if held else "released"
        raise ClaimLostError(
            f"Study {name!r} is no longer driven by this process, {owner}, but {by}: it gave no sign of life for "
            f"more than {STALE_AFTER_S:.0f} s, so it stops and writes nothing more; the record is whole."
        )


def beat(connection: Connection, study_id: int, name: str, owner: str, now: float) -> None:
    """Give a sign of life.

    Raises:
        ClaimLostError: the study is no longer this driver's; it must stop.
    """
    require(connection, study_id, name, owner)
    connection.execute(
        update(schema.claim).where(_C.study_id == study_id, _C.owner == owner).values(heartbeat_at=now)
    )


def give_up(connection: Connection, study_id: int, owner: str) -> bool:
    """End this driver's claim; False where it had none."""
    found = connection.execute(delete(schema.claim).where(_C.study_id == study_id, _C.owner == owner))
    return found.rowcount > 0


def is_alive(claim: Claim, *, now: float) -> bool:
    """Whether the holder gave a sign of life lately and, on this machine, its process is there."""
    if now - claim.heartbeat_at > STALE_AFTER_S:
        return False
    if claim.machine != _machine():
        return True
    try:
        process = psutil.Process(claim.pid)
        started_at = process.create_time()
        if process.status() == psutil.STATUS_ZOMBIE:  # it has ended, and only its parent has not noticed
            return False
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return abs(started_at - claim.process_started_at) < 1.0


def _claim(row: Row[Any]) -> Claim:
    return Claim(**{field.name: getattr(row, field.name) for field in fields(Claim)})


def _same_process(one: Claim, other: Claim) -> bool:
    return (one.owner, one.machine, one.pid) == (other.owner, other.machine, other.pid)


def _machine() -> str:
    """The host's name, boot and process space: containers may share the first two."""
    parts = [platform.node()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        pass  # not Linux: the host's name has to do
    return "/".join(parts)
