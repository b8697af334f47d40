"""Addresses are told apart by asking, and what cannot be used is one sentence."""

import socket
import threading
from urllib.parse import urlsplit

import pytest

from search_spaces.errors import SpecError
from study.jobs import address, dashboard, kind_of
from study.jobs.address import dashboard_url
from tests.study.servers import free_port


def test_kinds_are_told_apart(dashboard, monkeypatch):
    assert kind_of("10.0.0.5:6379") == "gcs"
    assert kind_of("ray://head:10001") == "jobs"
    assert kind_of(dashboard.url) == "jobs"
    assert kind_of(f"{dashboard.url}/") == "jobs"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert kind_of(dashboard.url) == "jobs"  # seen without the token


def test_an_older_dashboard_is_one_too(dashboard):
    dashboard.answer = lambda _m, path, _b: (
        (200, '{"ray_version": "2.9.0"}') if path == "/api/version" else (404, "")
    )
    assert kind_of(dashboard.url) == "jobs"


def test_the_service_is_told_by_its_health(dashboard):
    dashboard.answer = lambda _m, path, _b: (
        (200, '{"status": "ok"}') if path == "/health/live" else (404, "{}")
    )
    assert kind_of(dashboard.url) == "service"


@pytest.mark.parametrize("answer", [(200, "<html>"), (404, ""), (500, "oops"), (302, "http://127.0.0.1:9/")])
def test_something_else_is_neither(dashboard, answer):
    dashboard.answer = lambda *_: answer
    with pytest.raises(
        SpecError, match="neither a Ray dashboard nor Trialwright's service: write http://head:8265"
    ):
        kind_of(dashboard.url)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("htp://x:1", "of no kind that is known: write http://head:8265"),
        ("http://", "of no kind that is known"),
        ("http://x:1?token=s3cret", "of no kind that is known"),
        ("http://x:99999", "malformed"),
        ("http://[::1", "malformed"),
        ("http://a..b:1", "malformed"),
        (f"ray://{'h' * 64}", "malformed"),
        ("http://h\udcf4", "malformed"),
        ("http://me:s3cret@[::1", r"The address '\*\*\*@\[::1' is malformed"),
        ("http://me:s3cret@x:1", "holds a password, which others could read"),
    ],
)
def test_malformed_addresses_are_told(address, expected):
    with pytest.raises(SpecError, match=expected) as told:
        kind_of(address)
    assert ":s3cret" not in str(told.value)


def test_nothing_there_is_told():
    with pytest.raises(
        SpecError, match=r"Nothing answers at 'http://127.0.0.1:\d+' \(Connection refused\): start"
    ):
        kind_of(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SpecError, match=r"\(Connection refused\): correct the address or the token"):
        dashboard_url(f"ray://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    ("num_failures", "patience_s", "is_told"), [(4, 60, True), (5, 60, False), (1, 0, True), (2, 0, False)]
)
def test_ray_client_is_asked_again_where_its_process_died(monkeypatch, num_failures, patience_s, is_told):
    asked = iter([("", "its process died")] * num_failures + [("127.0.0.1:8265", "")] * 9)
    monkeypatch.setattr(address, "_asked_of_client", lambda *_: next(asked))
    monkeypatch.setattr(address, "PATIENCE_S", patience_s)
    parsed = urlsplit("ray://head:10001")
    if is_told:
        assert address._told_by_client("ray://head:10001", parsed) == "http://head:8265"
    else:
        with pytest.raises(SpecError, match="its process died"):
            address._told_by_client("ray://head:10001", parsed)


def test_what_stays_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(dashboard, "TIMEOUT_S", 0.2)
    told = pytest.raises(SpecError, match=r"\(no answer in time\)")
    with socket.create_server(("127.0.0.1", 0)) as silent, told:
        kind_of(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_what_does_not_speak_http_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\0\0\0\4\0\0\0\0\0")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(SpecError, match=r"\(what listens there does not speak HTTP\)"):
            kind_of(f"http://127.0.0.1:{listener.getsockname()[1]}")


def test_a_dashboard_without_the_right_token_is_told(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong-s3cret")
    with pytest.raises(
        SpecError, match="does not accept the token that was sent: set RAY_AUTH_TOKEN_PATH"
    ) as told:
        dashboard_url(dashboard.url)
    assert "s3cret" not in str(told.value)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(SpecError, match="asks for a token: set RAY_AUTH_MODE=token"):
        dashboard_url(dashboard.url)


def test_the_token_may_come_from_a_file(dashboard, monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    (tmp_path / "token").write_text("right\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert dashboard_url(dashboard.url) == dashboard.url
    dashboard_url.cache_clear()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "gone"))
    with pytest.raises(SpecError, match=r"The token file '.*gone' of RAY_AUTH_TOKEN_PATH cannot be read"):
        dashboard_url(dashboard.url)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with pytest.raises(SpecError, match="there is none: set RAY_AUTH_TOKEN_PATH"):
        dashboard_url(dashboard.url)


def test_a_token_goes_to_nobody_else(dashboard):
    dashboard.answer = lambda *_: (307, "http://127.0.0.1:9/api/version")
    with pytest.raises(SpecError, match=r"redirects to somewhere else \(status 307\)"):
        dashboard_url(dashboard.url)


@pytest.mark.parametrize("theirs", ["2.9.0", "3.60.0"])
def test_another_release_of_ray_is_told(dashboard, theirs):
    dashboard.ray_version = theirs
    with pytest.raises(SpecError, match=rf"has Ray {theirs}, but this Trialwright needs 2\.60"):
        dashboard_url(dashboard.url)


def test_what_stands_in_rays_own_address_variable_is_not_asked(dashboard, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")
    assert dashboard_url(dashboard.url) == dashboard.url


@pytest.mark.parametrize(
    ("told", "expected"),
    [("127.0.0.1", "http://127.0.0.1"), ("0.0.0.0", "http://127.0.0.1"), ("dashboard", "http://dashboard")],  # noqa: S104
)
def test_ray_client_tells_where_the_dashboard_is(dashboard, monkeypatch, told, expected):
    port = dashboard.url.rpartition(":")[2]
    monkeypatch.setattr(address, "_ASK_CLIENT", f"print('noise'); print('at {told}:{port}')")
    monkeypatch.setattr(address, "ask", lambda url, *_: {"ray_version": "2.60.0", "url": url})
    assert dashboard_url(f"ray://127.0.0.1:{port}") == f"{expected}:{port}"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            "raise SystemExit('ConnectionError: its process is a zombie')",
            "ConnectionError: its process is a zombie",
        ),
        ("import time; time.sleep(60)", "timeout"),
        ("", "it said nothing"),
    ],
)
def test_a_ray_client_that_fails_is_told(dashboard, monkeypatch, program, expected):
    monkeypatch.setattr(address, "_ASK_CLIENT", program)
    monkeypatch.setattr(address, "CLIENT_TIMEOUT_S", 1.0)
    with pytest.raises(
        SpecError, match=rf"where the dashboard is \({expected}\): correct the address or the token"
    ):
        dashboard_url(dashboard.url.replace("http", "ray"))


def test_ray_client_is_asked_again_where_its_first_process_failed(dashboard, monkeypatch, tmp_path):
    port = dashboard.url.rpartition(":")[2]
    program = f"import pathlib\nmark = pathlib.Path({str(tmp_path / 'mark')!r})\n"
    program += f"if mark.exists(): print('at 127.0.0.1:{port}')\nmark.touch()"
    monkeypatch.setattr(address, "_ASK_CLIENT", program)
    assert dashboard_url(f"ray://127.0.0.1:{port}") == dashboard.url
