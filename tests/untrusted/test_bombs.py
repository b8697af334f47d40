"""Small files that stand for much take little time and little memory, and are told."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_BYTES = 450 * 2**20
"""Memory that one of them may add; a table of the largest size that is read takes as much."""
MOST_S = 40.0
"""Processor time for one of them."""


def test_no_bomb_takes_the_machine():
    ended = subprocess.run(
        [sys.executable, "-m", "tests.untrusted.bombs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(told) >= 25
    for one in told:
        assert one["told"] != "it was read", one
        assert "\n" not in one["told"], one
        assert one["bytes"] < MOST_BYTES, one
        assert one["cpu_s"] < MOST_S, one
