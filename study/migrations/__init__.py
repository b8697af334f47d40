"""Alembic migrations of the ledger, shipped with the package and run whenever a ledger is opened.

A developer adds one with `alembic -c study/migrations/alembic.ini revision --autogenerate -m "…"`.
"""

HEAD = "0002"
"""The newest revision: a ledger that is already there needs no migration, and no import of Alembic."""
