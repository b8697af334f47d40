"""Reports in every format, written from the ledger when they are asked for and kept until the study changes."""

# ruff: noqa: FAST003 -- the dependency `existing` reads the study's name

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, JSONResponse, Response

from study.service.api import examples
from study.service.api.asked import Study
from study.service.api.documented import PREFIX, USUAL, ReportFormats, errors
from study.service.auth import Reader
from study.service.context import context_of
from study.service.reports import MEDIA_TYPES

router = APIRouter(prefix=PREFIX, tags=["reports"])
Format = StrEnum("Format", {name.upper(): name for name in MEDIA_TYPES})  # type: ignore[misc]
_FILES = {
    "description": "The format's main file, or all of its files in an archive.",
    "content": {
        media_type.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
        for media_type in (*MEDIA_TYPES.values(), "application/zip")
    }
    | {MEDIA_TYPES["json"]: {"schema": {"type": "object"}, "example": examples.REPORT}},
}


@router.get(
    "/studies/{name}/reports",
    summary="Where the reports are",
    response_model=ReportFormats,
    responses=errors(*USUAL, 404),
)
async def formats(_request: Request, _who: Reader, record: Study) -> Response:
    """Name the address of the report in each format."""
    places = {name: f"/api/v1/studies/{record.name}/reports/{name}" for name in MEDIA_TYPES}
    return JSONResponse({"study": record.name, "reports": places})


@router.get(
    "/studies/{name}/reports/{form}",
    summary="The report in one format",
    response_class=FileResponse,
    responses={**errors(*USUAL, 404), 200: _FILES},
)
async def report(
    request: Request,
    _who: Reader,
    record: Study,
    form: Format,
    archive: Annotated[bool, Query(description="All files of the format as a ZIP archive.")] = False,
) -> Response:
    """Give the report of a study as it stands now; the first request after a change waits while it is written."""
    context = context_of(request)
    path = await context.reports.produce(record.name, form.value, archive=archive)
    media_type = "application/zip" if archive else MEDIA_TYPES[form.value]
    name = f"{record.name}-{form.value}.zip" if archive else f"{record.name}-{path.name}"
    return FileResponse(path, media_type=media_type, filename=name)
