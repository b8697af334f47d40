"""Fifty who watch a study that runs, and a study of 10,000 trials: here that both work; `benchmarks` measures them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.study.servers import postgres_tool

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def quick(name: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}.py", "--quick"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["name"] == name
    return document


def test_the_benchmark_runs_and_no_request_fails(tmp_path: Path):
    (row,) = quick("service_load", tmp_path)["table"]
    assert row["errors"] == 0
    assert row["events"] >= 2 * row["watchers"]
    assert row["requests"] > 0


def test_every_page_of_a_large_study_is_there_on_every_kind_of_ledger(tmp_path: Path):
    document = quick("service_pages", tmp_path)
    ledgers = ["SQLite"] + ["PostgreSQL"] * (postgres_tool("initdb") is not None)
    assert list(dict.fromkeys(row["ledger"] for row in document["table"])) == ledgers
    assert {"studies", "one study", "one trial", "its report", "status"} <= {
        row["page"] for row in document["table"]
    }
    assert document["trials"] > 200
