"""A study on a Ray that runs already and asks for a token."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from search_spaces.errors import SpecError
from study.cluster import check_address
from study.ledger import StudyState
from tests.end_to_end.command import STUDY, STUDY_FILE, Started, ledger_of, make_place, run, wait_until
from tests.study.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ACCESS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "5e" * 32,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback only
}
_MARK = "TRIALWRIGHT_TEST_HEAD"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A head in a session of its own, whose every process is ended by its id."""
    mark = uuid4().hex
    place = f"127.0.0.1:{free_port()}"
    ray = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
    options = ["--head", f"--port={place.rpartition(':')[2]}", "--num-cpus=2", "--include-dashboard=false"]
    options += ["--min-worker-port=0", "--max-worker-port=0", "--block"]
    with (tmp_path_factory.mktemp("head") / "log").open("wb") as log:
        head = subprocess.Popen(
            [sys.executable, "-c", ray, "start", *options],
            env=os.environ | ACCESS | {_MARK: mark},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_for(place, head)
        yield place
    finally:
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == mark:
                    process.kill()
            except psutil.Error:
                continue
        head.wait(120)


def _wait_for(address: str, head: "subprocess.Popen[bytes]") -> None:
    give_up_at = time.monotonic() + 300
    while head.poll() is None and time.monotonic() < give_up_at:
        try:
            check_address(address)
        except SpecError:
            time.sleep(0.5)
        else:
            time.sleep(3)  # the head greets before its workers are there
            return
    pytest.fail("Ray's head did not start")


def num_started(home: Path) -> int:
    if not (home / "ledger.db").exists():
        return 0
    with ledger_of(home) as ledger:
        return sum(record.attempts for record in ledger.trials(STUDY)) if ledger.studies() else 0


def test_a_study_runs_on_a_cluster_hears_sigterm_and_leaves_it_running(tmp_path: Path, address: str):
    place = make_place(tmp_path)
    (place / "study.yaml").write_text(STUDY_FILE.replace("trials: 6", "trials: 2"))
    command = ("launch", "study.yaml", "--home", "home", "--phase", "search", "--address", address)
    terminated = Started(place, *command, **ACCESS)
    try:
        wait_until(lambda: num_started(place / "home"), terminated)
        terminated.process.terminate()
        ended = terminated.wait()
    finally:
        terminated.clean_up()
    assert ended.code == 130, ended.err
    assert "Study tiny is interrupted (SIGTERM was received)" in ended.out
    ended = run(place, *command, **ACCESS)
    assert ended.code == 0, ended.err
    with ledger_of(place / "home") as ledger:
        assert all(record.ending is not None for record in ledger.trials(STUDY))
        assert ledger.study(STUDY).state is StudyState.INTERRUPTED
    check_address(address)
