"""What went wrong, told to people: a page instead of a problem document."""

from http import HTTPStatus

from fastapi import Request
from starlette.responses import Response

from study.service.pages.rendering import page
from study.service.problems import Problem

TITLES = {
    400: "That cannot be asked",
    403: "Not allowed",
    404: "Nothing here",
    409: "Not now",
    413: "Too large",
    422: "That will not do",
    429: "Too many at once",
    503: "Not reachable for now",
}
FRAMED = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
}
NOTHING_HERE = "There is no page at this address. The study may have been deleted, or the address mistyped."


def error_page(request: Request, problem: Problem) -> Response:
    """A page that says what is wrong and where to go on.

    Args:
        request: what failed.
        problem: why.
    """
    is_unrouted = problem.status == HTTPStatus.NOT_FOUND and "openapi.json" in problem.detail
    told = page(
        request,
        "error.html",
        status=problem.status,
        title=TITLES.get(problem.status, "That went wrong"),
        sentence=NOTHING_HERE if is_unrouted else problem.document["detail"],
    )
    told.headers.update(problem.headers)
    if request.url.path.endswith("/report/html"):  # which stands in a frame of ours
        told.headers.update(FRAMED)
    return told
