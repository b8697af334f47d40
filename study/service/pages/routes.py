"""The pages' addresses: everything that is only looked at. What changes something is in `actions`."""

import time
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse

from search_spaces.errors import LedgerError, SpecError
from study.ledger import Ledger
from study.report import FORMATS
from study.service.auth import Reader
from study.service.context import Context, context_of
from study.service.pages import actions, showing
from study.service.pages.feed import Feeds
from study.service.pages.progress import PHASE_TITLES
from study.service.pages.rendering import page, root_of, static_files
from study.service.pages.trial import TrialView
from study.service.pages.trial_list import KINDS, find_trials
from study.service.problems import Problem
from study.service.reports import MEDIA_TYPES

router = APIRouter(include_in_schema=False)
router.include_router(actions.router)

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
FOREVER = "public, max-age=31536000, immutable"
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The report is one file with its style and script inside; in a sandbox it is nobody, and reaches nothing of ours."""
FORMAT_WORDS = {
    "html": "HTML",
    "pdf": "PDF",
    "md": "Markdown",
    "json": "JSON",
    "csv": "Trials as CSV",
    "parquet": "Trials as Parquet",
    "tex": "TeX tables",
}


class AskedTrials(BaseModel):
    """Which trials are to be listed; what is empty restricts nothing."""

    phase: str = ""
    family: str = ""
    kind: str = ""
    page: int = Field(default=1, ge=1, le=1_000_000)


@router.get("/")
async def studies(request: Request, _: Reader) -> Response:
    """All studies."""
    context = context_of(request)
    shown = await context.call(showing.studies_page, context.ledger, **_studies_place(request))
    return page(request, "studies.html", here="studies", live="/live", fragments=shown.fragments)


@router.get("/live")
async def studies_stream(request: Request, _: Reader) -> Response:
    """The first page's stream."""
    ledger, place = context_of(request).ledger, _studies_place(request)
    return _stream(request, lambda: showing.studies_page(ledger, **place), *place.values())


@router.get("/studies/{study}")
async def one_study(request: Request, study: str, _: Reader) -> Response:
    """One study."""
    context = context_of(request)
    view, shown = await _found(context, _study_pages(request).page, study, **_study_place(request))
    live = showing.live_path("studies", study)
    return page(request, "study.html", view=view, live=live, fragments=shown.fragments)


@router.get("/live/studies/{study}")
async def study_stream(request: Request, study: str, _: Reader) -> Response:
    """A study's stream."""
    pages, place = _study_pages(request), _study_place(request)
    return _stream(request, lambda: pages.page(study, **place)[1], "study", study, *place.values())


@router.get("/studies/{study}/trials")
async def trials(
    request: Request, study: str, _: Reader, *, asked: Annotated[AskedTrials, Query()]
) -> Response:
    """A study's trials."""
    context = context_of(request)
    chosen = asked.model_dump(include={"phase", "family", "kind"})
    found = await _found(
        context, find_trials, context.ledger, study, **chosen, page=asked.page, now=time.time()
    )
    query = urlencode({name: value for name, value in chosen.items() if value})
    return page(
        request,
        "trials.html",
        name=study,
        found=found,
        chosen=chosen,
        query=query + "&" if query else "",
        phases=[(one.value, title) for one, title in PHASE_TITLES.items()],
        families=[(one, one) for one in found.families],
        kinds=[(one, one) for one in KINDS],
    )


@router.get("/studies/{study}/trials/{key:path}")
async def one_trial(request: Request, study: str, key: str, _: Reader) -> Response:
    """One trial."""
    context = context_of(request)
    view, shown = await _found(context, _trial_page, context.ledger, study, key, root=root_of(request))
    live = showing.live_path("trials", study, key)
    return page(request, "trial.html", view=view, live=live, fragments=shown.fragments)


@router.get("/live/trials/{study}/{key:path}")
async def trial_stream(request: Request, study: str, key: str, _: Reader) -> Response:
    """A trial's stream."""
    ledger, root = context_of(request).ledger, root_of(request)
    return _stream(request, lambda: _trial_page(ledger, study, key, root=root)[1], "trial", study, key, root)


@router.get("/studies/{study}/mlflow")
async def comparison(request: Request, study: str, _: Reader) -> Response:
    """To MLflow's page that compares the families."""
    context = context_of(request)
    await actions.known(context, study)
    return RedirectResponse(await context.call(_comparison_url, context, study), status_code=303)


@router.get("/studies/{study}/report")
async def report(request: Request, study: str, _: Reader) -> Response:
    """The report, framed."""
    context = context_of(request)
    record = await actions.known(context, study)
    formats = [(name, FORMAT_WORDS[name]) for name in FORMATS if name != "html"]
    return page(request, "report_page.html", name=study, state=record.state.value, formats=formats)


@router.get("/studies/{study}/report/{name}")
async def report_file(request: Request, study: str, name: str, _: Reader) -> Response:
    """One format of the report."""
    context = context_of(request)
    if name not in FORMATS:
        raise Problem(
            404, f"There is no report in the format {name[:40]!r}: choose one of {', '.join(FORMATS)}."
        )
    path = await _found(context, context.reports.path, study, name)
    headers = {"Cache-Control": "no-store"}
    if name == "html":
        headers |= {"Content-Security-Policy": REPORT_POLICY, "X-Frame-Options": "SAMEORIGIN"}
        return FileResponse(path, media_type=MEDIA_TYPES[name], headers=headers)
    return FileResponse(path, media_type=MEDIA_TYPES[name], headers=headers, filename=f"{study}-{path.name}")


@router.get("/static/{name}")
async def static(name: str, v: str = "") -> Response:
    """A style sheet, a module or an icon; they are the same for everyone."""
    file = static_files().get(name)
    if file is None:
        raise Problem(404, "There is no such file.")
    caching = FOREVER if v == file.digest else "no-cache"
    return Response(file.content, media_type=file.media_type, headers={"Cache-Control": caching})


def _study_pages(request: Request) -> showing.StudyPages:
    pages: showing.StudyPages = request.app.state.study_pages
    return pages


def _studies_place(request: Request) -> dict[str, str]:
    return {"root": root_of(request), "here_url": str(request.base_url).rstrip("/")}


def _study_place(request: Request) -> dict[str, str]:
    settings = context_of(request).settings
    ray = settings.ray_url or settings.ray or ""
    return {"root": root_of(request), "ray_url": ray if ray.startswith(("http://", "https://")) else ""}


def _trial_page(ledger: Ledger, study: str, key: str, *, root: str) -> tuple[TrialView, Any]:
    try:
        return showing.trial_page(ledger, study, key, root=root)
    except LedgerError:
        raise SpecError(f"Study {study!r} has no trial {key!r}: its list of trials has all.") from None


async def _found(context: Context, function: Any, *args: Any, **kwargs: Any) -> Any:
    """What a ledger call gives; 404 where there is no such study or trial."""
    try:
        return await context.call(function, *args, **kwargs)
    except SpecError as error:
        raise Problem(404, str(error)) from None


def _comparison_url(context: Context, study: str) -> str:
    from study.tracking import comparison_url

    uri = context.settings.tracking_uri or context.home.tracking_uri
    try:
        return comparison_url(context.ledger, study, uri, context.settings.mlflow_url)
    except SpecError as error:
        raise Problem(409, str(error)) from None


def _stream(request: Request, render: Any, *names: str) -> Response:
    feeds: Feeds = request.app.state.feeds
    feeds.admit()
    return StreamingResponse(
        feeds.watch("\n".join(names), render), media_type="text/event-stream", headers=STREAM_HEADERS
    )
