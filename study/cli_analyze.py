"""`trialwright analyze`: verdicts on any table of trials. Imports what it needs when it runs."""

import json
from pathlib import Path

import click

from search_spaces.errors import SpecError

FORMATS = "json,html,md"
FORMATS_HELP = "html, pdf, md, json, csv, tex, parquet, by commas."
EPILOG = (
    "\b\nExamples:\n"
    "  trialwright analyze trials.csv --claims claims.yaml\n"
    "  trialwright analyze trials.parquet --claims claims.yaml --curves curves.parquet --format pdf,tex --out paper\n"
    "  trialwright analyze trials.csv --claims claims.yaml --json\n"
)


@click.command(epilog=EPILOG)
@click.argument("trials", metavar="TRIALS.csv|.parquet", type=click.Path(path_type=Path))
@click.option(
    "--claims",
    "claims_file",
    metavar="CLAIMS.yaml",
    required=True,
    type=click.Path(path_type=Path),
    help="What is claimed. If it is locked, it must be unchanged.",
)
@click.option(
    "--curves", metavar="FILE", type=click.Path(path_type=Path), help="Measurements: trial, step, value."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder. [./<name of TRIALS>-report]"
)
@click.option("--format", "formats", help=f"html, pdf, md, json, csv, tex, parquet, by commas. [{FORMATS}]")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document and nothing else; files are written only where --out or --format is given.",
)
def analyze(
    trials: Path,
    *,
    claims_file: Path,
    curves: Path | None,
    out: Path | None,
    formats: str | None,
    as_json: bool,
) -> None:
    """Judge claims on a table of trials that any tool may have written.

    One row a trial, with the columns that `trialwright report --format csv` writes (docs/analyze.md lists them).
    Needs no study, no home and no tracking server. The exit code is 0 whatever the verdicts are.
    """
    from study.analyze import snapshot_of_tables, verdicts_text
    from study.progress import TerminalView
    from study.report import build, check_formats, document, write_report

    chosen = check_formats(one.strip() for one in (formats or FORMATS).split(",") if one.strip())
    if not chosen:
        raise SpecError(f"--format names no format: write {FORMATS_HELP}")
    snapshot = snapshot_of_tables(trials, claims_file, curves)
    model = build(snapshot, TerminalView(quiet=as_json).say)
    folder = out or Path(f"{trials.stem}-report")
    paths: dict[str, Path] = {}
    if not as_json or out is not None or formats is not None:
        paths = write_report(snapshot, folder, chosen, model=model)
    if as_json:
        click.echo(json.dumps(document(model), indent=1, ensure_ascii=False, allow_nan=False))
        return
    click.echo(verdicts_text(model))
    click.echo("\nReport: " + ", ".join(str(path) for path in paths.values()))
