"""What requests have in common: names of studies and trials, pages, filters."""

import base64
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Path, Query, Request

from search_spaces.errors import SpecError
from study.ledger import StudyRecord, TrialActivity
from study.records import Outcome, Phase
from study.service.context import context_of
from study.service.problems import Problem
from study.spec_checks import NAME

MOST_ITEMS = 1000
OPEN = "open"
"""The outcome, in filters, of trials that have none."""

_PLACES = re.compile(r"(?P<places>[0-9]{1,12}(?:\.[0-9]{1,12})*)\|(?P<kind>.*)", re.DOTALL)

Name = Annotated[str, Path(pattern=f"^{NAME.pattern}$", description="Name of a study.", examples=["reviews"])]
TrialKey = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9._/-]{1,250}$",
        description="Key of a trial, with its slashes.",
        examples=["search/rsgd/r00/p03"],
    ),
]
Cursor = Annotated[
    str | None,
    Query(max_length=400, pattern=r"^[A-Za-z0-9_=-]+$", description="`next` of the page before."),
]
Limit = Annotated[int, Query(ge=1, le=MOST_ITEMS, description="Items on the page.")]


class Form(StrEnum):
    """How a table is sent: JSON in pages, the others whole."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which trials are meant; what is absent does not matter."""

    phase: Phase | None
    family: str | None
    outcome: str | None

    def fits(self, trial: TrialActivity) -> bool:
        """Whether a trial is meant."""
        planned, ending = trial.record.planned, trial.record.ending
        outcome = OPEN if ending is None else ending.outcome.value
        return (
            self.phase in {None, planned.phase}
            and self.family in {None, planned.family}
            and self.outcome in {None, outcome}
        )

    @property
    def text(self) -> str:
        """The same filters in one line, for cursors."""
        return f"{self.phase or ''}|{self.family or ''}|{self.outcome or ''}"


class OutcomeFilter(StrEnum):
    """How a trial ended, or `open` for one that has not."""

    FINISHED = Outcome.FINISHED
    STOPPED = Outcome.STOPPED
    DIVERGED = Outcome.DIVERGED
    OUT_OF_MEMORY = Outcome.OUT_OF_MEMORY
    INFRA_FAILED = Outcome.INFRA_FAILED
    CANCELLED = Outcome.CANCELLED
    OPEN = OPEN


def filters(
    phase: Annotated[Phase | None, Query(description="Only trials of this phase.")] = None,
    family: Annotated[
        str | None, Query(max_length=100, pattern=r"^[A-Za-z0-9._-]+$", description="Only this family's.")
    ] = None,
    outcome: Annotated[OutcomeFilter | None, Query(description="Only trials that ended so.")] = None,
) -> Filters:
    """Read the filters of a request."""
    return Filters(phase=phase, family=family, outcome=None if outcome is None else outcome.value)


Wanted = Annotated[Filters, Depends(filters)]


@dataclass(frozen=True, kw_only=True)
class Paging:
    """Which page of a list is wanted, and how."""

    form: Form
    cursor: str | None
    limit: int


def paging(
    form: Annotated[
        Form, Query(alias="format", description="JSON comes in pages, a table whole.")
    ] = Form.JSON,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Paging:
    """Read which page a request wants."""
    return Paging(form=form, cursor=cursor, limit=limit)


Paged = Annotated[Paging, Depends(paging)]


async def existing(request: Request, name: Name) -> StudyRecord:
    """The study that a request names.

    Raises:
        Problem: 404.
    """
    context = context_of(request)
    try:
        return await context.call(context.ledger.study, name)
    except SpecError as error:
        raise Problem(404, str(error), value=name) from None


Study = Annotated[StudyRecord, Depends(existing)]


def cursor_to(kind: str, *places: int) -> str:
    """A cursor that goes on at a place in a list of some kind."""
    text = f"{'.'.join(map(str, places))}|{kind}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def places_of(cursor: str | None, kind: str, number: int = 1) -> tuple[int, ...]:
    """Where a cursor goes on, as the numbers that `cursor_to` was given; zeros without one.

    Raises:
        Problem: 422, it is none, or one of another list.
    """
    if cursor is None:
        return (0,) * number
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        text = ""
    found = _PLACES.fullmatch(text)
    places = tuple(int(place) for place in found["places"].split(".")) if found else ()
    if found is None or found["kind"] != kind or len(places) != number:
        raise Problem(
            422,
            "The cursor is not of this list: send `next` of its last page, with the same filters.",
            value=cursor,
        )
    return places
