"""Every benchmark runs as documented and writes its document; no figure is judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIELDS = {
    "name",
    "question",
    "ratio",
    "interval",
    "goal",
    "met",
    "table",
    "machine",
    "versions",
    "date",
    "seconds",
}
ROW_FIELDS = {"ratio", "ratio_low", "ratio_high", "pairs"}


@pytest.fixture(params=["adapter_step", "over_base", "precondition"])
def document(request, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{request.param}.py", "--quick"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "TRIALWRIGHT_HOME": str(tmp_path / "home")},
    )
    assert "left" in done.stderr  # progress with the time left
    found = json.loads(done.stdout)  # stdout holds nothing else
    assert found["name"] == request.param
    return found


def test_a_smoke_run_writes_the_whole_document(document, tmp_path):
    assert document.keys() >= FIELDS
    assert document["quick"] is True
    assert document["met"] is (
        document["ratio"] >= float(document["goal"].removeprefix(">= "))
        if document["goal"].startswith(">= ")
        else document["ratio"] <= float(document["goal"].removeprefix("<= "))
    )
    low, high = document["interval"]
    assert low <= document["ratio"] <= high
    assert document["machine"].keys() == {"processor", "cores", "threads", "memory", "gpu"}
    assert all(
        row.keys() >= ROW_FIELDS and row.keys() == document["table"][0].keys() for row in document["table"]
    )
    assert not list(tmp_path.iterdir())  # a smoke run fetches and keeps nothing
    if document["name"] == "precondition":
        assert document["agreement"]["full_rank"] < 1e-3
        assert document["agreement"]["lost_rank"] == pytest.approx(1, abs=1e-3)  # pinv gives 0 there
    if document["name"] == "over_base":
        total, largest = document["profile"][:2]
        assert total["op"] == "all operations"
        assert largest["extra_ms"] > 0
