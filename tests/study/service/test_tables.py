import io
from typing import Any

import pandas as pd
import pytest
from fastapi.testclient import TestClient

from study.ledger import Ledger
from study.records import Outcome, RungRecord
from tests.study.samples import STUDY, begin, ended, finished, plan, run_trial
from tests.study.service.test_studies import ledger_of

PLACE = f"/api/v1/studies/{STUDY}"


@pytest.fixture
def filled(http: TestClient) -> TestClient:
    """Six trials: two finished, one stopped, one diverged, one open, one waiting; thirteen measurements."""
    fill(ledger_of(http))
    return http


def fill(ledger: Ledger) -> None:
    trials = plan()
    begin(ledger, trials)
    run_trial(ledger, trials[0].key, finished())
    run_trial(ledger, trials[1].key, ended(Outcome.STOPPED), steps=(0, 20))
    run_trial(ledger, trials[2].key, ended(Outcome.DIVERGED), steps=(0, 20, 30))
    run_trial(ledger, trials[3].key, finished())
    run_trial(ledger, trials[4].key, None, steps=(0, 20))
    ledger.place_attempt(STUDY, trials[4].key, pack=1, node="10.0.0.7")
    for place, action in ((0, "continue"), (1, "stop")):
        rung = RungRecord(
            family="sgd",
            trial=trials[place].key,
            rung=20,
            value=0.5,
            cutoff=None if place == 0 else 0.4,
            num_recorded=place + 1,
            action=action,
        )
        ledger.record_rung(STUDY, rung)
    ledger.record_event(STUDY, "pack_lost", {"pack": 1, "reason": "=cmd|' /C calc'!A0"})


def pages(http: TestClient, path: str, **params: Any) -> list[dict[str, Any]]:
    """All items of a list, and that its pages are as long as was asked."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = http.get(f"{PLACE}/{path}", params={**params, **cursor})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["items"]
        if page["next"] is None:
            return found
        assert len(page["items"]) == params["limit"]
        cursor = {"cursor": page["next"]}


class TestTrials:
    def test_tells_all_that_is_known(self, filled: TestClient):
        (trial,) = filled.get(
            f"{PLACE}/trials", params={"outcome": "open", "family": "rsgd", "limit": 1}
        ).json()["items"]
        assert trial["trial"] == "search/rsgd/r00/p01"
        assert trial["running"] is True
        assert (trial["pack"], trial["node"]) == (1, "10.0.0.7")
        assert trial["params"] == {"lr": pytest.approx(0.3), "num_experts": 8, "top_k": 4, "rank": 4}
        assert trial["outcome"] is None
        one = filled.get(f"{PLACE}/trials/search/sgd/r00/p00").json()
        assert (one["outcome"], one["value"], one["device_seconds"]) == ("finished", 0.4, 2.5)

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 100])
    def test_pages_hold_every_trial_once_in_planned_order(self, filled: TestClient, limit: int):
        found = [trial["trial"] for trial in pages(filled, "trials", limit=limit)]
        assert found == [trial.key for trial in plan()]

    @pytest.mark.parametrize(
        ("filters", "number"),
        [
            ({"outcome": "finished"}, 2),
            ({"outcome": "open"}, 2),
            ({"family": "sgd"}, 3),
            ({"family": "sgd", "outcome": "diverged"}, 1),
            ({"phase": "search"}, 6),
            ({"phase": "confirmation"}, 0),
            ({"family": "nobody"}, 0),
        ],
    )
    @pytest.mark.parametrize("limit", [1, 100])
    def test_filters(self, filled: TestClient, filters: dict[str, str], number: int, limit: int):
        assert len(pages(filled, "trials", limit=limit, **filters)) == number

    def test_pages_hold_while_trials_end(self, filled: TestClient):
        first = filled.get(f"{PLACE}/trials", params={"outcome": "open", "limit": 1}).json()
        ledger_of(filled).end_trial(STUDY, first["items"][0]["trial"], finished())
        second = filled.get(
            f"{PLACE}/trials", params={"outcome": "open", "limit": 1, "cursor": first["next"]}
        )
        assert [trial["trial"] for trial in second.json()["items"]] == ["search/rsgd/r00/p02"]

    def test_a_cursor_of_another_list_is_refused(self, filled: TestClient):
        cursor = filled.get(f"{PLACE}/trials", params={"limit": 1}).json()["next"]
        for path, params in (
            ("measurements", {}),
            ("trials", {"family": "sgd"}),
            ("rungs", {}),
            ("events", {}),
        ):
            answer = filled.get(f"{PLACE}/{path}", params={"cursor": cursor, **params})
            assert answer.status_code == 422
        for wrong in ("AAAA", "OTk5OTk5OTk5OTk5OTk5fHRyaWFsc3x8fA", "LTF8dHJpYWxzfHx8", "%", "="):
            assert filled.get(f"{PLACE}/trials", params={"cursor": wrong}).status_code == 422

    @pytest.mark.parametrize(
        "params",
        [
            {"limit": 0},
            {"limit": 1001},
            {"limit": "x"},
            {"outcome": "lost"},
            {"phase": "x"},
            {"format": "xml"},
        ],
    )
    def test_what_is_no_filter_is_refused(self, filled: TestClient, params: dict[str, Any]):
        answer = filled.get(f"{PLACE}/trials", params=params)
        assert answer.status_code == 422
        assert answer.json()["value"].startswith("query.")

    def test_an_unknown_trial_is_not_found(self, filled: TestClient):
        for path in ("trials/search/sgd/r00/p09", "trials/%2e%2e", "measurements?trial=search/sgd"):
            assert filled.get(f"{PLACE}/{path}").status_code in {404, 422}
        assert filled.get(f"{PLACE}/trials/a%00b").status_code == 422

    def test_whole_tables_as_csv_and_parquet(self, filled: TestClient):
        answer = filled.get(f"{PLACE}/trials", params={"format": "csv", "family": "sgd"})
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"] == f'attachment; filename="{STUDY}-trials.csv"'
        table = pd.read_csv(io.BytesIO(answer.content))
        assert list(table["outcome"]) == ["finished", "stopped", "diverged"]
        answer = filled.get(f"{PLACE}/trials", params={"format": "parquet"})
        assert len(pd.read_parquet(io.BytesIO(answer.content))) == 6

    def test_no_cell_of_a_csv_is_a_formula(self, filled: TestClient):
        ledger = ledger_of(filled)
        evil = ended(Outcome.CANCELLED)
        ledger.end_trial(STUDY, "search/rsgd/r00/p01", evil.__class__(**{**vars(evil), "reason": "=1+1"}))
        text = filled.get(f"{PLACE}/trials", params={"format": "csv"}).text
        assert "'=1+1" in text
        assert ",=1+1" not in text


class TestMeasurements:
    @pytest.mark.parametrize("limit", [1, 3, 4, 13, 100])
    def test_pages_hold_every_measurement_once(self, filled: TestClient, limit: int):
        found = [(one["trial"], one["step"]) for one in pages(filled, "measurements", limit=limit)]
        expected = [(one.trial, one.step) for one in ledger_of(filled).measurements(STUDY)]
        assert found == expected
        assert len(found) == 13

    def test_of_one_trial_and_of_some(self, filled: TestClient):
        one = pages(filled, "measurements", limit=2, trial="search/sgd/r00/p02")
        assert [found["step"] for found in one] == [0, 20, 30]
        assert set(one[0]["metrics"]) == {"select_loss_nats", "select_accuracy"}
        assert len(pages(filled, "measurements", limit=2, outcome="finished")) == 6

    def test_whole_tables(self, filled: TestClient):
        params = {"format": "csv", "trial": "search/sgd/r00/p02"}
        table = pd.read_csv(io.BytesIO(filled.get(f"{PLACE}/measurements", params=params).content))
        assert list(table["step"]) == [0, 20, 30]
        answer = filled.get(f"{PLACE}/measurements", params={"format": "parquet", "family": "rsgd"})
        assert len(pd.read_parquet(io.BytesIO(answer.content))) == 5


def test_rungs_and_events(filled: TestClient):
    rungs = pages(filled, "rungs", limit=1)
    assert [(rung["rung"], rung["action"]) for rung in rungs] == [(20, "continue"), (20, "stop")]
    assert pages(filled, "rungs", limit=1, family="rsgd") == []
    text = filled.get(f"{PLACE}/rungs", params={"format": "csv"}).text
    assert text.count("\n") == 3
    (event,) = pages(filled, "events", limit=10)
    assert (event["kind"], event["detail"]["pack"]) == ("pack_lost", 1)


def test_metrics_count_studies_trials_and_requests(filled: TestClient):
    filled.get(f"{PLACE}/trials")
    filled.get("/api/v1/studies/none")
    lines = filled.get("/metrics").text.splitlines()
    assert 'trialwright_studies{state="running"} 1.0' in lines
    assert 'trialwright_studies{state="finished"} 0.0' in lines
    assert 'trialwright_trials{outcome="finished"} 2.0' in lines
    assert 'trialwright_trials{outcome="open"} 2.0' in lines
    route = "/api/v1/studies/{name}"
    assert f'trialwright_http_requests_total{{method="GET",route="{route}/trials",status="200"}} 1.0' in lines
    assert f'trialwright_http_requests_total{{method="GET",route="{route}",status="404"}} 1.0' in lines
    assert any(line.startswith("trialwright_http_request_seconds_bucket") for line in lines)
