"""What every request passes before it is routed: host names, sizes, headers, counters. Plain ASGI: streams stream."""

import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from study.service.meters import Meters
from study.service.problems import Problem

CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Of every answer that does not set them itself."""
UNROUTED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""That are counted by name; a client may invent others."""


class Observed:
    """Counts requests by route and status, and times the beginning of their answers."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        """Stand around an app."""
        self._app = app
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", UNROUTED)
                method = scope["method"] if scope["method"] in METHODS else "other"
                self._meters.requests.labels(method, route, message["status"]).inc()
                self._meters.request_s.labels(route).observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, counted)


class SecurityHeaders:
    """Adds the headers that keep a browser from doing what no page of ours needs."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand around an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


class HostCheck:
    """Refuses requests that ask for another host, as a page does that rebinds its own name to our address."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        """Stand around an app; `*` among the hosts lets all pass."""
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and "*" not in self._hosts:
            host = host_name(Headers(scope=scope).get("host", ""))
            if host not in self._hosts:
                detail = "The Host header names another host than this service's: use its own address."
                await Problem(400, detail).response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Refuses a request as soon as it is known to be too large: by what it says, or while it streams in."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Stand around an app."""
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        said = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        if said.isdecimal() and int(said[:20]) > self._max_bytes:
            await self._too_large().response()(scope, receive, send)
            return
        num_bytes = 0

        async def counted() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > self._max_bytes:
                raise self._too_large()
            return message

        refused = False

        async def corrected(message: Message) -> None:
            """What reads a form tells of anything that goes wrong as 400: it is 413."""
            nonlocal refused
            if num_bytes > self._max_bytes and message["type"] == "http.response.start":
                refused = True
                await self._too_large().response()(scope, receive, send)
            if not refused:
                await send(message)

        await self._app(scope, counted, corrected)

    def _too_large(self) -> Problem:
        return Problem(
            413,
            f"The request is larger than {self._max_bytes:,} bytes, and no study file needs so much: send less.",
            headers={"Connection": "close"},
        )


def host_name(header: str) -> str:
    """The name in a Host header, without its port, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
