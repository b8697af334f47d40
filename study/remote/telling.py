"""What the commands on remote studies print, in the same words for all places."""

import json
from collections.abc import Iterable
from typing import Any

import click

DONE, TRIALS_LOST, INTERRUPTED = 0, 3, 130
_CODES = {"finished": DONE, "failed": TRIALS_LOST}


def say(sentence: str) -> None:
    """Tell of the conversation itself, aside from its results."""
    click.echo(sentence, err=True)


def how_to_go_on(study: str, address: str) -> str:
    """Commands that work when they are pasted."""
    return (
        f"Follow it: trialwright status {study} --watch --address {address}\n"
        f"Stop it:   trialwright stop {study} --address {address}\n"
        f"Report:    trialwright report {study} --address {address}"
    )


def left_running(study: str, address: str) -> int:
    """Say that a study goes on although nobody follows it any more; the exit code."""
    say(f"\nStudy {study} goes on at {address}.\n{how_to_go_on(study, address)}")
    return INTERRUPTED


def code_of(document: dict[str, Any]) -> int:
    """The exit code of a launch whose study has come to rest in some state."""
    return _CODES.get(document["state"], INTERRUPTED)


def show_status(document: dict[str, Any], *, as_json: bool) -> None:
    """Print a status document, or its text."""
    from study.status import status_text

    click.echo(json.dumps(document, indent=2) if as_json else status_text(document))


def show_live(documents: Iterable[dict[str, Any]]) -> None:
    """Show a status on a terminal as it changes, until there is no newer one."""
    from rich.console import Console
    from rich.live import Live

    from study.status import status_text

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        for document in documents:
            live.update(status_text(document), refresh=True)
