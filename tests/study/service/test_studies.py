from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from search_spaces.errors import RetryableError, SpecError
from study import kept as kept_module
from study.kept import kept_files
from study.ledger import Ledger, StudyState
from study.service import driving
from study.service.context import Context
from study.spec import parse_spec
from tests.study.object_store import ObjectStore
from tests.study.service.support import NoDrivers, claimed, spec


def context_of(http: TestClient) -> Context:
    app: Any = http.app
    context: Context = app.state.context
    return context


def ledger_of(http: TestClient) -> Ledger:
    return context_of(http).ledger


def create(http: TestClient, **changes: Any) -> Any:
    return http.post("/api/v1/studies", json={"spec": spec(**changes)})


class TestPlan:
    def test_counts_trials_and_says_what_can_be_found(self, http: TestClient):
        answer = http.post("/api/v1/plan", json={"spec": spec(tier="smoke")})
        assert answer.status_code == 200
        plan = answer.json()
        assert plan["num_trials"] == sum(sum(families.values()) for families in plan["trial_counts"].values())
        assert plan["smallest_effects"]["confirmation"]["n"] == 5
        assert plan["device_seconds_per_step"] is None

    @pytest.mark.parametrize("form", ["plain", "text", "file"])
    def test_takes_json_text_in_json_and_yaml(self, http: TestClient, form: str):
        written = yaml.safe_dump(spec())
        if form == "file":
            headers = {"Content-Type": "application/yaml; charset=utf-8"}
            answer = http.post("/api/v1/plan", content=written, headers=headers)
        else:
            answer = http.post("/api/v1/plan", json={"spec": spec() if form == "plain" else written})
        assert answer.status_code == 200
        assert answer.json()["digest"] == parse_spec(spec(), "the study").digest

    def test_says_value_rule_and_way_out(self, http: TestClient):
        answer = http.post("/api/v1/plan", json={"spec": spec(training={"steps": 0})})
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["title"] == "Unprocessable Entity"
        assert problem["status"] == 422
        assert problem["detail"].startswith("The study: training.steps is 0")
        assert problem["value"].endswith("training.steps is 0")
        assert problem["rule"] == "must be greater than or equal to 1"
        assert problem["way_out"] == "raise it"

    def test_starts_and_keeps_nothing(self, http: TestClient, launcher: NoDrivers):
        http.post("/api/v1/plan", json={"spec": spec()})
        assert ledger_of(http).studies() == []
        assert launcher.started == []

    def test_finds_a_rung_without_an_evaluation(self, http: TestClient):
        phases = {"search": {"trials": 6, "grace_steps": 15, "reduction": 2}}
        answer = http.post("/api/v1/plan", json={"spec": spec(phases=phases)})
        assert answer.status_code == 422
        assert "rung" in answer.json()["detail"]

    @pytest.mark.parametrize(
        "phases",
        [
            {"search": {"trials": 10**12}},
            {"sensitivity": {"replicates": 2, "points": 2**40}},
            {"confirmation": {"seeds": 10**9, "looks": [10**9]}},
            {"sensitivity": {"replicates": 10**6, "points": 2, "lr_slice": {"step_decades": 1e-3}}},
        ],
    )
    def test_a_study_of_absurd_size_is_refused_at_once(self, http: TestClient, phases: dict[str, Any]):
        answer = http.post("/api/v1/plan", json={"spec": spec(phases=phases)})
        assert answer.status_code == 422
        assert "trials" in answer.json()["detail"]


class TestCreate:
    def test_starts_a_driver_and_says_where_the_study_is(self, http: TestClient, launcher: NoDrivers):
        answer = create(http)
        assert answer.status_code == 201
        assert answer.headers["location"] == "/api/v1/studies/reviews"
        assert answer.json()["state"] == "planned"
        assert launcher.started == [("reviews", False)]
        (event,) = ledger_of(http).events("reviews")
        assert event.kind == "submitted"
        assert event.detail == {"address": "nowhere", "job": "job 1", "by": "anyone"}

    def test_the_same_study_again_is_that_study(self, http: TestClient, launcher: NoDrivers):
        create(http)
        assert create(http).status_code == 200
        assert len(launcher.started) == 1

    def test_another_study_of_the_name_is_a_conflict(self, http: TestClient):
        create(http)
        answer = create(http, seed=2)
        assert answer.status_code == 409
        assert "another spec" in answer.json()["detail"]

    def test_a_key_stands_for_one_request(self, http: TestClient, launcher: NoDrivers):
        headers = {"Idempotency-Key": "k-1"}
        first = http.post("/api/v1/studies", json={"spec": spec()}, headers=headers)
        again = http.post("/api/v1/studies", json={"spec": spec()}, headers=headers)
        other = http.post("/api/v1/studies", json={"spec": spec("other")}, headers=headers)
        assert [first.status_code, again.status_code, other.status_code] == [201, 200, 422]
        assert again.json()["study"] == "reviews"
        assert "idempotency key" in other.json()["detail"]
        assert launcher.started == [("reviews", False)]

    def test_two_equal_creations_at_once_start_one_driver(self, http: TestClient, launcher: NoDrivers):
        headers = {"Idempotency-Key": "at-once"}

        def send(_: int) -> int:
            return http.post("/api/v1/studies", json={"spec": spec()}, headers=headers).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(send, range(8)))
        assert statuses == [200] * 7 + [201]
        assert launcher.started == [("reviews", False)]

    def test_a_driver_that_cannot_be_started_is_started_by_the_next_request(
        self, http: TestClient, launcher: NoDrivers
    ):
        launcher.error = RetryableError("http://head:8265 does not answer")
        answer = create(http)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert "head:8265" not in answer.text
        launcher.error = None
        assert create(http).status_code == 201
        assert launcher.started == [("reviews", False)]

    def test_a_study_from_a_terminal_is_left_alone(self, http: TestClient, launcher: NoDrivers):
        known = parse_spec(spec(), "the study")
        ledger_of(http).create_study("reviews", known.canonical(), known.digest, {"seed": 1})
        assert create(http).status_code == 200
        assert launcher.started == []


class TestClaims:
    def test_claims_must_be_locked_to_run_but_not_to_plan(self, http: TestClient, tmp_path: Path):
        study, claims = claimed(tmp_path, locked=False)
        assert http.post("/api/v1/plan", json={"spec": study, "claims": claims}).status_code == 200
        answer = http.post("/api/v1/studies", json={"spec": study, "claims": claims})
        assert answer.status_code == 422
        assert "claims lock" in answer.json()["detail"]
        assert str(tmp_path.anchor) + "tmp" not in answer.json()["detail"]

    def test_locked_claims_travel_and_are_told(self, http: TestClient, home: Path, tmp_path: Path):
        study, claims = claimed(tmp_path, locked=True)
        answer = http.post("/api/v1/studies", json={"spec": study, "claims": claims})
        assert answer.status_code == 201, answer.text
        told = http.get(f"/api/v1/studies/{study['name']}/claims").json()
        assert told["registered"]["sha256"] == claims["registered"]["sha256"]
        assert [claim["id"] for claim in told["claims"]["claims"]] == ["C1"]
        assert (home / "studies" / study["name"] / "claims.yaml").is_file()
        record = ledger_of(http).study(study["name"])
        assert "claims.yaml" in record.spec["claims"]


class TestAfterwards:
    def test_lists_the_newest_first(self, http: TestClient):
        create(http, name="first")
        create(http, name="second")
        found = http.get("/api/v1/studies").json()["studies"]
        assert [study["study"] for study in found] == ["second", "first"]
        assert found[0]["num_trials"] == 12
        assert found[0]["num_ended"] == 0

    def test_an_unknown_study_is_not_found(self, http: TestClient):
        create(http)
        for method, place in [
            ("GET", ""),
            ("GET", "/watch"),
            ("GET", "/trials"),
            ("GET", "/reports/html"),
            ("POST", "/stop"),
            ("DELETE", ""),
        ]:
            answer = http.request(method, f"/api/v1/studies/revews{place}")
            assert answer.status_code == 404
            assert "did you mean 'reviews'" in answer.json()["detail"]

    def test_stops_what_runs_and_nothing_else(self, http: TestClient):
        create(http)
        assert http.post("/api/v1/studies/reviews/stop").status_code == 409
        ledger = ledger_of(http)
        ledger.claim_study("reviews", "me")
        ledger.set_study_state("reviews", StudyState.RUNNING)
        answer = http.post("/api/v1/studies/reviews/stop")
        assert answer.status_code == 202
        assert "stops at its workers' next reports" in answer.json()["told"]
        assert ledger.study("reviews").state is StudyState.STOPPED

    def test_resumes_what_neither_runs_nor_starts(self, http: TestClient, launcher: NoDrivers):
        create(http)
        assert http.post("/api/v1/studies/reviews/resume").status_code == 409  # it is being started
        ledger = ledger_of(http)
        ledger.claim_study("reviews", "me")
        ledger.set_study_state("reviews", StudyState.RUNNING)
        assert http.post("/api/v1/studies/reviews/resume").status_code == 409
        ledger.release_study("reviews", "me")
        ledger.set_study_state("reviews", StudyState.STOPPED)
        assert http.post("/api/v1/studies/reviews/resume").status_code == 202
        assert launcher.started == [("reviews", False), ("reviews", True)]
        ledger.set_study_state("reviews", StudyState.FINISHED)
        assert "finished" in http.post("/api/v1/studies/reviews/resume").json()["detail"]

    def test_deletes_a_study_with_its_files(self, http: TestClient, home: Path):
        create(http)
        assert http.delete("/api/v1/studies/reviews").status_code == 409  # it is being started
        ledger = ledger_of(http)
        ledger.set_study_state("reviews", StudyState.STOPPED)
        (home / "studies" / "reviews" / "checkpoints").mkdir(parents=True)
        assert http.delete("/api/v1/studies/reviews").status_code == 204
        assert not (home / "studies" / "reviews").exists()
        assert http.get("/api/v1/studies/reviews").status_code == 404

    def test_deletes_a_study_with_its_objects_whatever_breaks_off(
        self, http: TestClient, s3: ObjectStore, monkeypatch: pytest.MonkeyPatch
    ):
        create(http)
        create(http, name="reviews-2")
        ledger, home = ledger_of(http), context_of(http).home
        for name in ("reviews", "reviews-2"):
            ledger.set_study_state(name, StudyState.STOPPED)
            kept = kept_files(home, ledger.study(name))
            kept.adapters.write("confirmation/sgd/s0", {"adapter_config.json": b"{}"})
        monkeypatch.setattr(kept_module, "REMOVAL_PATIENCE_S", 0.0)
        with s3.away():
            answer = http.delete("/api/v1/studies/reviews")
            assert answer.status_code == 503
            assert "bring it back, then delete the study again" in answer.json()["detail"]
        assert len(s3.objects("reviews-")) == 2
        assert ledger.holder("reviews") is None
        with monkeypatch.context() as patch:  # it dies between the objects and the record
            patch.setattr(Ledger, "delete_study", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                driving.delete(context_of(http), "reviews", by="me")
        assert ledger.study("reviews").state is StudyState.STOPPED
        assert http.delete("/api/v1/studies/reviews").status_code == 204
        assert [name.split("/")[2][:10] for name in s3.objects()] == ["reviews-2-"]
        assert http.get("/api/v1/studies/reviews").status_code == 404

    def test_a_study_that_is_being_deleted_is_not_run(
        self, http: TestClient, monkeypatch: pytest.MonkeyPatch
    ):
        create(http)
        ledger = ledger_of(http)
        ledger.set_study_state("reviews", StudyState.STOPPED)
        refused: list[str] = []

        def launch(*_: Any) -> None:
            with pytest.raises(SpecError) as error:
                ledger.claim_study("reviews", "another")
            refused.append(str(error.value))

        monkeypatch.setattr(driving, "remove_files", launch)
        assert http.delete("/api/v1/studies/reviews").status_code == 204
        assert "is being run by process" in refused[0]

    def test_a_study_that_runs_is_not_deleted(self, http: TestClient):
        create(http)
        ledger = ledger_of(http)
        ledger.claim_study("reviews", "me")
        ledger.set_study_state("reviews", StudyState.RUNNING)
        answer = http.delete("/api/v1/studies/reviews")
        assert answer.status_code == 409
        assert "stop it" in answer.json()["detail"]
