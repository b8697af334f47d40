"""The stack as plain processes: a study on two Ray nodes, stopped and resumed through the service; all goes again."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.files import ROOT

CANNOT = 77
LIMIT_S = 1500


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 30)
def test_a_study_runs_on_two_nodes_and_nothing_is_left():
    before = set(Path("/tmp").glob("trialwright-rehearsal-*"))  # noqa: S108 (where it works)
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.rehearsal"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)  # it takes everything down
        said, _ = process.communicate(timeout=300)
        pytest.fail(f"not done within {LIMIT_S} s:\n{said}")
    print(said)  # noqa: T201 (shown when the test fails)
    if process.returncode == CANNOT:
        pytest.skip(said.strip())
    assert process.returncode == 0, said
    assert "nothing is left" in said
    assert set(Path("/tmp").glob("trialwright-rehearsal-*")) == before  # noqa: S108
