"""What docs/deploy.md tells to type can be typed."""

import re
import shlex

import click
import pytest
from markdown_it import MarkdownIt

from deploy.rehearsal.stack import read_stack
from study.cli import cli
from tests.deploy.files import COMPOSE, ROOT

PAGE = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
BLOCKS = [token.content for token in MarkdownIt().parse(PAGE) if token.type == "fence"]
LINES = [
    shlex.split(line, comments=True)
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE))


def commands_of(program: str) -> list[list[str]]:
    """Arguments of every line that starts a program, wherever in the line it stands."""
    found = []
    for words in LINES:
        for place, word in enumerate(words if words[0] != "kubectl" else ()):
            if word.rpartition("/")[2] == program and "=" not in word:
                found.append(words[place + 1 :])
                break
    return found


def test_there_is_something_to_type():
    assert len(commands_of("trialwright")) > 10
    assert commands_of("make")


@pytest.mark.parametrize("words", commands_of("trialwright"), ids=" ".join)
def test_every_trialwright_command_is_one_with_these_options(words: list[str]):
    command: click.Command = cli
    while isinstance(command, click.Group):
        name = words.pop(0)
        assert name in command.commands, name
        command = command.commands[name]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("words", commands_of("make"), ids=" ".join)
def test_every_make_target_is_one(words: list[str]):
    assert set(words) <= TARGETS


def test_every_file_that_is_named_is_there():
    named = set(re.findall(r"deploy/(?:[\w-]+/)?[\w.-]+\.(?:sh|yaml)", PAGE))
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


def test_every_compose_service_that_is_named_is_one():
    services = set(read_stack({}).services)
    for words in LINES:
        if words[:2] == ["docker", "compose"]:
            verb = next(
                word for word in words[2:] if not word.startswith("--") and word not in {"cpu", "gpu"}
            )
            if verb in {"exec", "stop", "start", "run"}:
                rest = [word for word in words[words.index(verb) + 1 :] if not word.startswith("-")]
                assert rest[0] in services, words


def test_every_variable_of_the_compose_file_is_told():
    variables = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text("utf-8")))
    untold = {name for name in variables if f"`{name}`" not in PAGE}
    assert untold == {"TRIALWRIGHT_VERSION", "MLFLOW_WORKERS"}
