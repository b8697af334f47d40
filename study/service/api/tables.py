"""Trials, measurements and rungs: in pages as JSON, or whole as CSV and Parquet."""

# ruff: noqa: FAST003 -- the dependency `existing` reads the study's name

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from study.ledger import TrialActivity
from study.service.api import examples
from study.service.api.asked import Form, Paged, Study, TrialKey, Wanted, cursor_to, places_of
from study.service.api.documented import PREFIX, USUAL, Page, errors
from study.service.api.examples import page, shown
from study.service.auth import Reader
from study.service.context import context_of
from study.service.problems import Problem
from study.service.reports import MEDIA_TYPES
from study.service.trial_tables import (
    Fits,
    curve_frame,
    measurements_page,
    trial_document,
    trial_frame,
    trials_page,
)
from study.trial_table import rung_table

if TYPE_CHECKING:
    import pandas as pd

router = APIRouter(prefix=PREFIX, tags=["trials"])


def _tables(item: dict[str, Any]) -> dict[str, Any]:
    """The forms in which a table is given, with an example of one item of its pages."""
    return {
        "description": "A page as JSON, or the whole table.",
        "content": {
            **shown(page(item))["content"],
            "text/csv": {"schema": {"type": "string"}},
            MEDIA_TYPES["parquet"]: {"schema": {"type": "string", "format": "binary"}},
        },
    }


@router.get(
    "/studies/{name}/trials",
    summary="Trials",
    response_model=Page,
    responses={**errors(*USUAL, 404), 200: _tables(examples.TRIAL)},
)
async def trials(
    request: Request,
    _who: Reader,
    record: Study,
    wanted: Wanted,
    paged: Paged,
) -> Response:
    """List the trials in planned order, with their parameters, outcomes and scores."""
    context = context_of(request)
    kind = f"trials|{wanted.text}"
    (start,) = places_of(paged.cursor, kind)

    def answer() -> Response:
        known = context.ledger.trial_activity(record.name)
        if paged.form is not Form.JSON:
            table = trial_frame(context.ledger, record.name, _keys(known, wanted.fits))
            return _table(table, paged.form, f"{record.name}-trials")
        items, following = trials_page(known, wanted.fits, start=start, limit=paged.limit)
        return _page(items, None if following is None else cursor_to(kind, following))

    return await context.call(answer)


@router.get(
    "/studies/{name}/trials/{trial:path}",
    summary="One trial",
    response_model=dict[str, Any],
    responses={**errors(*USUAL, 404), 200: shown(examples.TRIAL)},
)
async def trial(request: Request, _who: Reader, record: Study, trial: TrialKey) -> Response:
    """Tell everything about one trial but its measurements."""
    context = context_of(request)

    def answer() -> Response:
        return JSONResponse(
            trial_document(_one(context.ledger.trial_activity(record.name), record.name, trial))
        )

    return await context.call(answer)


@router.get(
    "/studies/{name}/measurements",
    summary="Measurements",
    response_model=Page,
    responses={**errors(*USUAL, 404), 200: _tables(examples.MEASUREMENT)},
)
async def measurements(
    request: Request,
    _who: Reader,
    record: Study,
    wanted: Wanted,
    paged: Paged,
    trial: Annotated[
        str | None,
        Query(pattern=r"^[A-Za-z0-9._/-]{1,250}$", description="Only those of the trial with this key."),
    ] = None,
) -> Response:
    """List what trials measured: by trial in planned order, then in the order of arrival."""
    context = context_of(request)
    kind = f"measurements|{wanted.text}|{trial or ''}"
    start = places_of(paged.cursor, kind, 2)

    def answer() -> Response:
        known = context.ledger.trial_activity(record.name)
        fits = wanted.fits if trial is None else _one(known, record.name, trial).__eq__
        if paged.form is not Form.JSON:
            table = curve_frame(context.ledger, record.name, _keys(known, fits))
            return _table(table, paged.form, f"{record.name}-measurements")
        items, following = measurements_page(
            context.ledger, record.name, known, fits, start=start, limit=paged.limit
        )
        return _page(items, None if following is None else cursor_to(kind, *following))

    return await context.call(answer)


@router.get(
    "/studies/{name}/rungs",
    summary="Decisions of ASHA",
    response_model=Page,
    responses={**errors(*USUAL, 404), 200: _tables(examples.RUNG)},
)
async def rungs(
    request: Request,
    _who: Reader,
    record: Study,
    wanted: Wanted,
    paged: Paged,
) -> Response:
    """List the decisions of ASHA on the trials that are meant, in the order in which they were made."""
    context = context_of(request)
    kind = f"rungs|{wanted.text}"
    (start,) = places_of(paged.cursor, kind)

    def answer() -> Response:
        keys = _keys(context.ledger.trial_activity(record.name), wanted.fits)
        if paged.form is not Form.JSON:
            table = rung_table(context.ledger, record.name)
            return _table(table[table["trial"].isin(keys)], paged.form, f"{record.name}-rungs")
        decided = context.ledger.rungs(record.name)
        places = [place for place in range(start, len(decided)) if decided[place].trial in keys]
        items = [asdict(decided[place]) for place in places[: paged.limit]]
        return _page(items, cursor_to(kind, places[paged.limit]) if len(places) > paged.limit else None)

    return await context.call(answer)


def _page(items: list[dict[str, Any]], following: str | None) -> Response:
    return JSONResponse({"items": items, "next": following})


def _keys(known: Sequence[TrialActivity], fits: Fits) -> set[str]:
    return {one.record.planned.key for one in known if fits(one)}


def _one(known: Sequence[TrialActivity], study: str, key: str) -> TrialActivity:
    """The trial with a key.

    Raises:
        Problem: 404.
    """
    for one in known:
        if one.record.planned.key == key:
            return one
    raise Problem(404, f"Study {study!r} has no trial {key!r}: list its trials.", value=key)


def _table(table: "pd.DataFrame", form: Form, name: str) -> Response:
    """A whole table as a file; no cell of a CSV runs as a formula."""
    from study.report.tables import to_csv, to_parquet

    content = to_csv(table) if form is Form.CSV else to_parquet(table)
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form.value}"'}
    return Response(content, media_type=MEDIA_TYPES[form.value], headers=headers)
