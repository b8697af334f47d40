"""The commands on a service, through a stand-in for its client that keeps studies in a dict."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.errors import RetryableError, SpecError
from study.remote.service import ServiceRemote, progress_lines
from tests.study.study_files import with_change

ADDRESS = "http://service:8400"


class StandIn:
    """What `study.client.Client` offers, as far as the commands use it."""

    def __init__(self, **states: str) -> None:
        self.states = states
        self.asked: list[tuple[str, ...]] = []
        self.then: list[str] = []
        """States that watching goes through."""
        self.error: Exception | None = None
        self.sent: tuple[Any, Any] = (None, None)

    def studies(self) -> list[dict[str, Any]]:
        return [self.study(name) for name in self.states]

    def study(self, name: str) -> dict[str, Any]:
        if name not in self.states:
            raise SpecError(f"Unknown study {name!r}.")
        state = self.states[name]
        return {
            "study": name,
            "state": state,
            "driver": "process 1 on a" if state == "running" else None,
            "phases": {"search": {"planned": 4, "finished": 1, "stopped": 1}},
            "running": ["search/sgd/0/1"] if state == "running" else [],
            "device_seconds": 3.0,
        }

    def create(self, spec: dict[str, Any], claims: Any = None) -> dict[str, Any]:
        self.asked.append(("create", spec["name"]))
        self.sent = (spec, claims)
        self.states.setdefault(spec["name"], "running")
        return self.study(spec["name"])

    def watch(self, name: str) -> Any:
        yield self.study(name)
        for state in self.then:
            self.states[name] = state
            yield self.study(name)
        if self.error is not None:
            raise self.error

    def stop(self, name: str) -> dict[str, str]:
        self.asked.append(("stop", name))
        return {"study": name, "told": "It stops."}

    def resume(self, name: str) -> dict[str, str]:
        self.asked.append(("resume", name))
        self.states[name] = "running"
        return {"study": name, "told": "It goes on."}

    def report(self, name: str, formats: list[str], out_dir: Path) -> dict[str, Path]:
        self.asked.append(("report", name, *formats))
        return {form: Path(out_dir) / f"report.{form}" for form in formats}


@pytest.fixture
def study_file(tmp_path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(with_change()))
    return path


def launch(client: StandIn, study_file: Path, **changes: Any) -> int:
    options: dict[str, Any] = {"last_phase": None, "tracking_uri": None, "detach": False, "as_json": False}
    return remote(client).launch(study_file, **{**options, **changes})


def remote(client: StandIn) -> ServiceRemote:
    return ServiceRemote(ADDRESS, client)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("last", "code"), [("finished", 0), ("failed", 3), ("stopped", 130), ("interrupted", 130)]
)
def test_a_launch_ends_as_the_study_does(study_file, capsys, last, code):
    client = StandIn()
    client.then = ["running", last]
    assert launch(client, study_file) == code
    said = capsys.readouterr()
    assert f"Study tiny was handed over to {ADDRESS}." in said.err
    assert "running: search 2 of 4; training search/sgd/0/1" in said.err
    assert f"Study tiny is {last}." in said.out
    assert client.asked == [("create", "tiny")]
    assert "claims" not in client.sent[0]


@pytest.mark.parametrize("state", ["stopped", "interrupted", "planned"])
def test_a_study_that_rests_goes_on(study_file, state):
    client = StandIn(tiny=state)
    client.then = ["finished"]
    assert launch(client, study_file) == 0
    assert client.asked == [("create", "tiny"), ("resume", "tiny")]


@pytest.mark.parametrize("state", ["running", "finished", "failed"])
def test_a_study_that_runs_or_has_ended_is_left_alone(study_file, state):
    client = StandIn(tiny=state)
    client.then = [] if state != "running" else ["finished"]
    launch(client, study_file)
    assert client.asked == [("create", "tiny")]


def test_json_is_one_document(study_file, capsys):
    client = StandIn()
    client.then = ["finished"]
    launch(client, study_file, as_json=True)
    assert json.loads(capsys.readouterr().out)["state"] == "finished"
    launch(StandIn(), study_file, as_json=True, detach=True)
    assert json.loads(capsys.readouterr().out)["state"] == "running"


def test_whoever_leaves_is_told_how_to_come_back(study_file, capsys):
    client = StandIn()
    client.error = KeyboardInterrupt()  # type: ignore[assignment]
    assert launch(client, study_file) == 130
    assert f"Stop it:   trialwright stop tiny --address {ADDRESS}" in capsys.readouterr().err
    client.error = RetryableError("The service does not answer.")
    with pytest.raises(
        RetryableError, match=r"does not answer; study tiny may still run\. Follow it: trialwright"
    ):
        launch(client, study_file)


def test_what_the_service_decides_is_refused(study_file):
    with pytest.raises(SpecError, match="--phase is not known to the service"):
        launch(StandIn(), study_file, last_phase="search")
    with pytest.raises(SpecError, match="--tracking-uri is the service's own affair"):
        launch(StandIn(), study_file, tracking_uri="http://mlflow:5000")


def test_the_newest_study_is_meant_where_none_is_named(capsys):
    client = StandIn(newest="running", oldest="finished")
    assert remote(client).status(None, watch=False, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["study"] == "newest"
    assert remote(client).stop(None) == 0
    assert capsys.readouterr().out == "It stops.\n"
    remote(client).report(None, formats="html, pdf", out=None)
    assert capsys.readouterr().out.split() == ["newest-report/report.html", "newest-report/report.pdf"]
    assert remote(client).resume("oldest", tracking_uri=None, detach=True, as_json=False) == 0
    assert client.asked[-1] == ("resume", "oldest")
    with pytest.raises(SpecError, match=f"There is no study at '{ADDRESS}' yet"):
        remote(StandIn()).stop(None)


def test_watching_ends_with_the_study(capsys):
    client = StandIn(tiny="running")
    client.then = ["finished"]
    assert remote(client).status("tiny", watch=True, as_json=False) == 0
    assert "Study tiny is finished." in capsys.readouterr().out


def test_a_log_gets_a_line_now_and_then():
    documents = [StandIn(tiny="running").study("tiny")] * 5
    assert len(list(progress_lines(documents))) == 1
    assert len(list(progress_lines(documents, every_s=0.0))) == 5
