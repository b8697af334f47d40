import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from search_spaces.errors import RetryableError, SpecError
from study.client import Client
from study.ledger import Ledger, Scope, StudyState
from study.service.settings import ServiceSettings
from study.status import study_status
from tests.study.samples import STUDY
from tests.study.servers import free_port, postgres, postgres_tool
from tests.study.service.support import NoDrivers, Running, planted, serving, spec, wait_until
from tests.study.service.test_tables import fill


@pytest.fixture
def service(settings: ServiceSettings, home: Path) -> Iterator[Running]:
    """A service whose drivers are real processes that train nothing."""
    with serving(settings, planted(home)) as running:
        yield running


@pytest.fixture
def client(service: Running) -> Iterator[Client]:
    with Client(service.url, timeout_s=60) as opened:
        yield opened


class TestAWholeStudy:
    def test_is_created_watched_read_and_deleted(self, client: Client, service: Running):
        assert client.health() == {"status": "ok"}
        assert client.plan(spec())["num_trials"] == 12
        assert client.create(spec())["state"] == "planned"
        statuses = list(client.watch("reviews"))
        assert statuses[0]["state"] in {"planned", "running"}
        assert statuses[-1]["state"] == "finished"
        assert client.study("reviews") == study_status(service.context.ledger, "reviews")[0]
        assert [study["study"] for study in client.studies()] == ["reviews"]
        trials = list(client.trials("reviews", outcome="finished"))
        assert len(trials) == 3
        assert [one["step"] for one in client.measurements("reviews", trials[0]["trial"])] == [0, 20, 40]
        assert list(client.rungs("reviews", family="rsgd")) == []
        assert [event["kind"] for event in client.events("reviews")] == ["submitted"]
        assert client.claims("reviews") == {"study": "reviews", "registered": None, "claims": None}
        client.delete("reviews")
        assert client.studies() == []

    def test_is_stopped_and_resumed(self, client: Client, service: Running, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("PLANTED_PAUSE_S", "0.05")
        client.create(spec())
        wait_until(lambda: client.study("reviews")["state"] == "running")
        with pytest.raises(SpecError, match="stop it"):
            client.delete("reviews")
        assert "stops at its workers' next reports" in client.stop("reviews")["told"]
        assert list(client.watch("reviews"))[-1]["state"] == "stopped"
        with pytest.raises(SpecError, match="nothing to stop"):
            client.stop("reviews")
        client.resume("reviews")
        assert list(client.watch("reviews"))[-1]["state"] == "finished"
        assert service.context.home.study_dir("reviews").joinpath("driver.log").exists()

    def test_whose_driver_fails_says_why(self, client: Client, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("PLANTED_FAILS", "1")
        client.create(spec())
        with pytest.raises(
            SpecError, match="driver of study 'reviews' failed: The part is not there: fetch it"
        ):
            list(client.watch("reviews"))
        monkeypatch.delenv("PLANTED_FAILS")
        client.resume("reviews")
        assert list(client.watch("reviews"))[-1]["state"] == "finished"

    def test_outlives_the_service(
        self, settings: ServiceSettings, home: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("PLANTED_PAUSE_S", "0.1")
        with serving(settings, planted(home)) as service, Client(service.url) as client:
            client.create(spec())
            wait_until(lambda: client.study("reviews")["state"] == "running")
        with serving(settings, planted(home)) as service, Client(service.url) as client:
            assert client.study("reviews")["state"] in {"running", "finished"}
            assert list(client.watch("reviews"))[-1]["state"] == "finished"


def test_a_watch_finds_the_service_again(settings: ServiceSettings, home: Path):
    settings = ServiceSettings(home=home, poll_s=0.05, port=free_port())
    with serving(settings, NoDrivers()) as service:
        fill(service.context.ledger)
        stream = Client(service.url).watch(STUDY)
        next(stream)
    with serving(settings, NoDrivers()) as service:
        service.context.ledger.set_study_state(STUDY, StudyState.FINISHED)
        assert [status["state"] for status in stream] == ["finished"]


def test_errors_are_those_of_the_tree(service: Running):
    with Client(service.url) as client:
        with pytest.raises(SpecError, match=r"training\.steps is 0"):
            client.plan(spec(training={"steps": 0}))
        with pytest.raises(SpecError, match="Unknown study 'x'"):
            client.study("x")
        with pytest.raises(SpecError, match=r"nothing at this address|should match"):
            client.study("../../health/live")
        with pytest.raises(SpecError, match="no plain data"):
            client.plan({"seed": float("nan")})
        with pytest.raises(SpecError, match="Unknown study 'x'"):
            list(client.watch("x"))
    with (
        Client(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(RetryableError, match="does not answer"),
    ):
        client.stop("x")
    with pytest.raises(SpecError, match="must begin with http"):
        Client("head:8400")


def test_a_token_comes_from_the_environment_or_a_file_and_is_never_shown(
    service: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    secret = service.token("ann", Scope.READ)
    with Client(service.url) as client, pytest.raises(SpecError, match="needs a token"):
        client.studies()
    assert Client(service.url, token=secret).studies() == []
    with monkeypatch.context() as patch:
        patch.setenv("TRIALWRIGHT_TOKEN", secret)
        assert Client(service.url).studies() == []
    path = tmp_path / "token"
    path.write_text(f"{secret}\n")
    monkeypatch.setenv("TRIALWRIGHT_TOKEN_FILE", str(path))
    client = Client(service.url)
    assert client.studies() == []
    assert secret not in repr(client)
    with pytest.raises(SpecError, match="scope read") as caught:
        client.create(spec())
    assert secret not in str(caught.value)
    monkeypatch.setenv("TRIALWRIGHT_TOKEN_FILE", str(tmp_path / "none"))
    with pytest.raises(SpecError, match="cannot be read"):
        Client(service.url)


def test_waits_where_it_is_asked_to(home: Path):
    with serving(ServiceSettings(home=home, burst=2, rate_per_s=5), NoDrivers()) as service:
        client = Client(service.url)
        assert [client.studies() for _ in range(4)] == [[]] * 4


@pytest.mark.skipif(postgres_tool("initdb") is None, reason="PostgreSQL's initdb is not installed")
def test_the_record_may_be_postgresql(settings: ServiceSettings, home: Path, monkeypatch: pytest.MonkeyPatch):
    with postgres() as database:
        monkeypatch.setenv("TRIALWRIGHT_LEDGER", database.new_database())
        with serving(settings, planted(home)) as service, Client(service.url) as client:
            assert "postgresql" in service.context.ledger.address
            client.create(spec(), key="once")
            client.create(spec(), key="once")
            assert list(client.watch("reviews"))[-1]["state"] == "finished"
            assert len(list(client.trials("reviews"))) == 3
            with pytest.raises(SpecError, match=r"has no trial|should match"):
                list(client.measurements("reviews", "no\0ne"))
            assert [event["kind"] for event in client.events("reviews")] == ["submitted"]
            with Ledger.open(service.context.home.ledger_url) as ledger:
                assert [(one.outcome, one.number) for one in ledger.trial_tallies("reviews")] == [
                    ("finished", 3)
                ]
            client.delete("reviews")


class TestAReportThatIsNone:
    @pytest.fixture
    def sent(self) -> Iterator[list[bytes]]:
        """What something that is no service of ours sends as a report."""
        answers: list[bytes] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answers[0])))
                self.end_headers()
                self.wfile.write(answers[0])

            def log_message(self, *_: object) -> None:
                return

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            answers.append(f"http://127.0.0.1:{server.server_port}".encode())
            yield answers
            server.shutdown()

    @pytest.mark.parametrize(
        ("members", "says"),
        [
            (None, "File is not a zip file"),
            ({}, "it is empty"),
            ({"../evil": b"1"}, "leads elsewhere"),
            ({"/evil": b"1"}, "leads elsewhere"),
            ({"bomb": bytes(2_000_000)}, "more than 1,000,000 bytes"),
        ],
    )
    def test_is_refused_and_nothing_is_written_elsewhere(
        self, sent: list[bytes], tmp_path: Path, members: dict[str, bytes] | None, says: str,
        monkeypatch: pytest.MonkeyPatch,
    ):  # fmt: skip
        monkeypatch.setattr("study.client.MOST_REPORT_BYTES", 1_000_000)
        url, buffer = sent.pop().decode(), io.BytesIO()
        if members is not None:
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
        sent.append(buffer.getvalue() or b"<html>")
        with Client(url) as client, pytest.raises(SpecError, match=says) as told:
            client.report("reviews", ["html"], tmp_path / "out")
        assert str(told.value).endswith("and ask again.")
        assert list(tmp_path.rglob("*")) == [tmp_path / "out"]
