"""Creating, listing, watching, stopping, resuming and deleting studies."""

# ruff: noqa: FAST003 -- the dependency `existing` reads the study's name

from typing import Annotated

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response, StreamingResponse

from study.service import driving
from study.service.api import examples
from study.service.api.asked import Study
from study.service.api.documented import PREFIX, USUAL, Status, Studies, errors
from study.service.api.examples import shown
from study.service.api.planning import BODY, submitted
from study.service.auth import Reader, Runner
from study.service.context import context_of
from study.service.views import status_document, studies_list
from study.service.watching import Watches

router = APIRouter(prefix=PREFIX, tags=["studies"])
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of your own: the same request with the same key makes one study.",
    ),
]
_LOCATION = {"Location": {"description": "Where the study is.", "schema": {"type": "string"}}}
_CREATED = {"description": "The study was created, and its driver is being started.", "headers": _LOCATION}
_THERE = {"description": "This very study is there already; nothing was started.", "headers": _LOCATION}
_EVENTS = {
    "description": (
        "A stream of events. Each without a name holds the status document, when it changes; the last one is called "
        "`end` and holds `state` and `problem`, how the driver failed if it did. Comments keep the stream alive."
    ),
    "content": {
        "text/event-stream": {
            "schema": {"type": "string"},
            "example": 'id: 5b1c\ndata: {"study":"reviews","state":"running"}\n\n',
        }
    },
}


class Told(BaseModel):
    """What will happen."""

    study: str
    told: str


@router.get("/studies", summary="All studies", response_model=Studies, responses=errors(*USUAL))
async def studies(request: Request, _who: Reader) -> Response:
    """List all studies with where they stand, the newest first."""
    context = context_of(request)
    return JSONResponse({"studies": await context.call(studies_list, context.ledger)})


@router.post(
    "/studies",
    summary="Create a study and start it",
    response_model=Status,
    status_code=201,
    responses={**errors(*USUAL, 403, 409, 413, 415), 200: {"model": Status, **_THERE}, 201: _CREATED},
    openapi_extra=BODY,
)
async def create(request: Request, who: Runner, key: Key = None) -> Response:
    """Create a study and have it driven; 200 where this very study is there already.

    Its claims, where it has any, must be locked.
    """
    context = context_of(request)
    submission = await submitted(request, to_run=True)
    name = submission.spec.name
    is_new = await context.change(driving.create, context, submission, by=who.name, key=key)
    document = await context.call(status_document, context.ledger, name)
    return JSONResponse(
        document, status_code=201 if is_new else 200, headers={"Location": f"/api/v1/studies/{name}"}
    )


@router.get(
    "/studies/{name}", summary="How far a study is", response_model=Status, responses=errors(*USUAL, 404)
)
async def study(request: Request, _who: Reader, record: Study) -> Response:
    """Say how far a study is: the document of `trialwright status --json`."""
    context = context_of(request)
    return JSONResponse(await context.call(status_document, context.ledger, record.name))


@router.get(
    "/studies/{name}/watch",
    summary="Watch a study until it no longer runs",
    response_class=StreamingResponse,
    responses={**errors(*USUAL, 404), 200: _EVENTS},
)
async def watch(
    request: Request,
    _who: Reader,
    record: Study,
    _last: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="Ignored: a stream begins with the present state."),
    ] = None,
) -> StreamingResponse:
    """Send the study's status whenever it changes, as server-sent events."""
    watches: Watches = request.app.state.watches
    watches.admit()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(watches.stream(record.name), media_type="text/event-stream", headers=headers)


@router.post(
    "/studies/{name}/stop",
    summary="Stop a study in order",
    response_model=Told,
    status_code=202,
    responses={**errors(*USUAL, 403, 404, 409), 202: shown(examples.STOPPED)},
)
async def stop(request: Request, who: Runner, record: Study) -> Response:
    """Ask the driver of a study to stop at its workers' next reports; `resume` goes on with it."""
    context = context_of(request)
    told = await context.change(driving.stop, context, record.name, by=who.name)
    return JSONResponse({"study": record.name, "told": told}, status_code=202)


@router.post(
    "/studies/{name}/resume",
    summary="Go on with a study",
    response_model=Told,
    status_code=202,
    responses={**errors(*USUAL, 403, 404, 409), 202: shown(examples.RESUMED)},
)
async def resume(request: Request, who: Runner, record: Study) -> Response:
    """Start a driver for a study that was stopped, interrupted or never started; lost trials run again."""
    context = context_of(request)
    await context.change(driving.resume, context, record.name, by=who.name)
    told = f"A driver of study {record.name} is being started on {context.launcher.describe()}."
    return JSONResponse({"study": record.name, "told": told}, status_code=202)


@router.delete(
    "/studies/{name}",
    summary="Forget a study",
    status_code=204,
    responses=errors(*USUAL, 403, 404, 409),
    response_class=Response,
)
async def delete(request: Request, who: Runner, record: Study) -> Response:
    """Forget a study that does not run, with its trials, checkpoints, adapters and reports."""
    context = context_of(request)
    await context.change(driving.delete, context, record.name, by=who.name)
    return Response(status_code=204)
