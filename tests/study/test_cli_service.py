"""`trialwright token` and `trialwright serve`, as far as they are the command's own."""

import json
import sys

import pytest
from click.testing import CliRunner

from search_spaces.errors import SpecError
from study.cli import cli
from study.home import home_at
from study.ledger import Ledger, Scope


def run(home, *arguments: str):
    return CliRunner().invoke(cli, [*arguments, "--home", str(home)], catch_exceptions=False)


def test_tokens_are_made_listed_and_revoked(tmp_path):
    pytest.importorskip("study.service.tokens")
    made = run(tmp_path, "token", "create", "laptop", "--scope", "run", "--days", "30")
    assert made.stdout.startswith("twr_")
    assert made.stdout.count("\n") == 1
    run(tmp_path, "token", "create", "dashboard")
    rows = json.loads(run(tmp_path, "token", "list", "--json").stdout)
    assert [(row["name"], row["scope"], row["state"]) for row in rows] == [
        ("laptop", "run", "valid"),
        ("dashboard", "read", "valid"),
    ]
    assert rows[1]["expires_at"] is None
    run(tmp_path, "token", "revoke", "laptop")
    listed = run(tmp_path, "token", "list").stdout
    assert "revoked" in listed
    assert made.stdout.strip() not in listed


def test_tokens_of_the_ledger_are_listed_without_the_service(tmp_path):
    with Ledger.open(home_at(tmp_path).ledger_url) as ledger:
        ledger.add_token("old", Scope.READ, "0" * 64, expires_at=1.0)
    [row] = json.loads(run(tmp_path, "token", "list", "--json").stdout)
    assert (row["state"], row["expires_at"]) == ("expired", "1970-01-01T00:00:01Z")
    with pytest.raises(SpecError, match="Unknown token 'odl', did you mean 'old'"):
        run(tmp_path, "token", "revoke", "odl")
    assert "There is no token yet" in run(tmp_path / "other", "token", "list").stderr


def test_a_missing_extra_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in [name for name in sys.modules if name.startswith("study.service")]:
        monkeypatch.delitem(sys.modules, name)
    pytest.importorskip("study.service")
    with pytest.raises(SpecError, match=r"not installed: pip install 'trialwright\[service\]'\."):
        run(tmp_path, "serve")
