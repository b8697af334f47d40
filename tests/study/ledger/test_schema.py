"""Migrations, addresses and the databases themselves."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from search_spaces.errors import LedgerError, SpecError
from study.ledger import Ledger
from study.ledger.engine import open_engine
from study.ledger.schema import metadata
from study.migrations import HEAD
from tests.study.samples import (
    STUDY,
    begin,
    measured,
    plan,
    planned,
)
from tests.study.servers import postgres

TRIAL = planned("sgd", 0).key


def test_migrations_lead_to_the_declared_schema(url: str):
    engine = open_engine(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_head_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", "study:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_newer_schema_is_refused(url: str):
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match=r"has schema '9999', which is newer than this version's '0002'"):
        Ledger.open(url)


def test_processes_that_open_a_new_ledger_at_once_all_succeed(url: str):
    program = f"from study.ledger import Ledger; print(len(Ledger.open({url!r}).studies()))"
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=300) for process in running]
    assert [out.strip() for out, _ in outputs] == [b"0"] * 3, outputs


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ledger.db", "is not a database URL: write sqlite:///<file> or postgresql://<host>/<database>"),
        ("postgresql://u:s3cret@h:/d", "is not a database URL: write"),
        ("postgresql://u:s3cret@h:port/d", "is not a database URL: write"),
        ("mysql://u:s3cret@h/d", r"neither SQLite nor PostgreSQL|needs a driver"),
        ("oddbase://u:s3cret@h/d", "is neither SQLite nor PostgreSQL: write"),
        (
            "sqlite:////proc/nowhere/ledger.db",
            r"/proc/nowhere/ledger.db' cannot be opened \(No such",
        ),
        (
            "sqlite:////dev/null/ledger.db",
            r"cannot be opened \(a file stands where its folder should be\): name a home",
        ),
        ("postgresql://u:s3cret@127.0.0.1:1/d", r"127.0.0.1:1/d' cannot be opened \(.*refused"),
    ],
)
def test_an_address_that_cannot_be_used_is_the_users_mistake(address: str, message: str):
    with pytest.raises(SpecError, match=message) as caught:
        Ledger.open(address)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    path = tmp_path / "ledger.db"
    path.write_text("name: reviews\n" * 100)
    with pytest.raises(SpecError, match=r"cannot be opened \(file is not a database\): name a home"):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_text().startswith("name: reviews")


def test_a_restarted_postgresql_interrupts_nothing():
    with postgres() as server:
        ledger = Ledger.open(server.new_database())
        begin(ledger, plan())
        ledger.record_measurement(STUDY, measured(TRIAL, 0))
        server.stop()
        threading.Timer(1.5, server.start).start()
        assert ledger.record_measurement(STUDY, measured(TRIAL, 20))
        assert [one.step for one in ledger.measurements(STUDY)] == [0, 20]
        ledger.close()


def test_sqlite_is_durable_and_strict(tmp_path: Path):
    engine = open_engine(f"sqlite:///{tmp_path}/ledger.db")
    with engine.connect() as connection:
        pragmas = [
            connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")
        ]
        pragmas.append(connection.execute(text("PRAGMA foreign_keys")).scalar())
    engine.dispose()
    assert pragmas == ["wal", 2, 1]


def test_the_address_is_shown_without_its_password(ledger: Ledger, url: str):
    assert "s3cret" not in ledger.address
    assert ledger.address.startswith(url.partition(":")[0])


def test_a_ledger_of_the_first_schema_keeps_its_attempts(url: str):
    with Ledger.open(url) as ledger:
        begin(ledger, plan())
        ledger.start_attempt(STUDY, TRIAL)
    engine = open_engine(url)
    config = Config()
    config.set_main_option("script_location", "study:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    engine.dispose()
    with Ledger.open(url) as ledger:
        assert ledger.running_trials(STUDY) == [TRIAL]
        ledger.place_attempt(STUDY, TRIAL, pack=0, node="here")
