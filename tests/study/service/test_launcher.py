import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from study.home import home_at
from study.jobs import JobState, JobStatus
from study.service import launcher as launching
from study.service.launcher import JobLauncher, LocalLauncher, arguments
from tests.study.service.support import wait_until

SLEEPS = (sys.executable, "-c", "import os, sys, time; print(sys.argv, os.getcwd()); time.sleep(30)")


def test_a_driver_is_a_session_of_its_own_and_logs_into_its_study(home: Path):
    launcher = LocalLauncher(home_at(home), tracking_uri="http://mlflow:5000", program=SLEEPS)
    job = launcher.start("reviews", "b" * 1000, resume=False)
    process = psutil.Process(int(job.removeprefix("pid ")))
    try:
        assert os.getsid(process.pid) == process.pid
        environment = process.environ()
        assert environment["TRIALWRIGHT_BUNDLE"] == "b" * 1000
        assert environment["TRIALWRIGHT_HOME"] == str(home)
        assert environment["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
        assert "b" * 100 not in " ".join(process.cmdline())
        assert process.cwd() == str(home / "empty")
    finally:
        process.kill()


def test_a_driver_that_fails_is_told_with_its_last_lines(home: Path):
    told: list[tuple[str, str, str]] = []
    lines = "import sys; [print(n) for n in range(50)]; sys.exit('trialwright: no')"
    launcher = LocalLauncher(
        home_at(home), on_failed=lambda *what: told.append(what), program=(sys.executable, "-c", lines)
    )
    job = launcher.start("reviews", "b", resume=False)
    wait_until(lambda: told)
    study, failed, log = told[0]
    assert (study, failed) == ("reviews", job)
    assert len(log.splitlines()) == 20
    assert log.endswith("trialwright: no")


@pytest.mark.parametrize("code", [0, 3, 130])
def test_a_driver_that_drove_is_not(home: Path, code: int):
    told: list[object] = []
    program = (sys.executable, "-c", f"raise SystemExit({code})")
    launcher = LocalLauncher(home_at(home), on_failed=lambda *what: told.append(what), program=program)
    job = launcher.start("reviews", "b", resume=True)
    wait_until(lambda: not psutil.pid_exists(int(job.removeprefix("pid "))))
    time.sleep(0.1)
    assert told == []


def test_the_command_starts_or_resumes():
    assert arguments("reviews", resume=False) == ["launch", "--bundled"]
    assert arguments("reviews", resume=True) == ["resume", "reviews"]


def test_a_job_is_told_no_secret_and_its_failure_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch):
    sent: dict[str, object] = {}

    def submit(address: str, words: list[str], *, env: dict[str, str], job_id: str) -> str:
        sent.update(address=address, words=words, env=env)
        return job_id

    failed = JobState(id="1", status=JobStatus.FAILED, exit_code=2, message="", metadata={})
    monkeypatch.setattr("study.jobs.submit", submit)
    monkeypatch.setattr("study.jobs.state", lambda _address, _job: failed)
    monkeypatch.setattr(
        "study.jobs.follow", lambda _address, _job: iter([f"line {number}" for number in range(30)])
    )
    monkeypatch.setattr(launching, "_JOB_POLL_S", 0.01)
    told: list[tuple[str, str, str]] = []
    launcher = JobLauncher(
        "http://head:8265",
        home_at(home),
        tracking_uri="http://ann:s3cret@mlflow:5000",
        on_failed=lambda *what: told.append(what),
    )
    job = launcher.start("reviews", "b", resume=False)
    assert job.startswith("trialwright-reviews-")
    assert sent["address"] == launcher.describe() == "http://head:8265"
    assert sent["words"] == ["launch", "--bundled"]
    assert "s3cret" not in str(sent)
    wait_until(lambda: told)
    assert told[0][:2] == ("reviews", job)
    assert told[0][2].splitlines() == [f"line {number}" for number in range(10, 30)]
