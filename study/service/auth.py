"""Who asks, and what they may do: FastAPI dependencies for the API and the pages.

A token comes as `Authorization: Bearer twr_…` or, from a browser, in a cookie. On loopback, as long as the ledger
holds no token, everyone on the machine may do everything.
"""

import logging
import math
import time
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from study.ledger import Scope
from study.service.context import Context, context_of
from study.service.problems import Problem
from study.service.tokens import PREFIX, digest

COOKIE = "trialwright_token"
_REALM = 'Bearer realm="trialwright"'
_LOG = logging.getLogger("trialwright.service")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LONGEST_SECRET = 200

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token of `trialwright token create`; scope `read` looks, scope `run` also changes.",
)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sent a request."""

    name: str
    """Of the token; `anyone` where none is needed."""
    scope: Scope
    from_browser: bool
    """Whether a browser may have been made to send it: it came without an Authorization header."""

    @property
    def may_run(self) -> bool:
        """Whether it may change studies."""
        return self.scope is Scope.RUN


async def check_secret(context: Context, secret: str, address: str) -> Caller:
    """Who a secret belongs to; also what a page for logging in asks.

    Raises:
        Problem: 401 for one that is forged, expired or revoked; 429 for too many.
    """
    token = None
    if secret.startswith(PREFIX) and len(secret) <= _LONGEST_SECRET and secret.isascii():
        token = await context.call(context.ledger.token, digest(secret))
    if token is None:
        spend(context, f"address {address}")
        _LOG.warning("An unknown token was refused; it came from %s.", address)
        raise refused("This token is not known here: ask who runs the service for one.")
    spend(context, f"token {token.name}")
    if not token.is_valid(time.time()):
        was = "was revoked" if token.revoked_at is not None else "has expired"
        _LOG.warning("Token %r was refused, since it %s; it came from %s.", token.name, was, address)
        raise refused(f"Token {token.name!r} {was}: ask who runs the service for a new one.")
    return Caller(name=token.name, scope=token.scope, from_browser=False)


def refused(detail: str) -> Problem:
    """The answer to a token that does not hold."""
    return Problem(401, detail, headers={"WWW-Authenticate": f'{_REALM}, error="invalid_token"'})


def spend(context: Context, caller: str) -> None:
    """Count a request.

    Raises:
        Problem: 429, the caller has sent too many.
    """
    wait_s = context.rate.wait_s(caller)
    if wait_s:
        raise Problem(
            429,
            f"Too many requests: wait {wait_s:.1f} s, and send at most {context.settings.rate_per_s:g} a second.",
            headers={"Retry-After": str(math.ceil(wait_s))},
        )


def address_of(request: Request) -> str:
    """Where a request came from."""
    return request.client.host if request.client else "nowhere"


async def caller(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Who sent a request.

    Raises:
        Problem: 401, 429.
    """
    context = context_of(request)
    address = address_of(request)
    if bearer is not None:
        return await check_secret(context, bearer.credentials, address)
    if request.headers.get("authorization"):
        spend(context, f"address {address}")
        raise refused("The Authorization header is of another kind: write `Authorization: Bearer twr_…`.")
    cookie = request.cookies.get(COOKIE)
    if cookie:
        known = await check_secret(context, cookie, address)
        return Caller(name=known.name, scope=known.scope, from_browser=True)
    spend(context, f"address {address}")
    if context.settings.is_loopback and not await context.call(context.ledger.tokens):
        return Caller(name="anyone", scope=Scope.RUN, from_browser=True)
    raise Problem(
        401,
        "This needs a token: send it as `Authorization: Bearer twr_…`.",
        headers={"WWW-Authenticate": _REALM},
    )


async def reads(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """Whoever may look."""
    return who


async def runs(request: Request, who: Annotated[Caller, Depends(caller)]) -> Caller:
    """Whoever may change studies.

    Raises:
        Problem: 403, the token only reads, or another site made a browser send this.
    """
    if not who.may_run:
        _LOG.warning("Token %r was refused %s %r: it only reads.", who.name, request.method, request.url.path)
        raise Problem(
            403,
            f"Token {who.name!r} has the scope read, but this needs the scope run: use another token.",
            headers={"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="run"'},
        )
    if who.from_browser:
        require_same_site(request)
    return who


def require_same_site(request: Request) -> None:
    """Refuse a change that another site made a browser ask for.

    Raises:
        Problem: 403.
    """
    if request.method in _SAFE:
        return
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    foreign = origin is not None and _host_of(origin) != request.headers.get("host")
    if site not in {"same-origin", "none"} or foreign:
        _LOG.warning("%s %r was refused: another site asked for it.", request.method, request.url.path)
        raise Problem(403, "Another site asked for this change: open the service's own page and do it there.")


def _host_of(origin: str) -> str:
    """Host and port of an Origin header; nothing where it is no address."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


Reader = Annotated[Caller, Depends(reads)]
Runner = Annotated[Caller, Depends(runs)]
