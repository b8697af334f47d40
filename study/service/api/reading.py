"""What was claimed, what became of it, and what happened."""

# ruff: noqa: FAST003 -- the dependency `existing` reads the study's name

import json
from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from study.service.api import examples
from study.service.api.asked import Cursor, Limit, Study, cursor_to, places_of
from study.service.api.documented import PREFIX, USUAL, Claims, Page, Verdicts, errors
from study.service.api.examples import page, shown
from study.service.auth import Reader
from study.service.context import context_of
from study.service.driving import claims_of

router = APIRouter(prefix=PREFIX, tags=["claims and verdicts"])


@router.get(
    "/studies/{name}/claims",
    summary="What a study claims",
    response_model=Claims,
    responses=errors(*USUAL, 404),
)
async def claims(request: Request, _who: Reader, record: Study) -> Response:
    """Give the study's claims file as it was last registered; null where nothing is claimed."""
    written = await context_of(request).call(claims_of, record)
    registered = None if written is None else written.get("registered")
    content = (
        None if written is None else {key: value for key, value in written.items() if key != "registered"}
    )
    return JSONResponse({"study": record.name, "registered": registered, "claims": content})


@router.get(
    "/studies/{name}/verdicts",
    summary="What became of each claim",
    response_model=Verdicts,
    responses=errors(*USUAL, 404),
)
async def verdicts(request: Request, _who: Reader, record: Study) -> Response:
    """Judge the claims by the trials there are; the engine runs as for a report, and the answer is kept like one."""
    context = context_of(request)
    path = await context.reports.produce(record.name, "json")
    found = json.loads(path.read_bytes())
    return JSONResponse(
        {
            "study": record.name,
            "state": found["state"],
            "verdicts": found["claims"],
            "stability": found["stability"],
        }
    )


@router.get(
    "/studies/{name}/events",
    summary="What happened",
    response_model=Page,
    responses={**errors(*USUAL, 404), 200: shown(page(examples.EVENT))},
)
async def events(
    request: Request, _who: Reader, record: Study, cursor: Cursor = None, limit: Limit = 100
) -> Response:
    """List what happened to a study and is no measurement, the oldest first."""
    context = context_of(request)
    (start,) = places_of(cursor, "events")
    happened = await context.call(context.ledger.events, record.name)
    items = [asdict(event) for event in happened[start : start + limit]]
    following = cursor_to("events", start + limit) if start + limit < len(happened) else None
    return JSONResponse({"items": items, "next": following})
