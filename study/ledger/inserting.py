"""Inserting a row that may be there already, in every database that holds a ledger."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite


def insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless one with its unique key is there; whether it was inserted."""
    dialect: Any = sqlite
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql as dialect
    statement = dialect.insert(table).values(**row).on_conflict_do_nothing().returning(table.c.id)
    return connection.scalar(statement) is not None
