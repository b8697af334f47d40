"""The service's tokens and the requests that it has served, within the transaction that is given."""

import hmac
from math import isfinite

from sqlalchemy import Connection, Row, func, insert, select, update

from search_spaces.errors import LedgerError, SpecError, unknown
from study.ledger import schema
from study.ledger.inserting import insert_new
from study.ledger.rows import Scope, Token

_T = schema.token.c
_R = schema.request.c


def add_token(
    connection: Connection, name: str, scope: Scope, digest: str, *, expires_at: float | None, now: float
) -> None:
    """Keep a token.

    Raises:
        SpecError: the name is taken.
        LedgerError: it expires at no point in time.
    """
    if expires_at is not None and not isfinite(expires_at):
        raise LedgerError(f"The token {name!r} cannot expire at {expires_at}: give it a time, or none.")
    if connection.scalar(select(func.count()).where(_T.name == name)):
        raise SpecError(
            f"There is a token {name!r} already, perhaps a revoked one: give the new one another name."
        )
    row = {
        "name": name,
        "scope": scope.value,
        "digest": digest,
        "created_at": now,
        "expires_at": expires_at,
    }
    connection.execute(insert(schema.token).values(row))


def tokens(connection: Connection) -> list[Token]:
    """All tokens, the oldest first."""
    return [_token(row) for row in connection.execute(select(schema.token).order_by(_T.id))]


def token(connection: Connection, digest: str) -> Token | None:
    """The token with a digest."""
    row = connection.execute(select(schema.token).where(_T.digest == digest)).one_or_none()
    is_it = row is not None and hmac.compare_digest(row.digest, digest)  # whatever the database calls equal
    return _token(row) if row is not None and is_it else None


def revoke(connection: Connection, name: str, now: float) -> None:
    """Mark a token as revoked; the first time counts.

    Raises:
        SpecError: there is no such token; says the nearest name.
    """
    names = connection.scalars(select(_T.name)).all()
    if name not in names:
        raise unknown("token", name, names)
    connection.execute(
        update(schema.token).where(_T.name == name, _T.revoked_at.is_(None)).values(revoked_at=now)
    )


def claim_request(connection: Connection, key: str, digest: str, study: str, now: float) -> str:
    """Note a request, or give the study of the one that was noted before with this key.

    Raises:
        SpecError: it had other content.
    """
    row = {"key": key, "digest": digest, "study": study, "created_at": now}
    if insert_new(connection, schema.request, row):
        return study
    kept = connection.execute(select(_R.digest, _R.study).where(_R.key == key)).one()
    if kept.digest != digest:
        raise SpecError(f"The idempotency key {key!r} was used with another request: send a new key.")
    return str(kept.study)


def _token(row: Row[tuple[object, ...]]) -> Token:
    return Token(
        name=row.name,
        scope=Scope(row.scope),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
