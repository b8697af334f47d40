"""Runs migrations on the connection that the ledger hands over, or on the URL of alembic.ini."""

from alembic import context
from sqlalchemy import Connection, create_engine

from study.ledger.schema import metadata


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


_given: Connection | None = context.config.attributes.get("connection")
if _given is not None:
    _migrate(_given)
else:
    with create_engine(context.config.get_main_option("sqlalchemy.url") or "").begin() as _connection:
        _migrate(_connection)
