"""One question to a Ray dashboard over HTTP: a time-out, the cluster's token, a sentence for what goes wrong."""

import json
import os
import socket
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from search_spaces.errors import RetryableError, SpecError, TrialwrightError

TIMEOUT_S = 20.0
"""Longest wait for a part of an answer. A dashboard itself gives its agents fifteen seconds or so."""
MAX_ANSWER_BYTES = 256 * 2**20


class NoAnswerError(RetryableError):
    """Nothing answered, or a server did that could not: asking again may help."""


def _opener() -> urllib.request.OpenerDirector:
    """Opens HTTP addresses and follows no redirect, so that the token goes nowhere else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


_OPENER = _opener()


def ask(url: str, method: str, path: str, body: object = None) -> Any:
    """Send one request to a dashboard; its answer as plain data.

    Args:
        url: of the dashboard.
        method: of HTTP.
        path: beginning with a slash.
        body: plain data to send as JSON.

    Raises:
        NoAnswerError: nothing answered in time, or the server failed.
        SpecError: the token is missing or wrong, or the request was refused.
    """
    secret = token()
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    status, text = exchange(url + path, method, body=body, headers=headers)
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        raise _refusal(url, status, text)
    try:
        return json.loads(text)
    except ValueError:
        raise SpecError(f"What answers at {url!r} is no Ray dashboard: correct the address.") from None


def token() -> str:
    """The token that Ray's own environment variables name; empty where they name none, or say that there is none.

    Raises:
        SpecError: the file cannot be read, or there must be a token and is none.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    found, path = os.environ.get("RAY_AUTH_TOKEN", ""), os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    if mode == "disabled":
        return ""
    found = (found or (_text_of(path) if path else "")).strip()
    if not found and mode == "token":
        raise SpecError(
            "RAY_AUTH_MODE is 'token', but there is none: set RAY_AUTH_TOKEN_PATH to the file that holds it."
        )
    if found and not (found.isascii() and found.isprintable()):
        raise SpecError("The token of RAY_AUTH_TOKEN(_PATH) is no line of ASCII: copy it again.")
    return found


def exchange(
    url: str, method: str = "GET", *, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """One request over HTTP; the answer's status and text, whatever they are.

    Raises:
        NoAnswerError: there was none.
    """
    data = None if body is None else json.dumps(body).encode()
    sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, sent, method=method)  # noqa: S310 -- `kind_of` lets http and https in
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return answer.status, _read(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _read(error)
    except (OSError, HTTPException, ValueError) as error:
        raise NoAnswerError(
            f"Nothing answers at {_origin(url)!r} ({_reason(error)}): start what should run there, or correct the "
            "address."
        ) from None


def _read(answer: Any) -> str:
    content: bytes = answer.read(MAX_ANSWER_BYTES + 1)
    if len(content) > MAX_ANSWER_BYTES:
        raise SpecError(f"An answer was longer than {MAX_ANSWER_BYTES:,} bytes: is this the right address?")
    return content.decode("utf-8", errors="replace")


def _text_of(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SpecError(
            f"The token file {path!r} of RAY_AUTH_TOKEN_PATH cannot be read ({cause}): correct the path."
        ) from None


def _refusal(url: str, status: int, text: str) -> TrialwrightError:
    """A sentence for an answer that is none."""
    cause = text.strip().splitlines()[-1][:300] if text.strip() else f"status {status}"
    match status:
        case 401:
            return SpecError(
                f"The Ray cluster at {url!r} asks for a token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the "
                "file that holds it."
            )
        case 403:
            return SpecError(
                f"The Ray cluster at {url!r} does not accept the token that was sent: set RAY_AUTH_TOKEN_PATH to the "
                "file that holds the cluster's."
            )
        case 400 | 404 | 405:
            return SpecError(f"The Ray cluster at {url!r} refuses this ({cause}).")
    if status < HTTPStatus.BAD_REQUEST:
        return SpecError(f"{url!r} redirects to somewhere else (status {status}): give that address.")
    return NoAnswerError(f"The Ray cluster at {url!r} could not answer ({cause}): try again.")


def _origin(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, socket.gaierror):
        return "no such host"
    if isinstance(cause, HTTPException):
        return "what listens there does not speak HTTP"
    return (cause.strerror or str(cause)) if isinstance(cause, OSError) else str(cause)
