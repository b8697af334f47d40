"""Fifty who watch a study that runs: here that it works; `benchmarks/service_load.py` measures it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_benchmark_runs_and_no_request_fails(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "service_load.py", "--quick"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    document = json.loads(done.stdout)
    (row,) = document["table"]
    assert document["name"] == "service_load"
    assert row["errors"] == 0
    assert row["events"] >= 2 * row["watchers"]
    assert row["requests"] > 0
