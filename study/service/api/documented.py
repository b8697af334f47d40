"""How the API's answers are documented: the forms of its documents, with examples, and its errors."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from study.service.api import examples
from study.service.problems import MEDIA_TYPE

PREFIX = "/api/v1"
"""Where the API stands; each router has it whole, so that metrics name whole routes."""
_WHEN = {
    400: "The Host header names another host.",
    401: "A token is needed, or the one that was sent does not hold.",
    403: "The token only reads, or another site made a browser send this.",
    404: "There is no such study, trial or file.",
    405: "The address does not take this method.",
    409: "The study is not in a state in which this can be done.",
    413: "The request is too large.",
    415: "The content is of a kind that is not read here.",
    422: "Something in the request is wrong; the sentence says what and what to do.",
    429: "Too many requests or streams; `Retry-After` says when to come back.",
    503: "The ledger, or whatever else is needed, does not answer; try again.",
}
USUAL = (400, 401, 422, 429, 503)


class ProblemDocument(BaseModel):
    """An error as RFC 9457 has it."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "The study: training.steps is 0, but must be greater than or equal to 1: raise it.",
                "value": "The study: training.steps is 0",
                "rule": "must be greater than or equal to 1",
                "way_out": "raise it",
            }
        },
    )

    type: str
    title: str
    status: int
    detail: str
    value: str | None = None
    rule: str | None = None
    way_out: str | None = None


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented errors of an operation."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {"description": _WHEN[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted(statuses)
    }


class Status(BaseModel):
    """How far a study is: the document of `trialwright status --json`."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "study": "reviews-smollm2",
                "state": "running",
                "driver": "process 4711 on head",
                "phases": {"search": {"planned": 192, "finished": 20, "stopped": 31, "diverged": 4}},
                "running": ["search/rsgd/r00/p12"],
                "device_seconds": 5410.2,
            }
        },
    )

    study: str
    state: str
    driver: str | None
    phases: dict[str, dict[str, int]]
    running: list[str]
    waiting: str | None = None
    """What the driver waits for as long as no pack has started; null where it does not."""
    device_seconds: float


class Summary(BaseModel):
    """A study in the list of studies."""

    model_config = ConfigDict(json_schema_extra={"example": examples.SUMMARY})

    study: str
    state: str
    created_at: float
    changed_at: float
    families: list[str]
    num_trials: int
    num_ended: int


class Studies(BaseModel):
    """All studies, the newest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"studies": [examples.SUMMARY]}})

    studies: list[Summary]


class Plan(BaseModel):
    """What a study will do, from its file alone; nothing is timed."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "study": "reviews-smollm2",
                "digest": "5f0c…",
                "num_trials": 412,
                "steps_per_trial": 200,
                "trial_counts": {"search": {"rsgd": 32, "grsgd": 32}},
                "beside_counts": {},
                "smallest_effects": {
                    "confirmation": {"unit": "seeds", "n": 30, "effect_sd": 0.53, "smallest_p": 1.9e-9}
                },
                "claims": ["C1"],
            }
        },
    )

    study: str
    digest: str
    num_trials: int
    steps_per_trial: int
    trial_counts: dict[str, dict[str, int]]
    beside_counts: dict[str, dict[str, int]]
    smallest_effects: dict[str, dict[str, Any]]
    claims: list[str]


class Page(BaseModel):
    """Some of many things, in order."""

    items: list[dict[str, Any]]
    next: str | None = Field(description="Send it as `cursor` for the next page; null on the last.")


class Claims(BaseModel):
    """What a study claims, as registered."""

    model_config = ConfigDict(json_schema_extra={"example": examples.CLAIMS})

    study: str
    registered: dict[str, Any] | None
    claims: dict[str, Any] | None


class Verdicts(BaseModel):
    """What became of each claim so far."""

    model_config = ConfigDict(json_schema_extra={"example": examples.VERDICTS})

    study: str
    state: str
    verdicts: list[dict[str, Any]]
    stability: list[dict[str, Any]]


class ReportFormats(BaseModel):
    """Where the reports of a study are."""

    model_config = ConfigDict(json_schema_extra={"example": examples.REPORTS})

    study: str
    reports: dict[str, str]
