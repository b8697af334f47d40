"""From view models to HTML: Jinja2 with every value escaped, files named by what is in them, strict headers."""

import hashlib
import mimetypes
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import version
from typing import Any

import jinja2
from fastapi import Request
from markupsafe import Markup
from starlette.responses import HTMLResponse

from study.report import words
from study.service.auth import COOKIE
from study.service.pages import telling
from study.service.pages.progress import PHASE_TITLES

TEMPLATES = "study.service.pages.templates"
STATIC = "study.service.pages.static"
REPORT_STYLE = ("study.report.templates", "style.css")
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with `no-referrer` a browser posts our own forms with `Origin: null`
}
STATIC_FILES = ("pages.css", "icon.svg", "live.js", "new.js")


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """A part of a page that is rendered, and sent, by itself."""

    html: Markup
    digest: str
    """Tells whether a browser has it already."""


@dataclass(frozen=True, kw_only=True)
class Static:
    """A file that browsers keep for as long as its name carries the same digest."""

    content: bytes
    media_type: str
    digest: str


@cache
def static_files() -> Mapping[str, Static]:
    """Name → file; the report's style sheet is the base of ours, so that both look alike."""
    places = {name: (STATIC, name) for name in STATIC_FILES} | {"report.css": REPORT_STYLE}
    found = {}
    for name, (package, file) in places.items():
        content = (resources.files(package) / file).read_bytes()
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        found[name] = Static(
            content=content, media_type=media_type, digest=hashlib.sha256(content).hexdigest()[:12]
        )
    return found


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page.

    Args:
        request: what it answers.
        template: its file.
        status: HTTP status.
        values: what the template names.
    """
    html = _environment().get_template(template).render({**_frame(request), **values})
    return HTMLResponse(html, status_code=status, headers=HEADERS)


def fragment(template: str, *, root: str, **values: Any) -> Fragment:
    """A part of a page.

    Args:
        template: its file.
        root: path under which the service is mounted.
        values: what the template names.
    """
    html = _environment().get_template(template).render(root=root, **values)
    return Fragment(html=Markup(html), digest=hashlib.sha256(html.encode()).hexdigest()[:16])  # noqa: S704


def root_of(request: Request) -> str:
    """Path under which the service is mounted, without a slash at its end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _frame(request: Request) -> dict[str, Any]:
    return {
        "root": root_of(request),
        "here": "",
        "now": time.time(),
        "signed_in": COOKIE in request.cookies,
        "version": version("trialwright"),
    }


def _asset(name: str) -> str:
    return f"/static/{name}?v={static_files()[name].digest}"


def _source(name: str) -> str:
    return (resources.files(TEMPLATES) / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {
        "asset": _asset,
        "phase_titles": PHASE_TITLES | {p.value: t for p, t in PHASE_TITLES.items()},
    }
    environment.filters |= {
        "ago": telling.ago,
        "clock": telling.clock,
        "decade": telling.decade,
        "duration": words.duration,
        "iso": telling.iso,
        "last_part": telling.last_part,
        "look": telling.look,
        "moment": words.moment,
        "number": words.number,
        "param": words.param,
        "rough": telling.rough,
        "short": telling.short,
    }
    return environment
