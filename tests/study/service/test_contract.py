"""What the OpenAPI document promises, held against the app by requests that schemathesis makes up."""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from study.ledger import Scope
from study.service.app import make_app
from study.service.context import make_context
from study.service.settings import ServiceSettings
from study.service.tokens import create_token
from tests.study.samples import STUDY
from tests.study.service.support import NoDrivers
from tests.study.service.test_tables import fill

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
NUM_EXAMPLES = 40


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An app over a ledger with a study, whose reports are there and whose rate is not limited."""
    home = tmp_path_factory.mktemp("home")
    shared = make_context(
        ServiceSettings(home=home, burst=10**9, poll_s=0.02, allow_hosts=("*",)), NoDrivers()
    )
    fill(shared.ledger)
    return make_app(shared.settings, context=shared)


@pytest.fixture(scope="module")
def api(app: Any) -> Any:
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)


@pytest.fixture(autouse=True)
def no_real_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reports take seconds each; what is served of them is shown elsewhere."""

    def path(_self: object, _study: str, name: str) -> Path:
        file = tmp_path / f"report.{name}"
        file.write_text('{"state": "running", "claims": [], "stability": []}')
        return file

    monkeypatch.setattr("study.service.reports.Reports.path", path)
    monkeypatch.setattr("study.service.reports.Reports.archive", path)


def test_no_request_breaks_what_is_promised(api: Any, app: Any):
    secret = create_token(app.state.context.ledger, "run", Scope.RUN)
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) >= 19
    seen: Counter[int] = Counter()
    for operation in operations:
        if not operation.path.endswith("/watch"):  # a stream of a study that runs does not end
            hold(operation, secret, seen)
    assert seen.keys() >= {200, 404, 409, 422}


def hold(operation: Any, secret: str, seen: Counter[int]) -> None:
    """Send what fits the document, and what does not, and look at the answers; counts their statuses."""
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @settings(
            max_examples=NUM_EXAMPLES,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case: Any) -> None:
            if case.method == "GET" and "name" in (case.path_parameters or {}):
                case.path_parameters["name"] = STUDY  # else hardly any request meets a study
            response = case.call(headers={"Authorization": f"Bearer {secret}"})
            seen[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        with suppress(Unsatisfiable):  # nothing about the operation can be wrong
            send()


def test_the_document_says_what_it_must(app: Any):
    with TestClient(app, base_url="http://127.0.0.1") as http:
        document = http.get("/api/v1/openapi.json").json()
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) >= 19
    for path, method, operation in operations:
        assert operation["summary"], path
        assert operation["description"], path
        errors = {status for status in operation["responses"] if status >= "400"}
        for status in errors:
            assert "application/problem+json" in operation["responses"][status]["content"]
        if path.startswith("/api/"):
            assert {"401", "429", "503"} <= errors
            assert operation["security"] == [{"token": []}]
        if method in {"post", "delete"} and "plan" not in path:
            assert "403" in errors
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    example = document["components"]["schemas"]["Status"]["example"]
    assert example["state"] == "running"
