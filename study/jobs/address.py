"""What an address is: the head of a Ray cluster, its dashboard, or Trialwright's service."""

import json
import os
import socket
import subprocess
import sys
import time
from functools import lru_cache
from http import HTTPStatus
from importlib.metadata import version
from ipaddress import ip_address
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from search_spaces.errors import SpecError
from study.jobs.dashboard import TIMEOUT_S, NoAnswerError, ask, exchange, token

Kind = Literal["gcs", "jobs", "service"]
CLIENT_TIMEOUT_S = 60.0
"""Longest wait for Ray Client to say where the dashboard is; a first client starts a process on the head."""
FEWEST_ATTEMPTS, MOST_ATTEMPTS, PATIENCE_S = 2, 5, 25.0
"""The process that a head forks for a client may die at once (Ray's issue 63202), more often on a busy machine: Ray
Client is asked again until so many seconds have passed."""
CLIENT_PORT = 10001
"""Where Ray Client listens if nothing else is said."""
_ASK_CLIENT = (
    "import ray, sys\nwith ray.init(sys.argv[1], log_to_driver=False) as one: print('at', one.dashboard_url)"
)
_FORMS = (
    "http://head:8265 (a Ray dashboard), ray://head:10001, the URL of Trialwright's service, or host:port"
)


def kind_of(address: str) -> Kind:
    """What stands behind an address; an HTTP one is asked.

    Args:
        address: as the user gave it.

    Returns:
        `gcs` for host:port, through which a machine of the cluster joins it; `jobs` for a cluster that takes jobs;
        `service` for Trialwright's own.

    Raises:
        SpecError: the address is malformed, nothing answers there, or something else does.
    """
    if "://" not in address:
        return "gcs"
    if _parsed(address).scheme == "ray":
        return "jobs"
    url = address.rstrip("/")
    try:
        if any(_has_key(url + path, key) for path, key in _OF_RAY):
            return "jobs"
        if _has_key(f"{url}/health/live", "status"):
            return "service"
    except NoAnswerError as error:
        raise SpecError(str(error)) from None
    raise SpecError(
        f"What answers at {address!r} is neither a Ray dashboard nor Trialwright's service: write {_FORMS}."
    )


_OF_RAY = (("/api/authentication_mode", "authentication_mode"), ("/api/version", "ray_version"))
"""What a dashboard tells whom it does not know; the second was all that older ones had."""


@lru_cache(maxsize=16)
def dashboard_url(address: str) -> str:
    """The dashboard of the cluster at an address, once it was seen to be one that this program can use.

    Args:
        address: `http(s)://…` or `ray://…`; the latter asks Ray Client, which takes some seconds.

    Raises:
        SpecError: nothing answers, the token is refused, or the cluster has another release of Ray.
    """
    parsed = _parsed(address)
    url = _told_by_client(address, parsed) if parsed.scheme == "ray" else address.rstrip("/")
    try:
        answer = ask(url, "GET", "/api/version")
    except NoAnswerError as error:
        raise SpecError(str(error)) from None
    theirs = str(answer.get("ray_version")) if isinstance(answer, dict) else ""
    ours = version("ray")
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise SpecError(
            f"The cluster at {address!r} has Ray {theirs or 'of an unknown release'}, but this Trialwright needs "
            f"{ours}: install the same Trialwright on both sides."
        )
    return url


def _parsed(address: str) -> SplitResult:
    try:
        parsed = urlsplit(address)
        host, _ = parsed.hostname, parsed.port
        (host or "").encode("idna")  # as whoever looks it up will write it
    except ValueError:
        told = f"***@{address.rpartition('@')[2]}" if "@" in address else address
        raise SpecError(f"The address {told!r} is malformed: write {_FORMS}.") from None
    if parsed.username or parsed.password:
        raise SpecError(
            "The address holds a password, which others could read: leave it out, and set RAY_AUTH_TOKEN_PATH or "
            "TRIALWRIGHT_TOKEN_FILE."
        )
    if parsed.scheme not in {"http", "https", "ray"} or not host or parsed.query or parsed.fragment:
        raise SpecError(f"The address {address!r} is of no kind that is known: write {_FORMS}.")
    return parsed


def _has_key(url: str, key: str) -> bool:
    """Whether a JSON document with a key is there."""
    status, text = exchange(url)
    try:
        document = json.loads(text) if status == HTTPStatus.OK else None
    except ValueError:
        return False
    return isinstance(document, dict) and key in document


def _told_by_client(address: str, parsed: SplitResult) -> str:
    """Ask the Ray Client server where the dashboard is, again where its process for us failed."""
    give_up_at = time.monotonic() + PATIENCE_S
    for number in range(1, MOST_ATTEMPTS + 1):
        told, cause = _asked_of_client(address, parsed)
        if told:
            host, _, port = told.rpartition(":")
            return f"http://{parsed.hostname if _is_its_own(host) else host}:{port}"
        if "timeout" in cause or (number >= FEWEST_ATTEMPTS and time.monotonic() > give_up_at):
            break
    raise SpecError(
        f"Ray Client could not be asked at {address!r} where the dashboard is ({cause.rstrip('.')}): correct the "
        "address or the token (RAY_AUTH_TOKEN_PATH), or give the dashboard's URL, such as http://head:8265."
    )


def _asked_of_client(address: str, parsed: SplitResult) -> tuple[str, str]:
    """The dashboard's host and port, or why they were not told; in a process whose time is limited."""
    try:
        socket.create_connection((str(parsed.hostname), parsed.port or CLIENT_PORT), TIMEOUT_S).close()
        asked = subprocess.run(  # noqa: S603 -- our own program
            [sys.executable, "-P", "-c", _ASK_CLIENT, address],
            env={**os.environ, "RAY_AUTH_MODE": "token" if token() else "disabled"},
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
    except (TimeoutError, subprocess.TimeoutExpired):
        return "", "timeout"
    except OSError as error:
        return "", error.strerror or str(error)
    told = [line.removeprefix("at ") for line in asked.stdout.splitlines() if line.startswith("at ")]
    said = asked.stderr.strip().splitlines() or ["it said nothing"]
    return (told[-1], "") if told else ("", said[-1][:300])


def _is_its_own(host: str) -> bool:
    """Whether a name means the machine that says it, and none to others."""
    try:
        told = ip_address(host.strip("[]"))
    except ValueError:
        return host == "localhost"
    return told.is_loopback or told.is_unspecified
