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
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from study.claims.parts import SimpleClaim
from study.ledger import Scope
from study.report.schema import ReportDocument
from study.service.api import examples
from study.service.app import make_app
from study.service.context import make_context
from study.service.settings import ServiceSettings
from study.service.tokens import create_token
from tests.study.samples import STUDY
from tests.study.service.support import NoDrivers
from tests.study.service.test_tables import fill

pytestmark = pytest.mark.slow
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


@pytest.mark.parametrize("status", [401, 403, 413, 415])
def test_refusals_are_met_wherever_they_are_promised(api: Any, app: Any, status: int):
    ledger = app.state.context.ledger
    scope = Scope.READ if status == 403 else Scope.RUN
    secret = "twr_forged" if status == 401 else create_token(ledger, f"for-{status}", scope)
    kind = "text/plain" if status == 415 else "application/json"
    content = b" " * (app.state.context.settings.max_body_bytes + 1) if status == 413 else b"{}"
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": kind}
    promised = [
        operation
        for operation in (found.ok() for found in api.get_all_operations())
        if str(status) in operation.definition.raw["responses"]
    ]
    assert promised
    with TestClient(app, base_url="http://127.0.0.1") as http:
        for operation in promised:
            path = operation.path.format(name=STUDY, trial="search/sgd/r00/p00", form="json")
            sends = {"content": content} if operation.method == "post" else {}
            answer = http.request(operation.method, path, headers=headers, **sends)
            assert answer.status_code == status, path
            operation.validate_response(answer)


def test_every_answer_has_an_example_of_its_form(app: Any):
    document = app.openapi()
    found = [
        (content, content.get("example") or schema_of(content, document)["example"])
        for methods in document["paths"].values()
        for operation in methods.values()
        for status, response in operation["responses"].items()
        if status < "300"
        for kind, content in response.get("content", {}).items()
        if kind == "application/json"
    ]
    assert len(found) >= 18
    for content, example in found:
        schema = {**content["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(example)


def test_examples_have_the_fields_of_real_answers(app: Any):
    with TestClient(app, base_url="http://127.0.0.1") as http:
        secret = create_token(app.state.context.ledger, "for-examples", Scope.READ)
        http.headers["Authorization"] = f"Bearer {secret}"

        def asked(path: str) -> Any:
            return http.get(f"/api/v1/studies/{STUDY}{path}").json()

        for path, example in (
            ("/trials", examples.TRIAL),
            ("/measurements", examples.MEASUREMENT),
            ("/rungs", examples.RUNG),
            ("/events", examples.EVENT),
        ):
            assert asked(path)["items"][0].keys() == example.keys()
        assert asked("/reports")["reports"].keys() == examples.REPORTS["reports"].keys()
        assert asked(f"/trials/{examples.TRIAL['phase']}/sgd/r00/p00").keys() == examples.TRIAL.keys()
        assert http.get("/api/v1/studies").json()["studies"][0].keys() == examples.SUMMARY.keys()
    ReportDocument.model_validate(examples.REPORT)
    SimpleClaim.model_validate(examples.CLAIMS["claims"]["claims"][0])


def schema_of(content: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The schema that a content refers to."""
    name = content["schema"]["$ref"].rpartition("/")[2]
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


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
