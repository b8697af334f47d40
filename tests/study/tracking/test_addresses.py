"""Addresses of tracking stores: what is accepted, what is refused in a sentence, what is never shown."""

import http.server
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from search_spaces.errors import SpecError
from study.tracking import check_tracking, redact
from study.tracking.address import redact_text
from tests.study.servers import MlflowServer, free_port


def test_a_server_that_answers_is_accepted(server: MlflowServer):
    check_tracking(server.uri)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("htp://localhost:5000", "'htp://localhost:5000' is of no kind that is known: write http"),
        ("localhost:5000", "'localhost:5000' is of no kind that is known: write http"),
        ("http://", "'http://' names no host: write http"),
        (
            "file:///tmp/mlruns",
            "'file:///tmp/mlruns' is a folder, which MLflow 3 no longer writes to",
        ),
        ("./mlruns", "'./mlruns' is a folder, which"),
        ("sqlite://", "'sqlite://' names no file: write sqlite:///<file>"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////dev/null/mlflow.db", r"cannot be used \(File exists\): name a file that you can write"),
        (
            "http://u:s3cret@no-such-host.invalid:5000",
            r"'http://u:\*\*\*@no-such-host.invalid:5000' does not answer",
        ),
        (
            "postgresql://u:s3cret@127.0.0.1:1/mlflow",
            r"'postgresql://u:\*\*\*@127.0.0.1:1/mlflow' does not answer",
        ),
    ],
)
def test_an_address_that_cannot_be_used_is_the_users_mistake(uri: str, message: str):
    with pytest.raises(SpecError, match=message) as caught:
        check_tracking(uri)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_nothing_listening_is_the_users_mistake():
    with pytest.raises(SpecError, match=r"does not answer as one .*: start it, correct the address"):
        check_tracking(f"http://127.0.0.1:{free_port()}")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "mlflow.db").write_text("not a database at all")
    with pytest.raises(SpecError, match=r"cannot be used \(it is not a SQLite database\)"):
        check_tracking(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.parametrize(("status", "text"), [(403, "Invalid Host header"), (401, "no"), (404, "no page")])
def test_a_server_that_is_no_mlflow_or_shuts_us_out_is_the_users_mistake(status: int, text: str):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        with pytest.raises(SpecError, match="does not answer as one"):
            check_tracking(f"http://127.0.0.1:{listener.server_port}")
        listener.shutdown()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("https://user:pa%40ss@host/path", "https://user:***@host/path"),
        ("https://:token@host", "https://:***@host"),
        (
            "postgresql://u:p@h:1/d?sslpassword=x&sslmode=require",
            "postgresql://u:***@h:1/d?sslpassword=***&sslmode=require",
        ),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
    ],
)
def test_a_password_is_never_shown(uri: str, shown: str):
    assert redact(uri) == shown
    assert urlsplit(redact(uri)).hostname == urlsplit(uri).hostname


@pytest.mark.parametrize("uri", ["http://u:s3cret@[", "postgresql://u:s3cret@[h/d?x=[", "http://u:s3cret@h]"])
def test_nothing_is_shown_of_an_address_in_which_a_password_cannot_be_told(uri: str):
    assert redact(uri) == f"{uri.partition(':')[0]}:***"
    assert redact_text(f"{uri} refused", uri) == f"{redact(uri)} refused"


def test_a_message_loses_its_secrets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    text = redact_text("http://u:pa%40ss@h refused pa@ss and t0ken", "http://u:pa%40ss@h")
    assert text == "http://u:***@h refused *** and ***"
