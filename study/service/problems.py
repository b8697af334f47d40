"""Errors as RFC 9457 has them: `application/problem+json`, with value, rule and way out where they are known."""

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from search_spaces.errors import RetryableError, SpecError, TrialwrightError
from study.spec_errors import shown

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_LOG = logging.getLogger("trialwright.service")
_SENTENCE = re.compile(
    r"(?P<value>.{1,400}?), (?:but|and|since) (?P<rule>.{1,400}?): (?P<way_out>[^:]{1,400}?)\.?", re.DOTALL
)


class Problem(Exception):  # noqa: N818 -- the RFC's own word
    """An answer that is no success."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        """Begin.

        Args:
            status: HTTP status.
            detail: one sentence for people.
            headers: further headers of the answer.
            members: further members of the document, such as `value`, `rule` and `way_out`.
        """
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members

    @property
    def document(self) -> dict[str, Any]:
        """What is sent."""
        head = {"type": "about:blank", "title": HTTPStatus(self.status).phrase, "status": self.status}
        return {**head, "detail": readable(self.detail), **members_of(self.detail), **self.members}

    def response(self) -> Response:
        """The answer."""
        return JSONResponse(
            self.document, status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE
        )


def members_of(sentence: str) -> dict[str, str]:
    """Value, rule and way out of a sentence of the error tree; nothing where it is built otherwise."""
    found = _SENTENCE.fullmatch(readable(sentence))
    return {} if found is None else dict(found.groupdict())


def readable(text: str) -> str:
    """Text that can be sent: half characters, which JSON's escapes allow, are replaced."""
    return text.encode(errors="replace").decode()


def of_spec_error(error: SpecError, status: int = 422) -> Problem:
    """A mistake in what was sent."""
    return Problem(status, str(error))


def install(app: FastAPI) -> None:
    """Have every error of an app told as a problem."""
    app.add_exception_handler(Problem, _answer)
    app.add_exception_handler(TrialwrightError, _answer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(HTTPException, _answer)
    app.add_exception_handler(Exception, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    problem = as_problem(error)
    if problem.status == HTTPStatus.UNAUTHORIZED and _is_for_people(request):
        return RedirectResponse(f"/login?next={quote(request.url.path)}", status_code=303)
    page = getattr(request.app.state, "error_page", None)
    if page is not None and _is_for_people(request):
        told: Response = page(request, problem)
        return told
    return problem.response()


def as_problem(error: Exception) -> Problem:
    """What is told of an error: everything of the user's mistakes, nothing of our own surroundings."""
    match error:
        case Problem():
            return error
        case SpecError():
            return of_spec_error(error)
        case RetryableError():
            _LOG.warning("A request failed for now: %s", error)
            return Problem(
                503,
                "The service cannot reach what it needs: try the same again in a few seconds.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        case RequestValidationError():
            return _of_validation(error)
        case HTTPException():
            return _of_http(error)
    _LOG.error("A request failed.", exc_info=error)
    return Problem(500, "The service failed at this request: its log says why.")


def _of_validation(error: RequestValidationError) -> Problem:
    """The first thing that is wrong with a parameter."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    rule = str(first["msg"])
    rule = rule[:1].lower() + rule[1:]
    written = shown(first.get("input"))
    return Problem(
        422,
        f"{place} is {written}, but {rule}: correct it.",
        value=readable(f"{place} is {written}"),
        rule=rule,
        way_out="correct it",
    )


def _of_http(error: HTTPException) -> Problem:
    told = {
        404: "There is nothing at this address: /api/v1/openapi.json lists what there is.",
        405: f"This address does not take that method: it takes {(error.headers or {}).get('Allow', 'another')}.",
    }
    return Problem(error.status_code, told.get(error.status_code, str(error.detail)), headers=error.headers)


def _is_for_people(request: Request) -> bool:
    """Whether a browser asked for a page."""
    path = request.url.path
    is_page = not path.startswith(("/api/", "/health/", "/metrics", "/static/"))
    return is_page and "text/html" in request.headers.get("accept", "")
