"""Whether the service lives, whether it can work, and what Prometheus wants to know."""

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse, Response

from search_spaces.errors import TrialwrightError
from study.service.api.documented import errors
from study.service.auth import reads
from study.service.context import context_of
from study.service.problems import Problem

READY_WITHIN_S = 3.0

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """How the service is."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok"}})

    status: str
    """`ok`."""


@router.get("/health/live", summary="Whether the process answers", responses=errors(400))
async def live() -> Health:
    """Ask whether the process answers; nothing else is looked at."""
    return Health(status="ok")


@router.get(
    "/health/ready", summary="Whether the ledger answers", response_model=Health, responses=errors(400, 503)
)
async def ready(request: Request) -> Response:
    """Ask whether requests can be served: whether the ledger answers within three seconds."""
    context = context_of(request)
    try:
        with anyio.fail_after(READY_WITHIN_S):
            await anyio.to_thread.run_sync(context.ledger.tokens, abandon_on_cancel=True)
    except (TrialwrightError, TimeoutError):
        raise Problem(503, "The ledger does not answer: bring its database back.") from None
    return JSONResponse({"status": "ok"})


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    dependencies=[Depends(reads)],
    response_class=Response,
    responses={**errors(400, 401, 429, 503), 200: {"content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Studies by state, trials by outcome, requests, streams and reports, in Prometheus's text format."""
    context = context_of(request)
    return Response(await context.call(context.meters.render), media_type=CONTENT_TYPE_LATEST)
