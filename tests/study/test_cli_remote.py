"""Which place a command means, from its options and its surroundings."""

from typing import Any

import pytest
from click.testing import CliRunner

import study.remote
from search_spaces.errors import SpecError
from study.cli import cli

URL = "http://head:8265"


class Place:
    """Stands for a remote place, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        """Any method of a place."""

        def method(*arguments: Any, **options: Any) -> int:
            self.asked.append((name, arguments, options))
            return 7

        return method


@pytest.fixture
def place(monkeypatch) -> Place:
    for name in (
        "TRIALWRIGHT_ADDRESS",
        "TRIALWRIGHT_HOME",
        "MLFLOW_TRACKING_URI",
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
    ):
        monkeypatch.delenv(name, raising=False)
    one = Place()
    monkeypatch.setattr(study.remote, "remote_at", lambda address: one if address == URL else None)
    return one


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False, standalone_mode=False).return_value


@pytest.mark.parametrize("command", ["status", "stop", "resume", "report"])
def test_every_command_takes_the_address(place, command):
    assert run(command, "tiny", "--address", URL) == 7
    [(name, arguments, _)] = place.asked
    assert (name, arguments) == (command, ("tiny",))


def test_the_address_may_stand_in_the_environment(place, monkeypatch):
    monkeypatch.setenv("TRIALWRIGHT_ADDRESS", URL)
    assert run("status") == 7
    assert place.asked == [("status", (None,), {"watch": False, "as_json": False})]


def test_what_this_machine_has_for_itself_is_not_sent(place, monkeypatch, tmp_path):
    monkeypatch.setenv("TRIALWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://here:5000")
    run("launch", "study.yaml", "--address", URL, "--detach")
    run("launch", "study.yaml", "--address", URL, "--tracking-uri", "http://there:5000")
    assert [options["tracking_uri"] for _, _, options in place.asked] == [None, "http://there:5000"]
    assert [options["detach"] for _, _, options in place.asked] == [True, False]
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "command", [("launch", "study.yaml"), ("status",), ("stop",), ("resume",), ("report",)]
)
def test_a_home_beside_a_remote_address_is_refused(place, tmp_path, command):
    with pytest.raises(SpecError, match=r"--home names a folder of this machine, but .* leave one out"):
        run(*command, "--address", URL, "--home", str(tmp_path))
    assert place.asked == []


@pytest.mark.parametrize("address", [(), ("--address", "10.0.0.5:6379")])
@pytest.mark.parametrize("command", [("launch", "study.yaml"), ("resume", "tiny")])
def test_detaching_from_oneself_is_refused(place, address, command):
    with pytest.raises(
        SpecError, match="--detach needs an --address that drives the study itself: http://head:8265"
    ):
        run(*command, *address, "--detach")


def test_a_job_does_not_send_its_command_on(place, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv("TRIALWRIGHT_ADDRESS", URL)
    with pytest.raises(SpecError, match="No study was ever launched in the home"):
        run("status", "--home", str(tmp_path))
    assert place.asked == []


def test_bundled_and_a_file_exclude_each_other(place):
    with pytest.raises(Exception, match=r"--bundled takes no STUDY\.yaml"):
        run("launch", "study.yaml", "--bundled")
    with pytest.raises(Exception, match=r"Missing argument 'STUDY\.yaml'"):
        run("launch")
