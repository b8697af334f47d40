"""Opening the ledger's database, bringing it to the newest schema, and its transactions."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, StatementError

from search_spaces.errors import LedgerError, RetryableError, SpecError
from study.migrations import HEAD

BUSY_TIMEOUT_S = 30.0
"""How long a transaction waits for another process to finish its own."""
CONNECT_PATIENCE_S = 60.0
"""How long a server that was reached before may be away before a transaction gives up."""
_MIGRATION_LOCK = 0x7472_6961_6C77
"""Key of PostgreSQL's advisory lock, so that two processes never migrate at once."""

_SECRET = re.compile("password|secret|token|key", re.IGNORECASE)
"""In the name of a part of an address's query that no message repeats."""
_MALFORMED = (
    "The ledger's address is not a database URL: write sqlite:///<file> or postgresql://<host>/<database>, with '%40' "
    "for '@' and '%3A' for ':' in a password."
)

_to_json = partial(json.dumps, allow_nan=False, ensure_ascii=False)


def open_engine(url: str) -> Engine:
    """Connect to the ledger's database and bring it to the newest schema.

    Args:
        url: `sqlite:///<file>` or `postgresql://…`.

    Raises:
        SpecError: the address is wrong, or the database cannot be read or written.
        LedgerError: a newer version of the program wrote the ledger.
    """
    parsed = _parse(url)
    try:
        if parsed.database and parsed.get_backend_name() == "sqlite":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, json_serializer=_to_json, pool_pre_ping=parsed.host is not None)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        _migrate(engine)
    except ArgumentError:
        raise SpecError(_MALFORMED) from None
    except (DBAPIError, OSError) as error:
        raise SpecError(
            f"The ledger {shown(parsed)!r} cannot be opened ({_reason(error)}): "
            "name a home that you can write, or a database that you can reach."
        ) from error
    return engine


def connect_to_database(url: str) -> None:
    """Connect once to a PostgreSQL server, within ten seconds; raises what its driver raises."""
    create_engine(url, connect_args={"connect_timeout": 10}).connect().close()


def shown(url: URL) -> str:
    """The address without its password and without the secrets in its query."""
    query = {name: "..." if _SECRET.search(name) else said for name, said in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.drivername in {"postgresql", "postgres"}:
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
            raise SpecError(
                f"The ledger {shown(parsed)!r} is neither SQLite nor PostgreSQL: "
                "write sqlite:///<file> or postgresql://<host>/<database>."
            )
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, ValueError):  # which repeat the address, password and all
        raise SpecError(_MALFORMED) from None
    except ModuleNotFoundError as error:
        raise SpecError(
            f"The ledger {shown(parsed)!r} needs a driver that is not installed: "
            "run `pip install 'trialwright[postgres]'`."
        ) from error
    return parsed


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Make SQLite durable, patient and strict; SQLAlchemy, not the driver, begins transactions."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once where a transaction writes: a later upgrade could only fail."""
    writes = connection.get_execution_options().get("writes", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _migrate(engine: Engine) -> None:
    with engine.connect().execution_options(writes=False) as connection:
        if _revision(connection) == HEAD:
            return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "study:migrations")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerError(
                f"The ledger {shown(engine.url)!r} has schema {_revision(connection)!r}, which is newer than "
                f"this version's {HEAD!r}: use the Trialwright that wrote it, or a newer one."
            ) from error


@contextmanager
def transaction(engine: Engine, *, writes: bool) -> Iterator[Connection]:
    """One transaction: committed and durable when the block ends, undone when it raises; a reading one sees one moment.

    Raises:
        RetryableError: the database went away or stayed locked; nothing or all of the block happened.
        LedgerError: the database refused what was written.
    """
    options: dict[str, Any] = {"writes": writes}
    if not writes and engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"  # SQLite reads so by itself
    try:
        with _connect(engine).execution_options(**options) as connection, connection.begin():
            yield connection
    except OperationalError as error:
        raise RetryableError(
            f"The ledger {shown(engine.url)!r} did not answer ({_reason(error)}): "
            "free the disk or bring the database back, then launch the study again."
        ) from error
    except StatementError as error:  # raised before the database is asked, too: JSON knows no NaN
        raise LedgerError(f"The ledger {shown(engine.url)!r} refused a record ({_reason(error)}).") from error


def _connect(
    engine: Engine, clock: Callable[[], float] = monotonic, wait: Callable[[float], Any] = sleep
) -> Connection:
    """A connection, waiting for a server that is being restarted; nothing was sent yet, so it is safe."""
    give_up_at = clock() + CONNECT_PATIENCE_S
    while True:
        try:
            return engine.connect()
        except OperationalError:
            if engine.dialect.name == "sqlite" or clock() > give_up_at:
                raise
            wait(1.0)


def _reason(error: Exception) -> str:
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    if isinstance(cause, FileExistsError):
        return "a file stands where its folder should be"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
