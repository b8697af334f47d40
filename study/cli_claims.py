"""`trialwright claims`: write, lock, check and amend a claims file. Imports what it needs when it runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from search_spaces.errors import SpecError

if TYPE_CHECKING:
    from study.claims import Registration
    from study.spec import StudySpec

Command = TypeVar("Command", bound=Callable[..., Any])


def _claims_file(command: Command) -> Command:
    return click.argument("claims_file", metavar="CLAIMS.yaml", type=click.Path(path_type=Path))(command)


def _study(command: Command) -> Command:
    return click.option(
        "--study",
        "study_file",
        metavar="STUDY.yaml",
        type=click.Path(path_type=Path),
        help="The study whose trials will decide: its families, sizes and spaces must agree with the file.",
    )(command)


def _json(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")(
        command
    )


@click.group(
    epilog="\b\nExamples:\n  trialwright claims init claims.yaml\n"
    "  trialwright claims lock claims.yaml --study study.yaml\n  trialwright claims check claims.yaml\n"
)
def claims() -> None:
    """Register what a study claims before its results are seen, and prove that it is unchanged.

    Claims are written in a YAML file (docs/claims.md says how). A locked file says when and at which commit it was
    locked, and holds digests by which any later change shows.
    """


@claims.command(epilog="\b\nExample:\n  trialwright claims init claims.yaml\n")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("claims.yaml"))
def init(file: Path) -> None:
    """Write a commented claims file to begin with."""
    from study.claims import CLAIMS_TEMPLATE

    if file.exists():
        raise SpecError(f"{str(file)!r} exists and is left alone: name another file.")
    try:
        file.write_text(CLAIMS_TEMPLATE, encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"{str(file)!r} cannot be written ({error.strerror}): name a file in a folder that can."
        ) from None
    click.echo(f"Wrote {file}. Edit it, then: trialwright claims lock {file}")


@claims.command(
    epilog="\b\nExamples:\n  trialwright claims lock claims.yaml\n"
    "  trialwright claims lock claims.yaml --study study.yaml\n"
)
@_claims_file
@_study
@_json
def lock(claims_file: Path, study_file: Path | None, *, as_json: bool) -> None:
    """Check that the design can decide the claims, and register them.

    Writes `registered` into the file and leaves all else as it is. Locking an unchanged file again does nothing.
    """
    from study.claims import lock as lock_file

    _show(lock_file(claims_file, _spec(study_file)), as_json=as_json)


@claims.command(epilog="\b\nExample:\n  trialwright claims check claims.yaml\n")
@_claims_file
@_study
@_json
def check(claims_file: Path, study_file: Path | None, *, as_json: bool) -> None:
    """Prove that a locked file is unchanged, or say which claims were changed (exit code 2)."""
    from study.claims import check as check_file

    _show(check_file(claims_file, _spec(study_file)), as_json=as_json)


@claims.command(
    epilog="\b\nExamples:\n  trialwright claims amend claims.yaml --reason 'C2 named the wrong factor'\n"
    "  trialwright claims amend claims.yaml --reason 'more seeds' --before-data\n"
)
@_claims_file
@click.option("--reason", metavar="TEXT", required=True, help="Why the claims changed, in one line.")
@click.option(
    "--before-data",
    is_flag=True,
    help="No result had been seen. Without it, every claim that changed is exploratory from now on.",
)
@_study
@_json
def amend(
    claims_file: Path, *, reason: str, before_data: bool, study_file: Path | None, as_json: bool
) -> None:
    """Register the changes made to a locked file since, with their reason; earlier records stay."""
    from study.claims import amend as amend_file

    _show(amend_file(claims_file, reason, data_seen=not before_data, spec=_spec(study_file)), as_json=as_json)


def _spec(study_file: Path | None) -> "StudySpec | None":
    if study_file is None:
        return None
    from study.spec import load_spec

    return load_spec(study_file)


def _show(registration: "Registration", *, as_json: bool) -> None:
    click.echo(json.dumps(registration.to_json(), indent=2) if as_json else registration.text)
