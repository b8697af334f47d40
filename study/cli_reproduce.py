"""`trialwright reproduce`: run a study again and hold it against its record."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search_spaces.errors import SpecError
from study.cli_options import (
    DONE,
    INTERRUPTED,
    PROBLEM,
    FiniteRange,
    cluster_of,
    home_option,
    json_option,
    open_ledger,
    study_name,
)

if TYPE_CHECKING:
    from study.home import Home
    from study.reproduction.record import Record

_EPILOG = """\b
Examples:
  trialwright reproduce reviews-report            a report's folder, with its record.json
  trialwright reproduce reviews --trials 8        some trials of a study of this home, drawn at random
  trialwright reproduce reviews-report --data rows.jsonl --base path:/models/base
  trialwright reproduce reviews --json > reproduction.json

\b
The rerun lies in a home of its own and goes on where it was interrupted. Exit codes: 0 reproduced, 1 not
reproduced, 2 a mistake in the input or other data than the study's, 130 interrupted.
"""


@click.command(epilog=_EPILOG)
@click.argument("source", metavar="REPORT_DIR|STUDY")
@click.option(
    "--trials",
    "num_trials",
    metavar="N",
    type=click.IntRange(min=1),
    help="Run N trials alone, drawn from all phases; the search's decisions are then taken from the record.",
)
@click.option(
    "--sample-seed", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Draws them."
)
@click.option(
    "--tolerance",
    metavar="X",
    type=FiniteRange(min=0),
    default=1e-3,
    show_default=True,
    help="Largest relative difference of a loss, where equality to the bit is not promised.",
)
@click.option("--base", metavar="MODEL", help="Where the base model is here, such as path:/models/base.")
@click.option("--data", metavar="FILE", type=click.Path(path_type=Path), help="Where the rows are here.")
@click.option(
    "--allow-other-inputs", is_flag=True, help="Go on although data or base model are not the study's."
)
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Home of the rerun. [reproductions/<STUDY>-… in the home]",
)
@click.option("--address", metavar="A", help="host:port of a Ray cluster's head. [this machine]")
@home_option
@json_option
def reproduce(source: str, *, address: str | None, home: str | None, as_json: bool, **asked: Any) -> int:
    """Run a study again from its record and compare it, measurement by measurement.

    Says first what differs here: versions, hardware, hashes. In float32 on one CPU thread, with equal versions on an
    equal processor, every figure must be the same to the bit; elsewhere the losses must agree within the tolerance.
    """
    from study.home import open_home
    from study.job_environment import settle
    from study.progress import TerminalView
    from study.reproduction.reproducing import Wanted, to_document
    from study.reproduction.reproducing import reproduce as run
    from study.reproduction.telling import before_text, result_text

    if address is not None and "://" in address:
        raise SpecError(
            f"--address is {address!r}, but reproduce drives from this process: write the host:port of a Ray cluster's "
            "head, on a machine of the cluster."
        )
    record = _record(source, home)
    here = open_home(home)
    settle(here.empty_dir)
    result = run(
        record,
        here,
        Wanted(address=cluster_of(address), allows_other_inputs=asked.pop("allow_other_inputs"), **asked),
        view=TerminalView(quiet=as_json),
        tell=lambda *facts: None if as_json else click.echo(before_text(*facts)),
    )
    click.echo(json.dumps(to_document(result), indent=2) if as_json else result_text(result))
    return {"reproduced": DONE, "differs": PROBLEM, "interrupted": INTERRUPTED}[result.verdict]


def _record(source: str, home: str | None) -> "Record":
    """The record of a report's folder, or of a study of the home."""
    from study.home import home_at
    from study.reproduction.record import FILE_NAME, read_record
    from study.reproduction.taking import take_record

    folder = Path(source).expanduser()
    place: Home = home_at(home)
    is_path = folder.is_dir() or len(folder.parts) > 1
    if (folder / FILE_NAME).is_file() or (is_path and not _has_study(place, source)):
        return read_record(folder)
    with open_ledger(place) as ledger:
        return take_record(ledger, study_name(ledger, source))


def _has_study(home: "Home", name: str) -> bool:
    from study.ledger import Ledger

    if not home.has_ledger:
        return False
    with Ledger.open(home.ledger_url) as ledger:
        return any(study.name == name for study in ledger.studies())
