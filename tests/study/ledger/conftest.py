"""A ledger on SQLite and on a real PostgreSQL, empty and with a study under way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from study.ledger import Ledger
from tests.study.samples import (
    Clock,
    begin,
    plan,
)
from tests.study.servers import PostgresServer, postgres, postgres_tool


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/ledger.db"
    if postgres_tool("initdb") is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    with Ledger.open(url, clock=clock) as opened:
        yield opened


@pytest.fixture
def study(ledger: Ledger) -> Ledger:
    begin(ledger, plan())
    return ledger
