"""The service from Python, and from the command itself: `Client(url)` and one method for each thing that it does.

with Client("http://127.0.0.1:8400") as client:
    client.create(spec)
    for status in client.watch("reviews"):
        print(status["state"], status["phases"])
    client.report("reviews", ["html", "pdf"], "out")
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import quote
from uuid import uuid4

import httpx2

from search_spaces.errors import RetryableError, SpecError
from trainers.archives import UnsafeArchiveError, open_archive, unpack

STREAM_SILENCE_S = 60.0
"""A stream that is silent for so long is broken: the service says something every fifteen seconds."""
PATIENCE_S = 120.0
"""How long a watch looks for a service that went away."""
NUM_ATTEMPTS = 3
"""How often a request is sent that may be sent again without harm."""
MOST_REPORT_BYTES = 2 * 2**30
"""Most that a report may take, packed or unpacked."""
_LONGEST_WAIT_S = 10.0
_TOO_MANY = 429

Document = dict[str, Any]


class Client:
    """One service; every method raises SpecError for a mistake and RetryableError where the service cannot answer."""

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 30.0) -> None:
        """Begin; nothing is sent yet.

        Args:
            url: of the service, such as `http://127.0.0.1:8400`.
            token: None: TRIALWRIGHT_TOKEN, or what the file TRIALWRIGHT_TOKEN_FILE holds, or no token.
            timeout_s: how long an answer may take.

        Raises:
            SpecError: the address is none, or the token cannot be read.
        """
        if not url.startswith(("http://", "https://")):
            raise SpecError(
                f"The service's address is {url!r}, but must begin with http:// or https://: correct it."
            )
        secret = _token(token)
        try:
            self._http = httpx2.Client(
                base_url=url.rstrip("/"),
                timeout=timeout_s,
                headers={"Authorization": f"Bearer {secret}"} if secret else {},
            )
        except httpx2.InvalidURL:
            raise SpecError(f"The service's address {url!r} is no URL: correct it.") from None
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        """The address alone."""
        return f"Client({self._url!r})"

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> Document:
        """Whether the service can work."""
        return self._read("/health/ready")

    def plan(self, spec: Mapping[str, Any] | str, claims: Mapping[str, Any] | str | None = None) -> Document:
        """Check a study and count its trials; nothing is started.

        Args:
            spec: a study as plain data, or as the text of a study file.
            claims: its claims file likewise.
        """
        return self._json("POST", "/api/v1/plan", content=_body(spec, claims), again=True)

    def create(
        self,
        spec: Mapping[str, Any] | str,
        claims: Mapping[str, Any] | str | None = None,
        *,
        key: str | None = None,
    ) -> Document:
        """Create a study and have it driven; its status. A study that is there already is left as it is.

        Args:
            spec: a study as plain data, or as the text of a study file.
            claims: its claims file likewise, with the records of its locking.
            key: the request's idempotency key; None: a fresh one.
        """
        headers = {"Idempotency-Key": key or uuid4().hex}
        return self._json("POST", "/api/v1/studies", content=_body(spec, claims), headers=headers, again=True)

    def studies(self) -> list[Document]:
        """All studies, the newest first."""
        found: list[Document] = self._read("/api/v1/studies")["studies"]
        return found

    def study(self, name: str) -> Document:
        """How far a study is: the document of `trialwright status --json`."""
        return self._read(_at(name))

    def watch(self, name: str) -> Iterator[Document]:
        """A study's status, whenever it changes, until it no longer runs; looks for a service that went away.

        Raises:
            SpecError: there is no such study, or its driver failed; says how.
            RetryableError: the service stayed away.
        """
        latest: Document | None = None
        lost_at: float | None = None
        while True:
            try:
                for event in self._events(name):
                    lost_at = None
                    told = json.loads(event.data)
                    if event.event == "end":
                        if told["problem"]:
                            raise SpecError(f"The driver of study {name!r} failed: {told['problem']}")
                        return
                    if told != latest:
                        latest = told
                        yield told
            except RetryableError:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > PATIENCE_S:
                    raise
            time.sleep(1.0)

    def stop(self, name: str) -> Document:
        """Ask a study to stop in order."""
        return self._json("POST", f"{_at(name)}/stop")

    def resume(self, name: str) -> Document:
        """Have a study go on, and its lost trials run again."""
        return self._json("POST", f"{_at(name)}/resume")

    def delete(self, name: str) -> None:
        """Forget a study that does not run."""
        self._send("DELETE", _at(name))

    def trials(self, name: str, **filters: str) -> Iterator[Document]:
        """The trials of a study, page by page.

        Args:
            name: of the study.
            filters: `phase`, `family`, `outcome`.
        """
        return self._pages(f"{_at(name)}/trials", filters)

    def measurements(self, name: str, trial: str) -> Iterator[Document]:
        """What one trial measured."""
        return self._pages(f"{_at(name)}/measurements", {"trial": trial})

    def rungs(self, name: str, **filters: str) -> Iterator[Document]:
        """The decisions of ASHA; filters as for `trials`."""
        return self._pages(f"{_at(name)}/rungs", filters)

    def events(self, name: str) -> Iterator[Document]:
        """What happened to a study."""
        return self._pages(f"{_at(name)}/events", {})

    def claims(self, name: str) -> Document:
        """What a study claims, as registered."""
        return self._read(f"{_at(name)}/claims")

    def verdicts(self, name: str) -> Document:
        """What became of each claim so far."""
        return self._read(f"{_at(name)}/verdicts", timeout_s=None)

    def report(self, name: str, formats: Sequence[str], out_dir: str | Path) -> dict[str, Path]:
        """Fetch the report of a study, with its figures and tables.

        Args:
            name: of the study.
            formats: such as `html` and `pdf`.
            out_dir: folder to write to; it is made.

        Returns:
            Format → its main file.
        """
        folder = Path(out_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return {form: self._archive(name, form, folder) for form in formats}
        except OSError as error:
            raise SpecError(
                f"The report cannot be written to {str(folder)!r} ({error.strerror}): name another folder."
            ) from None

    def _archive(self, name: str, form: str, folder: Path) -> Path:
        """Fetch and unpack one format; the main file stands first."""
        path = f"{_at(name)}/reports/{quote(form, safe='')}"
        with TemporaryFile() as file:
            num_bytes = 0
            with (
                self._answering(),
                self._http.stream("GET", path, params={"archive": "true"}, timeout=None) as answer,
            ):
                if answer.is_error:
                    answer.read()
                    _refuse(answer)
                for piece in answer.iter_bytes():
                    num_bytes += len(piece)
                    if num_bytes > MOST_REPORT_BYTES:
                        raise _no_report(name, f"it is longer than {MOST_REPORT_BYTES:,} bytes")
                    file.write(piece)
            try:
                with open_archive(file) as archive:
                    paths = unpack(archive, folder, most_bytes=MOST_REPORT_BYTES)
            except UnsafeArchiveError as error:
                raise _no_report(name, str(error)) from None
        if not paths:
            raise _no_report(name, "it is empty")
        return paths[0]

    def _events(self, name: str) -> Iterator[httpx2.ServerSentEvent]:
        timeout = httpx2.Timeout(self._timeout_s, read=STREAM_SILENCE_S)
        with self._answering(), self._http.sse(f"{_at(name)}/watch", timeout=timeout) as source:
            if source.response.is_error:
                source.response.read()
                _refuse(source.response)
            yield from (event for event in source if event.data)  # others only say when to come back

    def _pages(self, path: str, filters: Mapping[str, str]) -> Iterator[Document]:
        params = {"limit": "1000", **filters}
        while True:
            page = self._read(path, params=params)
            yield from page["items"]
            if page["next"] is None:
                return
            params["cursor"] = page["next"]

    def _read(
        self, path: str, *, params: Mapping[str, str] | None = None, timeout_s: float | None = 0.0
    ) -> Document:
        wait_s = self._timeout_s if timeout_s == 0.0 else timeout_s
        return self._json("GET", path, params=params, again=True, timeout=wait_s)

    def _json(self, method: str, path: str, **request: Any) -> Document:
        document: Document = self._send(method, path, **request).json()
        return document

    def _send(self, method: str, path: str, *, again: bool = False, **request: Any) -> httpx2.Response:
        """Send a request, again where that does no harm; wait where the service asks for it."""
        headers = {
            **request.pop("headers", {}),
            **({"Content-Type": "application/json"} if "content" in request else {}),
        }
        for attempt in range(1, NUM_ATTEMPTS + 1):
            is_last = attempt == NUM_ATTEMPTS
            try:
                with self._answering():
                    answer = self._http.request(method, path, headers=headers, **request)
            except RetryableError:
                if is_last or not again:
                    raise
                time.sleep(attempt)
                continue
            if answer.status_code == _TOO_MANY and not is_last:
                time.sleep(_retry_after_s(answer))
                continue
            if answer.is_error:
                _refuse(answer)
            return answer
        raise AssertionError  # the last attempt returned or raised

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn a failure of the connection into one of the error tree."""
        try:
            yield
        except httpx2.TransportError as error:
            raise RetryableError(
                f"The service at {self._url} does not answer ({type(error).__name__}): see whether it runs, "
                "and try again."
            ) from None


def _token(token: str | None) -> str | None:
    path = os.environ.get("TRIALWRIGHT_TOKEN_FILE")
    secret = token or os.environ.get("TRIALWRIGHT_TOKEN")
    if not secret and path:
        try:
            secret = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise SpecError(
                f"TRIALWRIGHT_TOKEN_FILE names {path!r}, which cannot be read: correct it or its permissions."
            ) from None
    if secret and not (secret.isascii() and secret.isprintable()):
        raise SpecError("The token holds characters that none has: copy it again.")
    return secret or None


def _no_report(name: str, why: str) -> SpecError:
    return SpecError(
        f"What the service sent as the report of study {name!r} cannot be unpacked ({why}): use its own release of "
        "Trialwright on this side too, and ask again."
    )


def _at(name: str) -> str:
    return f"/api/v1/studies/{quote(name, safe='')}"


def _body(spec: Mapping[str, Any] | str, claims: Mapping[str, Any] | str | None) -> bytes:
    try:
        return json.dumps({"spec": spec, "claims": claims}, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"The study is no plain data ({error}): use text, finite numbers, lists and dicts."
        ) from None


def _retry_after_s(answer: httpx2.Response) -> float:
    said = answer.headers.get("Retry-After", "1")
    return min(_LONGEST_WAIT_S, float(said)) if said.isdecimal() else 1.0


def _refuse(answer: httpx2.Response) -> NoReturn:
    """Raise what an answer that is no success says."""
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"The service answered {answer.status_code} {answer.reason_phrase}."
    if answer.is_server_error or answer.status_code == _TOO_MANY:
        raise RetryableError(detail)
    raise SpecError(detail)
