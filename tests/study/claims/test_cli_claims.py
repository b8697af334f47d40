"""`trialwright claims` as a person uses it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from search_spaces.errors import SpecError
from study.claims import CLAIMS_TEMPLATE
from study.cli import cli
from tests.study.claims.claims_files import MINIMAL, write


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["claims", *map(str, arguments)])


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "study.cli", "claims", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_from_a_template_to_an_amended_file(tmp_path):
    path = tmp_path / "claims.yaml"
    assert run("init", path).output == f"Wrote {path}. Edit it, then: trialwright claims lock {path}\n"
    assert path.read_text(encoding="utf-8") == CLAIMS_TEMPLATE
    assert run("lock", path).output.startswith(f"{path} was locked at ")
    assert run("lock", path).output.startswith(f"{path} is unchanged since it was locked at ")
    path.write_text(path.read_text(encoding="utf-8").replace("sesoi: 0.5 ", "sesoi: 0.6 "), encoding="utf-8")
    refused = run("check", path)
    assert isinstance(refused.exception, SpecError)
    assert "claim C1 was changed" in str(refused.exception)
    assert (
        "1 amendment; exploratory by amendment: C1;" in run("amend", path, "--reason", "seen too much").output
    )
    assert json.loads(run("check", path, "--json").output)["exploratory"] == ["C1"]


def test_before_data_is_said_and_never_assumed(tmp_path):
    path = write(tmp_path, MINIMAL)
    assert json.loads(run("lock", path, "--json").output)["action"] == "locked"
    path.write_text(path.read_text(encoding="utf-8").replace("sesoi: 0.1", "sesoi: 0.2"), encoding="utf-8")
    document = json.loads(run("amend", path, "--reason", "better guess", "--before-data", "--json").output)
    assert (document["action"], document["exploratory"]) == ("amended", [])


def test_an_existing_file_is_left_alone(tmp_path):
    path = write(tmp_path, MINIMAL)
    assert str(run("init", path).exception) == f"{str(path)!r} exists and is left alone: name another file."
    assert path.read_text(encoding="utf-8") == MINIMAL


def test_a_folder_that_is_not_there_is_told(tmp_path):
    refused = run("init", tmp_path / "none" / "claims.yaml")
    assert "cannot be written (No such file or directory): name a file in a folder that can." in str(
        refused.exception
    )


def test_a_mistake_is_one_sentence_on_stderr_with_exit_code_2(tmp_path):
    write(tmp_path, MINIMAL)
    ended = command(tmp_path, "check", "claims.yaml")
    assert (ended.returncode, ended.stdout) == (2, "")
    expected = "trialwright: claims.yaml is not locked: lock it with: trialwright claims lock claims.yaml.\n"
    assert ended.stderr == expected


@pytest.mark.parametrize("name", ["init", "lock", "check", "amend"])
def test_every_command_explains_itself_with_an_example(name):
    text = run(name, "--help").output
    assert f"trialwright claims {name} claims.yaml" in text
    assert len(text.splitlines()[2].strip()) > 20


def test_help_loads_no_heavy_library(tmp_path):
    code = (
        "import sys; from study.cli import main\nsys.argv = ['trialwright', 'claims', 'lock', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('\\n' + ' '.join(name for name in sys.modules if '.' not in name))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    loaded = set(ended.stdout.splitlines()[-1].split())
    heavy = {"torch", "ray", "mlflow", "pandas", "scipy", "statsmodels", "pydantic", "yaml", "matplotlib"}
    assert not heavy & loaded


def test_the_study_is_read_where_it_is_named(tmp_path):
    path = write(tmp_path, MINIMAL)
    refused = run("lock", path, "--study", tmp_path / "none.yaml")
    assert "none.yaml does not exist: check the name, or write one by `trialwright init`." in str(
        refused.exception
    )
