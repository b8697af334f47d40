"""The pages over HTTP: who may see and change what, and that nothing of a study's text is taken for markup."""

import dataclasses
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from study.ledger import Ledger, RunKind, Scope, StudyState, TrackedRun
from study.records import Outcome
from study.service.app import make_app
from study.service.context import make_context
from study.service.pages.actions import local
from study.service.pages.feed import Feeds, Shown
from study.service.pages.rendering import fragment, static_files
from study.service.settings import ServiceSettings
from study.service.tokens import create_token
from study.spec import STUDY_TEMPLATE
from tests.study.samples import STUDY, begin, ended, finished, plan, planned, run_trial
from tests.study.service.support import NoDrivers, serving, spec

HOSTILE = "</pre><script>alert('x')</script><img src=x onerror=alert(1)>"
KEY = "search/sgd/r00/p00"


@pytest.fixture
def ledger(http: TestClient) -> Iterator[Ledger]:
    """The ledger of the app, with a study under way."""
    opened: Ledger = http.app.state.context.ledger  # type: ignore[attr-defined]
    begin(opened, plan())
    return opened


def page(http: TestClient, path: str, *, status: int = 200) -> str:
    answer = http.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


PAGES = (
    "/",
    "/new",
    "/login",
    f"/studies/{STUDY}",
    f"/studies/{STUDY}/trials",
    f"/studies/{STUDY}/trials/{KEY}",
    f"/studies/{STUDY}/report",
    f"/studies/{STUDY}/delete",
)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_whole_without_script_and_has_none_inside(
    http: TestClient, ledger: Ledger, path: str
) -> None:
    run_trial(ledger, KEY, finished())
    html = page(http, path)
    assert html.count("<h1") == 1
    assert 'href="#main"' in html
    assert not re.search(r"\s(style|on[a-z]+)=", html)
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", html))
    assert "<style" not in html
    assert "http://" not in re.sub(r"http://(127\.0\.0\.1|www\.w3\.org)", "", html)


def test_a_first_visitor_is_told_what_to_do(http: TestClient) -> None:
    html = page(http, "/")
    assert "No study yet" in html
    assert 'href="/new"' in html


def test_text_of_a_study_is_never_markup(http: TestClient, ledger: Ledger) -> None:
    detail = {"trial": KEY, "reason": HOSTILE, "log": HOSTILE}
    ledger.record_event(STUDY, "attempt_failed", detail)
    ledger.record_event(STUDY, "pack_ready", {"pack": 0, "node": HOSTILE, "lanes": 2})
    ledger.record_event(STUDY, "pack_lost", {"pack": 0, "reason": HOSTILE})
    ledger.plan_trials(STUDY, [planned(HOSTILE[:90], 0)])
    ledger.start_attempt(STUDY, KEY)
    lost = ended(Outcome.INFRA_FAILED)
    ledger.end_trial(STUDY, KEY, type(lost)(outcome=lost.outcome, steps=0, reason=HOSTILE))
    for path in (f"/studies/{STUDY}", f"/studies/{STUDY}/trials", f"/studies/{STUDY}/trials/{KEY}"):
        html = page(http, path)
        assert "<script>" not in html
        assert "<img" not in html
        assert "&lt;script&gt;" in html
    assert "<script>" not in page(http, f"/studies/{HOSTILE.replace('/', '')}", status=404)
    checked = http.post("/new/check", data={"spec": json.dumps(spec(families=[HOSTILE]))}).text
    assert "<script>" not in checked
    assert "&lt;script&gt;" in checked


def test_pages_forbid_what_they_do_not_need(http: TestClient, ledger: Ledger) -> None:
    headers = http.get(f"/studies/{STUDY}").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe-inline" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"  # else browsers send our own forms with `Origin: null`


def test_files_are_kept_by_browsers_as_long_as_they_are_the_same(http: TestClient) -> None:
    for name, file in static_files().items():
        answer = http.get(f"/static/{name}?v={file.digest}")
        assert answer.content == file.content
        assert "immutable" in answer.headers["cache-control"]
        assert http.get(f"/static/{name}?v=old").headers["cache-control"] == "no-cache"
    for name in ("__init__.py", "..%2fpages.css", "%2e%2e/rendering.py", "nothing.css"):
        assert http.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nowhere", "There is no page at this address."),
        ("/studies/review", "did you mean &#39;reviews&#39;"),
        (f"/studies/{STUDY}/trials/search/sgd/nope", "has no trial"),
        (f"/studies/{STUDY}/report/exe", "no report in the format"),
        ("/studies/..%2f..%2fetc", "There is no page at this address."),
    ],
)
def test_what_is_not_there_is_told_on_a_page(http: TestClient, ledger: Ledger, path: str, words: str) -> None:
    html = page(http, path, status=404)
    assert words in html
    assert "Traceback" not in html


def test_a_failure_of_ours_is_told_without_its_inside(
    http: TestClient, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(ledger), "trial_activity", lambda *_: 1 / 0)
    html = page(http, f"/studies/{STUDY}", status=500)
    assert "its log says why" in html
    assert "division" not in html


def test_stop_resume_and_delete(http: TestClient, launcher: NoDrivers) -> None:
    kept: Ledger = http.app.state.context.ledger  # type: ignore[attr-defined]
    http.post("/new", data={"spec": json.dumps(spec()), "do": "start"})
    kept.claim_study("reviews", "driver")
    kept.set_study_state("reviews", StudyState.RUNNING)
    answer = http.post("/studies/reviews/stop", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/reviews")
    assert kept.study("reviews").state is StudyState.STOPPED
    assert "Stopping" in page(http, "/studies/reviews")
    kept.release_study("reviews", "driver")
    assert "Resume" in page(http, "/studies/reviews")
    assert http.post("/studies/reviews/resume", follow_redirects=False).status_code == 303
    assert launcher.started == [("reviews", False), ("reviews", True)]
    assert "Delete reviews?" in page(http, "/studies/reviews/delete")
    refused = http.post("/studies/reviews/delete", headers={"Accept": "text/html"})
    assert (refused.status_code, "being started" in refused.text) == (409, True)
    kept.record_event("reviews", "driver_failed", {"job": "job 2", "log": "no room"})
    assert "no room" in page(http, "/studies/reviews")
    answer = http.post("/studies/reviews/delete", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert kept.studies() == []


@pytest.mark.parametrize("what", ["stop", "resume", "delete"])
def test_nothing_is_done_to_a_study_that_is_not_there(http: TestClient, what: str) -> None:
    answer = http.post(f"/studies/nope/{what}", headers={"Accept": "text/html"})
    assert answer.status_code == 404


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
@pytest.mark.parametrize(
    "path", [f"/studies/{STUDY}/stop", f"/studies/{STUDY}/delete", "/new", "/login", "/logout"]
)
def test_another_site_changes_nothing(
    http: TestClient, ledger: Ledger, path: str, header: dict[str, str]
) -> None:
    answer = http.post(path, headers={"Accept": "text/html", **header}, data={"spec": "x"})
    assert answer.status_code == 403
    assert "Another site asked for this" in answer.text
    assert ledger.study(STUDY).state.value == "running"


def test_the_form_starts_with_a_study_that_is_right(http: TestClient) -> None:
    html = page(http, "/new")
    assert "486 trials of 200 steps" in html
    assert "2.13" in html  # the smallest effect that four replicates find
    assert http.post("/new/check", data={"spec": STUDY_TEMPLATE}).text.strip() in html


def test_the_form_says_the_one_thing_that_is_wrong(http: TestClient, launcher: NoDrivers) -> None:
    wrong = STUDY_TEMPLATE.replace("[sgd, rsgd,", "[sgd, rsdg,")
    told = http.post("/new/check", data={"spec": wrong}).text
    assert "did you mean &#39;rsgd&#39;" in told
    answer = http.post("/new", data={"spec": wrong, "do": "start"}, headers={"Accept": "text/html"})
    assert answer.status_code == 422
    assert "did you mean &#39;rsgd&#39;" in answer.text
    assert "rsdg, grsgd" in answer.text  # what was written stays
    assert launcher.started == []


def test_the_form_starts_a_study_once(http: TestClient, launcher: NoDrivers) -> None:
    for _ in range(2):
        answer = http.post("/new", data={"spec": STUDY_TEMPLATE, "do": "start"}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/studies/my-first-study")
    assert launcher.started == [("my-first-study", False)]
    assert "0 of 486" in page(http, "/studies/my-first-study")
    assert "starting" in page(http, "/studies/my-first-study")
    other = STUDY_TEMPLATE.replace("seed: 1 ", "seed: 2 ")
    answer = http.post("/new", data={"spec": other, "do": "start"}, headers={"Accept": "text/html"})
    assert "was started with another spec" in answer.text


def test_checking_by_the_button_starts_nothing(http: TestClient, launcher: NoDrivers) -> None:
    assert "486 trials" in http.post("/new", data={"spec": STUDY_TEMPLATE, "do": "check"}).text
    assert launcher.started == []


@pytest.mark.parametrize("text", ["a: &x [*x, *x]", "[" * 5000, "name: \x00", "x" * 300_000, "- 1", ""])
def test_text_that_is_no_study_is_told_and_survived(http: TestClient, text: str) -> None:
    answer = http.post("/new/check", data={"spec": text})
    assert answer.status_code == 200
    assert 'class="wrong"' in answer.text


@pytest.fixture
def guarded(settings: ServiceSettings, launcher: NoDrivers) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """An app whose ledger holds tokens, and these."""
    app = make_app(settings, context=make_context(settings, launcher))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        kept: Ledger = app.state.context.ledger
        begin(kept, plan())
        tokens = {scope.value: create_token(kept, scope.value, scope) for scope in Scope}
        tokens["old"] = create_token(kept, "old", Scope.RUN, expires_at=time.time() - 1)
        yield client, tokens


def test_signing_in_and_out(guarded: tuple[TestClient, dict[str, str]]) -> None:
    http, tokens = guarded
    asked = http.get(f"/studies/{STUDY}", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (asked.status_code, asked.headers["location"]) == (303, f"/login?next=/studies/{STUDY}")
    form = {"token": tokens["run"], "next": f"/studies/{STUDY}"}
    answer = http.post("/login", data=form, follow_redirects=False)
    assert answer.headers["location"] == f"/studies/{STUDY}"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Sign out" in page(http, f"/studies/{STUDY}")
    assert http.post("/logout", follow_redirects=False).headers["location"] == "/login"
    assert http.get("/", headers={"Accept": "text/html"}, follow_redirects=False).status_code == 303


@pytest.mark.parametrize("token", ["twr_forged", "old", "", "nonsense", "twr_" + "x" * 5000])
def test_a_token_that_does_not_hold_signs_nobody_in(
    guarded: tuple[TestClient, dict[str, str]], token: str
) -> None:
    http, tokens = guarded
    answer = http.post("/login", data={"token": tokens.get(token, token)}, headers={"Accept": "text/html"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert 'role="alert"' in answer.text


def test_who_may_only_look_changes_nothing(guarded: tuple[TestClient, dict[str, str]]) -> None:
    http, tokens = guarded
    http.post("/login", data={"token": tokens["read"]})
    assert STUDY in page(http, "/")
    answer = http.post(f"/studies/{STUDY}/stop", headers={"Accept": "text/html"})
    assert answer.status_code == 403
    assert "scope read" in answer.text


@pytest.mark.parametrize(
    ("address", "then"),
    [
        ("/studies/x", "/studies/x"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("", "/"),
    ],
)
def test_signing_in_leads_nowhere_else(address: str, then: str) -> None:
    assert local(address) == then


def test_a_comparison_that_is_not_there_yet_is_told(http: TestClient, ledger: Ledger) -> None:
    html = page(http, f"/studies/{STUDY}/mlflow", status=409)
    assert "has arrived at" in html


def test_links_lead_where_browsers_find_the_parts(settings: ServiceSettings) -> None:
    places = {
        "ray": "http://head:8265",
        "ray_url": "https://ray.example",
        "tracking_uri": "http://mlflow:5000",
    }
    moved = dataclasses.replace(settings, **places, mlflow_url="https://mlflow.example")
    app = make_app(moved, context=make_context(moved, NoDrivers()))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        kept: Ledger = app.state.context.ledger
        begin(kept, plan())
        for kind, key in ((RunKind.EXPERIMENT, ""), (RunKind.FAMILY, "sgd")):
            kept.intend_run(STUDY, "http://mlflow:5000", kind, key)
            run = TrackedRun(kind=kind, key=key, run_id="7", shipped_measurement=0, shipped_state="")
            kept.save_tracked_run(STUDY, "http://mlflow:5000", run)
        assert 'href="https://ray.example"' in page(client, f"/studies/{STUDY}")
        answer = client.get(f"/studies/{STUDY}/mlflow", follow_redirects=False)
        assert answer.headers["location"].startswith("https://mlflow.example/#/experiments/")


def test_the_report_is_served_as_nobody(http: TestClient, ledger: Ledger, tmp_path: Path) -> None:
    made = tmp_path / "report.html"
    made.write_text("<p>report</p>")
    http.app.state.context.reports.path = lambda *_: made  # type: ignore[attr-defined]
    answer = http.get(f"/studies/{STUDY}/report/html")
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert 'sandbox="allow-scripts"' in page(http, f"/studies/{STUDY}/report")
    assert "attachment" in http.get(f"/studies/{STUDY}/report/csv").headers["content-disposition"]


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def test_a_stream_sends_what_changed_and_nothing_else(settings: ServiceSettings) -> None:
    import httpx2

    with serving(settings, NoDrivers()) as running:
        ledger = running.context.ledger
        begin(ledger, plan())
        with httpx2.stream("GET", f"{running.url}/live/studies/{STUDY}", timeout=60) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            told = events(answer.iter_lines())
            first = [next(told) for _ in range(9)]
            assert [data["name"] for kind, data in first if kind == "fragment"] == [
                "head", "phases", "families", "survival", "landscape", "packs", "cost", "failures",
            ]  # fmt: skip
            assert first[-1] == ("said", f"Study {STUDY} is getting its workers ready.")
            ledger.record_event(STUDY, "attempt_failed", {"trial": KEY, "reason": HOSTILE, "log": ""})
            kind, data = next(told)
            assert (kind, data["name"]) == ("fragment", "failures")
            assert "<script>" not in data["html"]
            ledger.release_study(STUDY, "driver-1")
            ledger.delete_study(STUDY)
            last = list(told)
            assert last[-1][0] == "gone"
            assert "Unknown study" in last[-1][1]


def test_watchers_share_one_renderer_and_are_limited(http: TestClient) -> None:
    import asyncio

    context = http.app.state.context  # type: ignore[attr-defined]
    rendered = []

    def render() -> Shown:
        rendered.append(1)
        return Shown(fragments={"error": fragment("checked.html", root="", checked=_Wrong())}, said="")

    async def watch() -> list[bytes]:
        feeds = Feeds(context)
        streams = [feeds.watch("page", render) for _ in range(5)]
        heads = [await anext(stream) for stream in streams]
        heads += [await anext(stream) for stream in streams]
        feeds.close()
        for stream in streams:
            await stream.aclose()
        return heads

    heads = asyncio.run(watch())
    assert sum(head.startswith(b"event: fragment") for head in heads) == 5
    assert len(rendered) == 1


class _Wrong:
    mistake = "x"
