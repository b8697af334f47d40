"""How the service has a study driven: as a process beside it, or as a job of a Ray cluster.

The driver is `trialwright launch --bundled` in both cases. It needs the service no more once it has started: what it
does stands in the ledger, which is where the service looks.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from search_spaces.errors import RetryableError, SpecError
from study.bundle import BUNDLE_VARIABLE
from study.home import Home

SUBMITTED = "submitted"
"""Kind of the ledger's event that a driver was asked for: `{address, job, by}`."""
DRIVER_FAILED = "driver_failed"
"""Kind of the ledger's event that keeps how a driver failed: `{job, log}`, the log's last lines."""
LOG_NAME = "driver.log"
NUM_LOG_LINES = 20
_LOG_TAIL_BYTES = 20_000
_JOB_POLL_S = 5.0
_DROVE = frozenset({0, 3, 130})
"""Exit codes of a driver that did its work: it ended, lost trials, or was interrupted."""

OnFailed = Callable[[str, str, str], object]
"""Told of a driver that could not drive: study, job, and the last lines of its log."""


class Launcher(Protocol):
    """Who starts drivers."""

    def start(self, study: str, bundle: str, *, resume: bool) -> str | None:
        """Start the driver of a study, and do not wait for it.

        Args:
            study: its name.
            bundle: the study as `study.bundle` packs it.
            resume: whether the trials that it has lost are to run again, too.

        Returns:
            What the driver is called where it runs.

        Raises:
            RetryableError: no driver could be started now.
        """

    def describe(self) -> str:
        """Where drivers run, for people."""


class LocalLauncher:
    """Drivers as processes of this machine, each in a session of its own so that they outlive the service."""

    def __init__(
        self,
        home: Home,
        *,
        tracking_uri: str | None = None,
        on_failed: OnFailed = lambda *_: None,
        program: Sequence[str] = (sys.executable, "-m", "study.cli"),
    ) -> None:
        """Begin.

        Args:
            home: of the studies; a driver's log goes into its study's folder there.
            tracking_uri: their MLflow store.
            on_failed: told of drivers that fail while this process lives.
            program: the command `trialwright`.
        """
        self._home = home
        self._tracking_uri = tracking_uri
        self._on_failed = on_failed
        self._program = tuple(program)

    def start(self, study: str, bundle: str, *, resume: bool) -> str:
        """Start a process; its name is `pid <number>`."""
        path = self.log_path(study)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._home.empty_dir.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 -- our own program
                [*self._program, *arguments(study, resume=resume)],
                cwd=self._home.empty_dir,
                env={**os.environ, **self._environment(bundle)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        job = f"pid {process.pid}"
        threading.Thread(
            target=self._follow, args=(study, job, process), name=f"driver of {study}", daemon=True
        ).start()
        return job

    def describe(self) -> str:
        """Where drivers run."""
        return "this machine"

    def log_path(self, study: str) -> Path:
        """What the drivers of a study have said."""
        return self._home.study_dir(study) / LOG_NAME

    def _environment(self, bundle: str) -> dict[str, str]:
        settings = {
            BUNDLE_VARIABLE: bundle,
            "TRIALWRIGHT_HOME": str(self._home.root),
            "PYTHONUNBUFFERED": "1",
        }
        return settings | ({"MLFLOW_TRACKING_URI": self._tracking_uri} if self._tracking_uri else {})

    def _follow(self, study: str, job: str, process: "subprocess.Popen[bytes]") -> None:
        code = process.wait()
        if code not in _DROVE and code != -signal.SIGTERM:
            self._on_failed(study, job, last_lines(self.log_path(study)))


class JobLauncher:
    """Drivers as jobs of a Ray cluster."""

    def __init__(
        self,
        address: str,
        home: Home,
        *,
        tracking_uri: str | None = None,
        on_failed: OnFailed = lambda *_: None,
    ) -> None:
        """Begin.

        Args:
            address: of the cluster's job server, such as `http://head:8265`.
            home: of the studies, seen by all nodes at this path.
            tracking_uri: their MLflow store; one that holds a password is left to the nodes' own environment.
            on_failed: told of drivers that fail while this process lives.
        """
        self._address = address
        self._home = home
        self._tracking_uri = tracking_uri
        self._on_failed = on_failed

    def start(self, study: str, bundle: str, *, resume: bool) -> str:
        """Submit a job; its name is the job's."""
        from study.jobs import driver_id, submit

        job = submit(
            self._address,
            arguments(study, resume=resume),
            env=self._environment(bundle),
            job_id=driver_id(study),
        )
        threading.Thread(target=self._follow, args=(study, job), name=f"job of {study}", daemon=True).start()
        return job

    def describe(self) -> str:
        """Where drivers run."""
        return self._address

    def _environment(self, bundle: str) -> Mapping[str, str]:
        """What the job is told; it stands in the job's metadata, so no secret may be in it."""
        settings = {BUNDLE_VARIABLE: bundle, "TRIALWRIGHT_HOME": str(self._home.root)}
        uri = self._tracking_uri
        return settings | ({"MLFLOW_TRACKING_URI": uri} if uri and "@" not in uri else {})

    def _follow(self, study: str, job: str) -> None:
        from study.jobs import JobStatus, follow, state

        while True:
            time.sleep(_JOB_POLL_S)
            try:
                now = state(self._address, job)
                if not now.is_over:
                    continue
                if now.status is JobStatus.FAILED and now.exit_code not in _DROVE:
                    lines = list(follow(self._address, job))[-NUM_LOG_LINES:]
                    self._on_failed(study, job, "\n".join(lines) or now.message)
            except RetryableError:
                continue
            except SpecError:
                pass  # the cluster no longer knows the job, so there is nothing to tell
            return


def arguments(study: str, *, resume: bool) -> list[str]:
    """What the command `trialwright` is called with to drive a study."""
    return ["resume", study] if resume else ["launch", "--bundled"]


def last_lines(path: Path) -> str:
    """The end of a log."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-NUM_LOG_LINES:])
