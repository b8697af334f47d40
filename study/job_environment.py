"""What a command knows when it runs as a job of a Ray cluster, and what it does first."""

import json
import os
from pathlib import Path

SHOWN_ADDRESS = "TRIALWRIGHT_SHOWN_ADDRESS"
"""Variable with the address under which whoever submitted the job reaches the study, for commands in messages."""
_JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Variable by which Ray tells a job's command its metadata and its runtime environment."""


def is_job() -> bool:
    """Whether this process is a Ray job's command, or was started by one."""
    return _JOB_CONFIG in os.environ


def cluster_address() -> str | None:
    """The host:port of the cluster on which this job runs; None where this is no job."""
    return os.environ.get("RAY_ADDRESS") if is_job() else None


def shown_address() -> str | None:
    """The address that whoever submitted this job used; None where this is no job."""
    return os.environ.get(SHOWN_ADDRESS) if is_job() else None


def settle(empty_dir: Path) -> None:
    """Make this process an ordinary driver of the cluster, if it is a job.

    Its workers would inherit the job's variables, the whole study among them, and Ray refuses a driver that brings a
    runtime environment of its own. So the job's is dropped and its metadata stays.

    Args:
        empty_dir: where to stand, so that no stray module of the head's folder is imported.
    """
    if not is_job():
        return
    config = json.loads(os.environ[_JOB_CONFIG])
    os.environ[_JOB_CONFIG] = json.dumps({**config, "runtime_env": {}})
    os.chdir(empty_dir)
