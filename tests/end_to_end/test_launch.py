"""A study through the real command, on a real embedded Ray, undisturbed and disturbed in every way."""

import ipaddress
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from study.ledger import Ledger, RunKind, StudyState
from study.records import Outcome, Phase
from tests.end_to_end.command import (
    STUDY,
    STUDY_FILE,
    Ended,
    Started,
    ledger_of,
    make_place,
    num_ended,
    run,
    wait_until,
)
from tests.study.simulation import content

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
MLFLOW_STATUS = {
    Outcome.FINISHED: "FINISHED",
    Outcome.DIVERGED: "FINISHED",
    Outcome.STOPPED: "KILLED",
    Outcome.CANCELLED: "KILLED",
    Outcome.OUT_OF_MEMORY: "FAILED",
    Outcome.INFRA_FAILED: "FAILED",
}


@dataclass
class Story:
    """What happened in one home."""

    home: Path
    ends: dict[str, Ended] = field(default_factory=dict)
    survivors: dict[str, list[str]] = field(default_factory=dict)
    states: dict[str, StudyState] = field(default_factory=dict)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    """How many of MLflow's runs had each status after each launch."""
    listeners: set[tuple[str, str]] = field(default_factory=set)
    """Process names and the addresses on which they listened."""
    stranger: str = ""
    """What Ray told a client without the token."""

    def close(self, chapter: str, started: Started) -> None:
        """Wait for a launch, and note how it left the world."""
        self.ends[chapter] = started.wait()
        self.survivors[chapter] = started.survivors()
        with ledger_of(self.home) as ledger:
            self.states[chapter] = ledger.study(STUDY).state
        self.statuses[chapter] = mlflow_statuses(self.home)


def mlflow_rows(home: Path, query: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(home / "mlflow.db") as connection:
        return connection.execute(query).fetchall()


def mlflow_statuses(home: Path) -> Counter[str]:
    return Counter(status for (status,) in mlflow_rows(home, "select status from runs"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a narrow bound on the loss, so that some trials diverge on every processor."""
    place = make_place(tmp_path_factory.mktemp("place"))
    narrow = STUDY_FILE.replace("checkpoint_every: 2}", "checkpoint_every: 2, divergence_factor: 1.02}")
    (place / "study.yaml").write_text(narrow)
    return place


@pytest.fixture(scope="module")
def twin(place: Path) -> Iterator[Story]:
    """One launch from beginning to end."""
    story = Story(home=place / "undisturbed")
    started = Started(place, "launch", "study.yaml", "--home", str(story.home))
    try:
        wait_until(started.packs, started)
        story.stranger = _knock_without_token(started)
        while started.process.poll() is None:
            story.listeners |= _listeners(started)
            time.sleep(0.5)
        story.close("launch", started)
        yield story
    finally:
        started.clean_up()


def _listeners(started: Started) -> set[tuple[str, str]]:
    found = set()
    for process in started.processes():
        try:
            sockets = process.net_connections("inet")
            found |= {(process.name(), one.laddr.ip) for one in sockets if one.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    return found


def _knock_without_token(started: Started) -> str:
    """Ask the embedded Ray's head for its cluster, as any other user of this machine could."""
    head = next(process for process in started.processes() if process.name() == "gcs_server")
    ports = [one.laddr.port for one in head.net_connections("inet") if one.status == psutil.CONN_LISTEN]
    code = (
        "import sys; from ray._raylet import GcsClient\n"
        "try: print('let in', GcsClient(address=f'127.0.0.1:{sys.argv[1]}').cluster_id)\n"
        "except Exception as error: print(type(error).__name__)"
    )
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    asked = subprocess.run(
        [sys.executable, "-c", code, str(ports[0])],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    return asked.stdout


@pytest.fixture(scope="module")
def disturbed(place: Path) -> Iterator[Story]:
    """The same study: a killed worker and Ctrl-C, a killed driver, `stop`, and the rest."""
    story = Story(home=place / "disturbed")
    home = ("--home", str(story.home))
    chapters = {
        "interrupted": (("launch", "study.yaml"), 0, _kill_worker_and_interrupt),
        "killed": (("launch", "study.yaml"), 1, _kill_driver),
        "stopped": (("launch", "study.yaml"), 1, _stop),
        "resumed": (("resume", STUDY), 0, lambda *_: None),
    }
    for chapter, (command, num_more, disturb) in chapters.items():
        enough = num_ended(story.home) + num_more
        started = Started(place, *command, *home)
        try:
            wait_until(lambda: num_ended(story.home) >= enough, started)  # noqa: B023 (used at once)
            disturb(place, story, started)
            story.close(chapter, started)
        finally:
            started.clean_up()
    return story


def _kill_worker_and_interrupt(place: Path, story: Story, started: Started) -> None:
    _kill_worker(story, started)
    enough = num_ended(story.home) + 2
    wait_until(lambda: num_ended(story.home) >= enough, started)
    story.ends["second"] = run(place, "launch", "study.yaml", "--home", str(story.home))
    started.interrupt()


def _kill_driver(place: Path, story: Story, started: Started) -> None:
    started.process.send_signal(signal.SIGKILL)


def _stop(place: Path, story: Story, started: Started) -> None:
    story.ends["stop"] = run(place, "stop", STUDY, "--home", str(story.home))


def _kill_worker(story: Story, started: Started) -> None:
    """Kill workers that train, until one was lost in the middle of a trial, as the ledger says."""

    def lost() -> bool:
        if not (story.home / "ledger.db").exists():
            return False
        with ledger_of(story.home) as ledger:
            is_there = any(study.name == STUDY for study in ledger.studies())
            return is_there and any(event.kind == "attempt_failed" for event in ledger.events(STUDY))

    while not lost():
        wait_until(started.clients, started)
        for pack in started.packs()[:1]:
            pack.kill()
        give_up_at = time.monotonic() + 20
        while not lost() and time.monotonic() < give_up_at:
            time.sleep(0.2)


@pytest.fixture
def ledger(twin: Story) -> Iterator[Ledger]:
    with ledger_of(twin.home) as opened:
        yield opened


def test_every_planned_trial_ends_in_an_outcome_and_some_diverge(twin, ledger):
    assert twin.ends["launch"].code == 0, twin.ends["launch"].err
    assert twin.states["launch"] is StudyState.FINISHED
    records = ledger.trials(STUDY)
    outcomes = Counter(record.ending.outcome for record in records)
    assert outcomes[Outcome.DIVERGED] >= 2
    assert outcomes[Outcome.STOPPED] >= 1
    assert outcomes[Outcome.FINISHED] >= 10
    assert outcomes[Outcome.INFRA_FAILED] == outcomes[Outcome.OUT_OF_MEMORY] == 0
    assert all(record.attempts == 1 for record in records)
    assert {record.planned.phase for record in records} == set(Phase)
    for record in records:
        if record.ending.outcome is Outcome.DIVERGED:
            assert record.ending.value is None
            assert record.ending.steps <= 8


def test_mlflow_and_the_ledger_agree_run_by_run(twin, ledger):
    assert twin.statuses["launch"]["RUNNING"] == 0
    tags = mlflow_rows(twin.home, "select run_uuid, key, value from tags")
    runs = {run_id: {} for run_id, _, _ in tags}
    for run_id, name, text in tags:
        runs[run_id][name] = text
    status = dict(mlflow_rows(twin.home, "select run_uuid, status from runs"))
    points = mlflow_rows(twin.home, "select run_uuid, key, step, value from metrics")
    by_trial = {tags["trial"]: run_id for run_id, tags in runs.items() if tags["kind"] == RunKind.TRIAL}
    records = ledger.trials(STUDY)
    assert sorted(by_trial) == sorted(record.planned.key for record in records)
    assert Counter(tags["kind"] for tags in runs.values())[RunKind.TRIAL] == len(records)
    for record in records:
        run_id = by_trial[record.planned.key]
        assert status[run_id] == MLFLOW_STATUS[record.ending.outcome]
        assert runs[run_id]["outcome"] == record.ending.outcome
        assert runs[run_id]["attempt"] == "1"
        measured = {
            (name, one.step): figure
            for one in ledger.measurements(STUDY, record.planned.key)
            for name, figure in one.metrics.items()
        }
        tracked = {(name, step): value for owner, name, step, value in points if owner == run_id}
        assert measured.items() <= tracked.items()
        final = {"total_device_s", "steps_done"}
        assert {name for name, _ in tracked} - {name for name, _ in measured} >= final
    parents = {tags.get("mlflow.parentRunId") for tags in runs.values()} - {None}
    assert parents <= set(runs)


def test_a_study_that_has_ended_is_left_alone(place, twin, ledger):
    before = content(ledger, STUDY), [record.attempts for record in ledger.trials(STUDY)]
    started = Started(place, "launch", "study.yaml", "--home", str(twin.home), "--json")
    names: set[str] = set()
    while started.process.poll() is None:
        names |= {process.name() for process in started.processes()}
        time.sleep(0.05)
    again = started.wait()
    assert again.code == 0, again.err
    assert json.loads(again.out)["did_anything"] is False
    assert json.loads(again.out)["state"] == "finished"
    assert not names & {"gcs_server", "raylet"}
    assert again.wall_s < 20
    assert (content(ledger, STUDY), [record.attempts for record in ledger.trials(STUDY)]) == before


def test_ray_listens_on_the_loopback_address_alone(twin):
    names = {name for name, _ in twin.listeners}
    assert {"gcs_server", "raylet"} <= names
    for name, address in twin.listeners:
        ip = ipaddress.ip_address(address)
        mapped = getattr(ip, "ipv4_mapped", None) or ip
        assert mapped.is_loopback, f"{name} listens on {address}"


def test_ray_refuses_a_client_without_the_token(twin):
    assert twin.stranger.strip() == "AuthenticationError"


def test_nothing_is_left_over_in_the_home(twin, disturbed):
    for story in (twin, disturbed):
        assert list((story.home / "ray").iterdir()) == []
        assert list((story.home / "empty").iterdir()) == []
        folder = story.home / "studies" / STUDY
        assert sorted(path.name for path in folder.iterdir()) == ["adapters", "report"]
        adapters = {path.parent.relative_to(folder) for path in folder.rglob("adapter_config.json")}
        with ledger_of(story.home) as opened:
            confirmed = opened.trials(STUDY, phase=Phase.CONFIRMATION)
        finished = [r.planned.key for r in confirmed if r.ending.outcome is Outcome.FINISHED]
        assert adapters == {Path("adapters") / key for key in finished}
        assert (folder / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("chapter", ["interrupted", "killed", "stopped", "resumed"])
def test_no_process_outlives_its_driver(twin, disturbed, chapter):
    assert twin.survivors["launch"] == []
    assert disturbed.survivors[chapter] == []


def test_ctrl_c_interrupts_in_order(disturbed):
    ended = disturbed.ends["interrupted"]
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert f"Study {STUDY} is interrupted (SIGINT was received)" in ended.out
    assert f"resume {STUDY} --home" in ended.out
    assert disturbed.states["interrupted"] is StudyState.INTERRUPTED
    assert disturbed.statuses["interrupted"]["RUNNING"] == 0
    assert disturbed.statuses["interrupted"]["KILLED"] > 0


def test_a_second_launch_at_the_same_time_is_refused(disturbed):
    refused = disturbed.ends["second"]
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert f"Study '{STUDY}' is being run by process" in line
    assert f"trialwright stop {STUDY}" in line


def test_a_killed_driver_is_taken_over_at_once(disturbed):
    assert disturbed.ends["killed"].code == -signal.SIGKILL
    assert disturbed.states["killed"] is StudyState.RUNNING  # nobody could say otherwise
    assert disturbed.ends["stopped"].wall_s < 120


def test_stop_ends_a_running_study_from_another_process(disturbed):
    asked, ended = disturbed.ends["stop"], disturbed.ends["stopped"]
    assert asked.code == 0
    assert f"Study {STUDY} stops" in asked.out
    assert ended.code == 130
    assert "`trialwright stop` was called" in ended.out
    assert disturbed.states["stopped"] is StudyState.STOPPED
    assert disturbed.statuses["stopped"]["RUNNING"] == 0


def test_a_killed_worker_is_replaced_and_its_trial_tried_again(disturbed):
    with ledger_of(disturbed.home) as opened:
        (event, *_) = [event for event in opened.events(STUDY) if event.kind == "attempt_failed"]
        record = opened.trial(STUDY, event.detail["trial"])
    assert re.search("died|is unavailable|process ended", event.detail["reason"])
    assert record.ending.outcome in {Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED}
    assert record.attempts >= 2


def test_a_disturbed_study_ends_as_its_undisturbed_twin(twin, disturbed, ledger):
    assert disturbed.ends["resumed"].code == 0, disturbed.ends["resumed"].err
    with ledger_of(disturbed.home) as opened:
        mine, theirs = content(opened, STUDY), content(ledger, STUDY)
    assert mine["trials"] == theirs["trials"]
    assert mine["measurements"] == theirs["measurements"]
    assert mine["rungs"] == theirs["rungs"]


def test_mlflow_of_a_disturbed_study_is_that_of_its_twin(twin, disturbed):
    """One run each, whatever happened; no point twice; nothing that still seems to run."""
    trials = "select value, count(*) from tags where key = 'trial' group by value order by value"
    points = (
        "select t.value, m.key, m.step, count(*) from metrics m join tags t on t.run_uuid = m.run_uuid "
        "where t.key = 'trial' group by 1, 2, 3 order by 1, 2, 3"
    )
    for query in (trials, points):
        assert mlflow_rows(disturbed.home, query) == mlflow_rows(twin.home, query)
    assert disturbed.statuses["resumed"] == twin.statuses["launch"]


def test_the_other_commands_read_what_the_study_left(place, twin, tmp_path):
    home = ("--home", str(twin.home))
    status = run(place, "status", "--json", *home)
    document = json.loads(status.out)
    assert (document["study"], document["state"], document["running"]) == (STUDY, "finished", [])
    assert sum(phase["planned"] for phase in document["phases"].values()) == 30
    made = run(
        place, "report", STUDY, "--format", "csv,parquet,json", "--out", str(tmp_path / "tables"), *home
    )
    assert made.code == 0, made.err
    assert {"trials.csv", "trials.parquet"} <= {path.name for path in (tmp_path / "tables").iterdir()}
    assert all(Path(line).exists() for line in made.out.splitlines())
    compare = run(place, "compare", STUDY, "--no-open", *home)
    assert compare.out.startswith("http://127.0.0.1:5000/#/experiments/")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("status", "tinny"), r"Unknown study 'tinny', did you mean 'tiny'\? Known: tiny\."),
        (("report", STUDY, "--format", "htm"), r".*'htm', did you mean 'html'\? Known: csv, html, .*"),
        (("stop", STUDY), r"Study 'tiny' does not run \(it is finished\): there is nothing to stop\."),
        (("report", STUDY, "--out", "study.yaml"), r".*study\.yaml.*"),
    ],
)
def test_mistakes_about_a_study_that_is_there_are_refused_in_one_sentence(place, twin, arguments, expected):
    ended = run(place, *arguments, "--home", str(twin.home))
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert re.fullmatch(f"trialwright: {expected}", line), line


def test_a_study_on_a_copied_home_is_that_study(place, twin):
    """Nothing in a home depends on where it lies."""
    shutil.copytree(twin.home, place / "moved")
    again = run(place, "launch", "study.yaml", "--home", "moved")
    assert again.code == 0, again.err
    assert f"Study {STUDY} had ended before: nothing was run." in again.out
