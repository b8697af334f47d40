"""A study on a Ray cluster, launched and steered by a client that shares nothing with it but an address and a token."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from study.ledger import StudyState
from study.records import Phase
from tests.end_to_end.command import (
    STUDY,
    STUDY_FILE,
    Ended,
    Started,
    ledger_of,
    make_place,
    num_ended,
    wait_until,
)
from tests.end_to_end.heads import TOKEN, Head, ray_head
from tests.end_to_end.secrecy import Search

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ACCESS = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
PLANTED = {
    "MLFLOW_TRACKING_PASSWORD": "planted-in-mlflow",
    "TRIALWRIGHT_TOKEN": "planted-token",
    "AWS_SECRET_ACCESS_KEY": "planted-in-aws",
    "TRIALWRIGHT_HOME": "/planted/home/of/the/client",
    "MLFLOW_TRACKING_URI": "http://planted:planted-in-uri@127.0.0.1:9",
}
"""What lies in the client's environment and must not leave it."""
LONG = STUDY_FILE.replace("steps: 8", "steps: 600").replace(
    "eval_every: 2, checkpoint_every: 2", "eval_every: 150"
)
LONG = (
    LONG.replace("trials: 6", "trials: 3")
    .replace("grace_steps: 2", "grace_steps: 150")
    .replace("e+10", "e-1")
)
LONG = re.sub(r"  sensitivity: .*\n", "", LONG)
"""Ten trials of some seconds, so that there is time to look at them."""


@dataclass
class Story:
    """What the client was told, and what the cluster kept."""

    address: str
    home: Path
    ends: dict[str, Ended] = field(default_factory=dict)
    states: dict[str, StudyState] = field(default_factory=dict)
    jobs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    logs: str = ""

    def run(self, name: str, place: Path, *arguments: str, address: str = "") -> Ended:
        started = client(place, *arguments, "--address", address or self.address)
        try:
            self.ends[name] = started.wait()
        finally:
            started.clean_up()
        return self.ends[name]

    def note(self, name: str, head: Head) -> None:
        """What the cluster says of its jobs and its study at this moment."""
        self.jobs[name] = head.get("/api/jobs/")
        with ledger_of(self.home) as ledger:
            self.states[name] = ledger.study(STUDY).state


def client(place: Path, *arguments: str, **environment: str) -> Started:
    return Started(place, *arguments, **{**PLANTED, **ACCESS, **environment})


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "ledger-url").write_text(f"sqlite:///{folder}/home/ledger.db\n")
    with ray_head(folder, TRIALWRIGHT_LEDGER_FILE=str(folder / "ledger-url")) as one:
        yield one


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, head: Head) -> Iterator[Story]:
    """Launched, left, followed again, stopped, resumed, reported."""
    place = make_place(tmp_path_factory.mktemp("client"))
    (place / "study.yaml").write_text(LONG)
    story = Story(address=head.address, home=head.home)
    story.run("nothing there", place, "status")
    first = client(place, "launch", "study.yaml", "--address", head.address)
    try:
        wait_until(lambda: num_ended(story.home), first)
        first.interrupt()
        story.ends["left"] = first.wait()
        story.note("left", head)
        second = client(place, "launch", "study.yaml", "--address", head.address)
        wait_until(lambda: "runs at" in said(second), second)
        story.run("status", place, "status", "--json")
        (place / "other.yaml").write_text(LONG.replace("seed: 2", "seed: 3"))
        story.run("another", place, "launch", "other.yaml")
        story.run("stopped", place, "stop", STUDY)
        story.ends["followed"] = second.wait()
        story.note("stopped", head)
        third = client(place, "resume", "--address", head.address)
        wait_until(lambda: is_training(story.home), third)
        head.stop_job(running_driver(head)["submission_id"])
        story.ends["job stopped"] = third.wait()
        story.note("job stopped", head)
        story.run("resumed", place, "resume")
        story.note("resumed", head)
        story.run("again", place, "launch", "study.yaml", "--json", address=head.client_address)
        story.run("watched", place, "status", STUDY, "--watch")
        story.run("by ray client", place, "status", "--json", address=head.client_address)
        story.run("report", place, "report", "--format", "json,csv")
        story.run("unknown", place, "report", "tinny")
        story.note("end", head)
        job_logs = [
            head.get(f"/api/jobs/{job['submission_id']}/logs") for job in submitted(story.jobs["end"])
        ]
        story.logs = json.dumps(job_logs)
        yield story
    finally:
        first.clean_up()


def said(started: Started) -> str:
    return started._log("err").read_text() + started._log("out").read_text()


def is_training(home: Path) -> bool:
    with ledger_of(home) as ledger:
        return ledger.study(STUDY).state is StudyState.RUNNING and bool(ledger.running_trials(STUDY))


def submitted(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [job for job in jobs if job["submission_id"]]


def drivers(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        job for job in submitted(jobs) if re.fullmatch(r"trialwright-tiny-[0-9a-f]{8}", job["submission_id"])
    ]


def running_driver(head: Head) -> dict[str, Any]:
    """The one that has not ended: Ray tells of jobs in no order that holds."""
    [running] = [job for job in drivers(head.get("/api/jobs/")) if job["status"] == "RUNNING"]
    return running


def test_before_the_first_study_there_is_none(story):
    ended = story.ends["nothing there"]
    assert ended.code == 2
    assert ended.err == (
        f"trialwright: No study was ever launched at {story.address}: "
        "start one with trialwright launch STUDY.yaml.\n"
    )


def test_the_study_survives_the_clients_ctrl_c(story):
    ended = story.ends["left"]
    assert ended.code == 130
    assert f"Study tiny was submitted to {story.address} as job trialwright-tiny-" in ended.err
    assert f"Study tiny goes on at {story.address}." in ended.err
    assert f"Stop it:   trialwright stop tiny --address {story.address}" in ended.err
    assert "Traceback" not in ended.err + ended.out
    assert story.states["left"] is StudyState.RUNNING
    [driver] = drivers(story.jobs["left"])
    assert driver["status"] == "RUNNING"


def test_status_is_asked_of_the_cluster(story):
    ended = story.ends["status"]
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert (document["study"], document["state"]) == ("tiny", "running")
    assert document["driver"]


def test_a_second_launch_follows_the_driver_that_runs(story):
    ended = story.ends["followed"]
    assert f"Study tiny runs at {story.address} already, as job trialwright-tiny-" in ended.err
    assert len(drivers(story.jobs["stopped"])) == 1
    assert ended.code == 130, ended.out
    assert f"go on: trialwright resume tiny --address {story.address}" in ended.out


def test_another_study_of_that_name_is_refused(story):
    ended = story.ends["another"]
    assert ended.code == 2
    assert re.fullmatch(
        r"trialwright: Study 'tiny' runs already, as job '.*', and its file or its claims were others: stop it .*\n",
        ended.err,
    )


def test_stop_and_resume_reach_the_driver(story):
    assert story.ends["stopped"].code == 0
    assert story.ends["stopped"].out.startswith("Study tiny stops at its workers' next reports")
    assert story.states["stopped"] is StudyState.STOPPED
    resumed = story.ends["resumed"]
    assert resumed.code == 0, resumed.out + resumed.err
    assert "Study tiny has ended." in resumed.out
    assert f"Report:  trialwright report tiny --address {story.address}" in resumed.out
    assert story.states["resumed"] is StudyState.FINISHED
    with ledger_of(story.home) as ledger:
        trials = ledger.trials(STUDY)
    assert {trial.planned.phase for trial in trials} >= {Phase.SEARCH, Phase.CONFIRMATION}
    assert all(trial.ending is not None for trial in trials)


def test_a_job_that_ray_stops_ends_its_study_in_order(story):
    """Ray sends SIGTERM, for which it has a handler of its own in every driver."""
    ended = story.ends["job stopped"]
    assert ended.code == 130, ended.err
    assert "Study tiny is interrupted (SIGTERM was received); go on: trialwright resume tiny " in ended.out
    assert "Traceback" not in ended.out + ended.err
    assert story.states["job stopped"] is StudyState.INTERRUPTED
    [stopped] = [job for job in drivers(story.jobs["job stopped"]) if job["status"] == "STOPPED"]
    assert f"as job {stopped['submission_id']}" in ended.err


def test_json_is_one_document(story):
    ended = story.ends["again"]
    document = json.loads(ended.out)
    assert ended.code == 0
    assert (document["state"], document["did_anything"]) == ("finished", False)


def test_watching_shows_the_end_and_leaves_no_job(story):
    assert story.ends["watched"].code == 0
    assert "Study tiny is finished." in story.ends["watched"].out
    assert all(job["status"] not in {"PENDING", "RUNNING"} for job in submitted(story.jobs["end"]))


def test_ray_client_leads_to_the_same_cluster(story):
    ended = story.ends["by ray client"]
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert (document["study"], document["state"]) == ("tiny", "finished")


def test_reports_come_back(story):
    ended = story.ends["report"]
    assert ended.code == 0, ended.err
    names = set(ended.out.split())
    assert {"tiny-report/report.json", "tiny-report/trials.csv"} <= names


def test_a_mistake_on_the_cluster_is_one_sentence_here(story):
    ended = story.ends["unknown"]
    assert ended.code == 2
    assert ended.out == ""
    assert re.fullmatch(r"trialwright: .*'tinny'.*'tiny'.*\n", ended.err)


def test_no_secret_reaches_the_cluster(story):
    search = Search(secrets={**PLANTED, "in the URI": "planted-in-uri", "Ray": TOKEN}, users=("planted",))
    search.document("jobs", story.jobs)
    search.text("logs of jobs", story.logs)
    search.folder(story.home)
    for name, end in story.ends.items():
        search.text(f"output of {name}", end.out + end.err)
    assert search.leaks == []
    assert any("TRIALWRIGHT_BUNDLE" in job["runtime_env"]["env_vars"] for job in drivers(story.jobs["end"]))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"RAY_AUTH_TOKEN": "0" * 64}, r"does not accept the token that was sent: .*"),
        ({"RAY_AUTH_MODE": "disabled"}, r"asks for a token: set RAY_AUTH_MODE=token .*"),
    ],
)
def test_without_the_token_nothing_is_done(head, tmp_path, change, expected):
    started = client(tmp_path, "stop", "--address", head.address, **change)
    ended = started.wait()
    assert ended.code == 2
    assert re.fullmatch(rf"trialwright: The Ray cluster at '{head.address}' {expected}\n", ended.err)
