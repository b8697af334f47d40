"""What docs/deploy.md says of backing up and restoring PostgreSQL, done with its commands on two real clusters."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from study.ledger import Ledger
from tests.deploy.files import DEPLOY, ROOT
from tests.study.servers import PostgresServer, postgres, postgres_tool
from tests.study.simulation import (
    DriverDiedError,
    MortalLedger,
    World,
    content,
    coordinator_in,
    drive,
    new_study,
    study_spec,
)

PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Back up and restore")[2].partition("\n## ")[0]
PREFIX = "docker compose exec -T postgres "
DUMP, RESTORE = (line.removeprefix(PREFIX) for line in SECTION.splitlines() if line.startswith(PREFIX))
SPEC = study_spec()
ALREADY_THERE = ["current user cannot be dropped", 'role "postgres" already exists']
"""The errors that the page tells to expect."""


def as_compose_starts_it(server: PostgresServer, secrets: Path) -> None:
    """What the image's entry point does on an empty data folder."""
    script = (DEPLOY / "postgres/10-databases.sh").read_text("utf-8").replace("/run/secrets", str(secrets))
    told(server, ["sh", "-c", script], secrets)


def told(server: PostgresServer, command: list[str], folder: Path) -> str:
    """What a command says to its standard error inside the container of a server."""
    programs = Path(str(postgres_tool("psql"))).parent
    inside = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "POSTGRES_USER": "postgres",
    }
    ended = subprocess.run(
        command, env=os.environ | inside, cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def held(server: PostgresServer) -> Mapping[str, Any]:
    """How many rows every table of both databases has, owners, rights, and the digests of the passwords."""
    found: dict[str, Any] = {}
    for database in ("trialwright", "mlflow"):
        with psycopg.connect(server.url(database, "postgres")) as connection:
            tables = "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            for name, owner in connection.execute(tables).fetchall():
                counted = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))
                (number,) = connection.execute(counted).fetchone()
                found[f"{database}.{name}"] = (owner, number)
            roles = "SELECT rolname, rolpassword FROM pg_authid WHERE rolcanlogin ORDER BY 1"
            found["roles"] = [role for role in connection.execute(roles).fetchall() if role[0] != "postgres"]
            found[f"may enter {database}"] = connection.execute(
                "SELECT datacl FROM pg_database WHERE datname = %s", [database]
            ).fetchone()
    return found


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for name in ("ledger_password", "mlflow_database_password"):
        (tmp_path / name).write_text(f"planted-{name}")
    return tmp_path


def test_a_study_goes_on_from_a_restored_ledger(secrets: Path, tmp_path: Path):
    world = World(seed=5, num_workers=3)
    with new_study(SPEC, f"sqlite:///{tmp_path}/uninterrupted.db") as ledger:
        drive(coordinator_in(World(seed=1, num_workers=2), SPEC, ledger), World(seed=1, num_workers=2))
        uninterrupted = content(ledger, SPEC.name)
    with postgres(superuser="postgres") as server:
        as_compose_starts_it(server, secrets)
        with psycopg.connect(server.url("mlflow", "mlflow")) as connection:
            connection.execute("CREATE TABLE runs AS SELECT generate_series(1, 7) AS id")
        with new_study(SPEC, server.url("trialwright", "trialwright")) as ledger:
            mortal = MortalLedger(ledger, writes_left=90, dies_after_write=True)
            with pytest.raises(DriverDiedError):
                drive(coordinator_in(world, SPEC, mortal), world)
            at_the_dump = content(ledger, SPEC.name)
        told(server, ["sh", "-c", DUMP], tmp_path)
        dumped = held(server)
    assert dumped["mlflow.runs"] == ("mlflow", 7)
    assert dumped["trialwright.measurement"][1] == len(at_the_dump["measurements"]) > 0
    assert [role for role, _ in dumped["roles"]] == ["mlflow", "trialwright"]
    with postgres(superuser="postgres") as fresh:
        as_compose_starts_it(fresh, secrets)
        complaints = re.findall(r"ERROR:  (.*)", told(fresh, ["sh", "-c", RESTORE], tmp_path))
        assert complaints == ALREADY_THERE
        assert held(fresh) == dumped
        with Ledger.open(fresh.url("trialwright", "trialwright")) as ledger:
            assert content(ledger, SPEC.name) == at_the_dump
            drive(coordinator_in(world, SPEC, ledger), world)
            assert content(ledger, SPEC.name) == uninterrupted
