"""Start a command of Trialwright on the head of a Ray cluster, look at it, and end it."""

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlsplit

from search_spaces.errors import SpecError
from study.job_environment import SHOWN_ADDRESS
from study.jobs.address import dashboard_url
from study.jobs.dashboard import ask

STOP_WAIT_S = 180
"""How long Ray waits between asking a job to end and killing it; a driver writes its report in the meantime."""
_PROGRAM = "trialwright"
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|ACCESS_KEY|PRIVATE|API_?KEY", re.IGNORECASE)
_PLACE = ("_FILE", "_PATH")


class JobStatus(StrEnum):
    """How far a job is, in Ray's words."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class JobState:
    """A job as the cluster knows it."""

    id: str
    status: JobStatus
    exit_code: int | None
    """Of its command; None as long as it runs, and where the command was killed or never began."""
    message: str
    """What Ray says about it, in one line."""
    metadata: Mapping[str, str]

    def __str__(self) -> str:
        """Its status, as Ray calls it."""
        return self.status.value

    @property
    def is_over(self) -> bool:
        """Whether it will never run again."""
        return self.status not in {JobStatus.PENDING, JobStatus.RUNNING}


def driver_id(study: str) -> str:
    """A new id for a job that drives a study, by which `running_driver` finds it."""
    return f"{_PROGRAM}-{study}-{secrets.token_hex(4)}"


def submit(
    address: str,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    job_id: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Run `trialwright <arguments>` on the head of a cluster; the job's id.

    The command is the head's own, and no code or file is sent. Passwords and tokens come from the environment and the
    files of the head's processes, since everybody who may look at the cluster can read what is sent.

    Args:
        address: of the cluster's dashboard, or `ray://…`.
        arguments: of the command.
        env: variables for the command alone.
        job_id: as it shall be called; None: a new one.
        metadata: to find it by.

    Raises:
        SpecError: the cluster cannot be used, there is a job of that id, or something secret was to be sent.
        NoAnswerError: the cluster went away.
    """
    _refuse_secrets(arguments, env)
    body = {
        "entrypoint": shlex.join(["exec", _PROGRAM, *arguments]),
        "submission_id": job_id or f"{_PROGRAM}-command-{secrets.token_hex(6)}",
        "runtime_env": {
            "env_vars": {SHOWN_ADDRESS: address, "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), **env}
        },
        "metadata": dict(metadata or {}),
    }
    answer = ask(dashboard_url(address), "POST", "/api/jobs/", body)
    return str(answer["submission_id"])


def state(address: str, job_id: str) -> JobState:
    """A job as it stands.

    Raises:
        SpecError: there is no such job.
        NoAnswerError: the cluster went away.
    """
    return _state(ask(dashboard_url(address), "GET", _of(job_id)))


def stop(address: str, job_id: str) -> None:
    """Ask a job's processes to end, which takes up to `STOP_WAIT_S`; one that is over stays as it is.

    Raises:
        SpecError: there is no such job.
        NoAnswerError: the cluster went away.
    """
    ask(dashboard_url(address), "POST", f"{_of(job_id)}/stop")


def forget(address: str, job_id: str) -> None:
    """Take a job that is over from the cluster's list.

    Raises:
        SpecError: there is no such job, or it is not over.
        NoAnswerError: the cluster went away.
    """
    ask(dashboard_url(address), "DELETE", _of(job_id))


def running_driver(address: str, study: str) -> JobState | None:
    """The job that drives a study, the newest where there are several; None where none runs.

    Raises:
        SpecError: the cluster cannot be used.
        NoAnswerError: the cluster went away.
    """
    name = re.compile(rf"{_PROGRAM}-{re.escape(study)}-[0-9a-f]{{8}}")
    jobs = [job for job in ask(dashboard_url(address), "GET", "/api/jobs/") if job.get("submission_id")]
    jobs.sort(key=lambda job: job.get("start_time") or 0)
    mine = [_state(job) for job in jobs if name.fullmatch(job["submission_id"])]
    running = [job for job in mine if not job.is_over]
    return running[-1] if running else None


def _of(job_id: str) -> str:
    return f"/api/jobs/{quote(job_id, safe='')}"


def _state(document: Mapping[str, Any]) -> JobState:
    message = (document.get("message") or "").strip().splitlines()
    return JobState(
        id=document["submission_id"],
        status=JobStatus(document["status"]),
        exit_code=document.get("driver_exit_code"),
        message=message[0] if message else "",
        metadata=document.get("metadata") or {},
    )


def _refuse_secrets(arguments: Sequence[str], env: Mapping[str, str]) -> None:
    """Nothing is sent that looks like a password, by its name or by its form."""
    for name in env:
        if _SECRET.search(name) and not name.endswith(_PLACE):
            raise SpecError(
                f"{name} would be written where everybody who may look at the cluster can read it: set it for the "
                "processes of the cluster's head instead."
            )
    for text in (*arguments, *env.values()):
        if _has_password(text):
            raise SpecError(
                "An address with a password would be written where everybody who may look at the cluster can read it: "
                "leave it out, and set it for the processes of the cluster's head."
            )


def _has_password(text: str) -> bool:
    try:
        return "://" in text and urlsplit(text.rpartition("=")[2]).password is not None
    except ValueError:  # nobody can tell
        return "@" in text
