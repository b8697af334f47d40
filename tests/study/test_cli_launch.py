"""`trialwright launch` where it is interrupted before a study runs."""

from click.testing import CliRunner

from study import runner
from study.cli import cli
from tests.study.study_files import MINIMAL, study_file


def test_an_interruption_while_it_gets_ready_is_said(tmp_path, monkeypatch):
    def launch(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "launch", launch)
    file = study_file(tmp_path, MINIMAL)
    ended = CliRunner().invoke(cli, ["launch", str(file), "--home", str(tmp_path)], standalone_mode=False)
    assert ended.return_value == 130
    assert ended.stderr == "trialwright: Study tiny was interrupted: the same command goes on.\n"
