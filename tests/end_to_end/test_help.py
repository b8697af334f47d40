"""The command answers at once: help loads none of the heavy libraries."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "mlflow", "pandas", "transformers", "optuna", "sqlalchemy", "matplotlib", "scipy")


@pytest.mark.parametrize(
    "arguments",
    [
        *[
            ("--help",),
            ("launch", "--help"),
            ("status", "--help"),
            ("serve", "--help"),
            ("token", "--help"),
            ("reproduce", "-h"),
        ],
        *[("--version",), ("report", "-h"), ("families",), ("init", os.devnull)],
    ],
)
def test_quick_commands_load_no_heavy_library(arguments):
    code = (
        "import sys; from study.cli import main\n"
        "sys.argv[1:] = sys.argv[2:]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('\\n' + ' '.join(name for name in sys.modules if '.' not in name))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "-", *arguments], check=True, capture_output=True, text=True
    )
    loaded = set(ended.stdout.splitlines()[-1].split())
    assert "click" in loaded
    light = set(HEAVY) - ({"scipy"} if arguments == ("families",) else set())
    assert not light & loaded


@pytest.mark.parametrize(
    "command",
    [
        *["init", "plan", "launch", "resume", "status", "stop", "report", "compare", "families", "tasks"],
        *["serve", "token", "reproduce"],
    ],
)
def test_every_command_explains_itself(command):
    ended = subprocess.run(
        [sys.executable, "-m", "study.cli", command, "--help"], check=True, capture_output=True, text=True
    )
    assert ended.stdout.startswith("Usage: ")
    assert len(ended.stdout.splitlines()[2].strip()) > 20
    assert ended.stderr == ""


@pytest.mark.parametrize("command", ["launch", "resume", "status", "stop", "report", "serve", "token"])
def test_a_command_that_may_look_elsewhere_shows_how(command):
    help_text = subprocess.run(
        [sys.executable, "-m", "study.cli", command, "--help"], check=True, capture_output=True, text=True
    ).stdout
    assert f"\n  trialwright {command}" in help_text.replace("    trialwright", "  trialwright")
    assert "http://head:8265" in help_text or command == "token"
