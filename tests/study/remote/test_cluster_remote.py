"""The commands on a Ray cluster, against a stand-in for its dashboard whose jobs end as the test says."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.errors import RetryableError, SpecError
from study.bundle import BUNDLE_VARIABLE, bundle_of, unpack_bundle
from study.jobs.relay import MARK
from study.remote.cluster import DIGEST, ClusterRemote
from tests.study.jobs.dashboards import Dashboard
from tests.study.study_files import with_change

BEGIN = "Runtime env is setting up.\nRunning entrypoint for job one: exec trialwright\n"


@pytest.fixture
def study_file(tmp_path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(with_change()))
    return path


def ends(board: Dashboard, log: str, status: str = "SUCCEEDED", **more: Any) -> None:
    """Every job from now on has this log and has ended."""

    def added(job_id: str, _status: str, **entry: Any) -> None:
        Dashboard.add(board, job_id, status, **{**entry, "driver_exit_code": 0, **more})
        board.logs[job_id] = BEGIN + log

    board.add = added  # type: ignore[method-assign]


def launch(board: Dashboard, study_file: Path, **changes: Any) -> int:
    options: dict[str, Any] = {"last_phase": None, "tracking_uri": None, "detach": False, "as_json": False}
    return ClusterRemote(board.url).launch(study_file, **{**options, **changes})


def sent(board: Dashboard) -> list[dict[str, Any]]:
    return [body for method, path, body in board.asked if (method, path) == ("POST", "/api/jobs/")]


def test_a_launch_sends_the_study_and_shows_the_drivers_log(dashboard, study_file, capsys):
    ends(dashboard, "10 %  search\nStudy tiny has ended.\n")
    assert launch(dashboard, study_file, last_phase="search", tracking_uri="http://mlflow:5000") == 0
    [job] = sent(dashboard)
    assert (
        job["entrypoint"]
        == "exec trialwright launch --bundled --phase search --tracking-uri http://mlflow:5000"
    )
    bundle = unpack_bundle(job["runtime_env"]["env_vars"][BUNDLE_VARIABLE])
    assert bundle == unpack_bundle(bundle_of(study_file))
    assert job["metadata"] == {DIGEST: bundle.digest}
    assert capsys.readouterr().out == "10 %  search\nStudy tiny has ended.\n"


@pytest.mark.parametrize("code", [0, 2, 3, 130])
def test_a_launch_ends_with_its_drivers_code(dashboard, study_file, capsys, code):
    ends(dashboard, "trialwright: It is wrong: correct it.\n", "FAILED", driver_exit_code=code)
    assert launch(dashboard, study_file) == code
    said = capsys.readouterr()
    assert (said.out, said.err.splitlines()[-1]) == ("", "trialwright: It is wrong: correct it.")


def test_a_driver_that_falls_silent_is_told(dashboard, study_file, capsys):
    ends(dashboard, "10 %  search\n", "FAILED", driver_exit_code=1)
    assert launch(dashboard, study_file) == 1
    assert (
        "ended without a word (exit code 1). What it did is kept; go on: trialwright"
        in capsys.readouterr().err
    )


def test_a_job_that_was_stopped_or_never_began_is_told_apart(dashboard, study_file):
    ends(dashboard, "10 %\n", "STOPPED", driver_exit_code=None)
    assert launch(dashboard, study_file) == 130
    ends(dashboard, "", "FAILED", driver_exit_code=None, message="Job supervisor actor died\nand more")
    with pytest.raises(
        RetryableError, match=r"ended without a result \(failed: Job supervisor actor died\): look"
    ):
        launch(dashboard, study_file)
    ends(dashboard, "sh: 1: exec: trialwright: not found\n", "FAILED", driver_exit_code=127)
    with pytest.raises(
        SpecError, match="The head of the cluster does not find the command trialwright: install"
    ):
        launch(dashboard, study_file)


def test_a_detached_launch_returns_at_once(dashboard, study_file, capsys):
    assert launch(dashboard, study_file, detach=True, as_json=True) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["state"] == "submitted"
    assert f"Follow it: trialwright status tiny --watch --address {dashboard.url}" in said.err


def test_mistakes_in_the_study_are_told_before_anything_is_sent(dashboard, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(with_change(families=["sgd", "grsdg"])))
    with pytest.raises(SpecError, match="Unknown family 'grsdg'"):
        launch(dashboard, path)
    with pytest.raises(SpecError, match="An address with a password"):
        launch(dashboard, _good(path), tracking_uri="http://me:s3cret@mlflow:5000")
    assert sent(dashboard) == []


def _good(path: Path) -> Path:
    path.write_text(yaml.safe_dump(with_change()))
    return path


@pytest.mark.parametrize("log", ["", "Error: No such command 'relay'.\n", f"{MARK}damaged\n"])
def test_a_short_command_without_a_result_is_told(dashboard, log):
    ends(dashboard, log, "FAILED", driver_exit_code=1, message="It failed.")
    with pytest.raises((RetryableError, SpecError), match=r"ended without a result|did not arrive whole"):
        ClusterRemote(dashboard.url).stop("tiny")


def test_watching_shows_what_a_job_writes_and_ends_the_job(dashboard, capsys):
    document = {"study": "tiny", "driver": None, "phases": {}, "running": [], "device_seconds": 0.0}
    lines = [json.dumps({**document, "state": state}) for state in ("running", "finished")]
    ends(dashboard, "\n".join([*lines, ""]))
    assert ClusterRemote(dashboard.url).status("tiny", watch=True, as_json=False) == 0
    assert "Study tiny is finished." in capsys.readouterr().out
    assert any(path.endswith("/stop") for _, path, _ in dashboard.asked)


def test_watching_what_is_not_there_is_a_mistake(dashboard):
    ends(
        dashboard, "trialwright: Unknown study 'tinny', did you mean 'tiny'?\n", "FAILED", driver_exit_code=2
    )
    with pytest.raises(SpecError, match=r"^Unknown study 'tinny', did you mean 'tiny'\?"):
        ClusterRemote(dashboard.url).status("tinny", watch=True, as_json=False)
