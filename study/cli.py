"""The command `trialwright`. Every command imports what it needs when it runs, so that `--help` is quick."""

import json
import sys
from pathlib import Path

import click

from search_spaces.errors import SpecError, TrialwrightError, one_line
from study.cli_analyze import FORMATS_HELP, analyze
from study.cli_claims import claims
from study.cli_launch import launch, resume
from study.cli_options import (
    DONE,
    INTERRUPTED,
    PROBLEM,
    USER_MISTAKE,
    address_option,
    home_option,
    json_option,
    open_ledger,
    remote,
    study_name,
    tracking_option,
)
from study.cli_reproduce import reproduce
from study.cli_service import serve, token


def main() -> None:
    """Run the command; every mistake of the user's is one sentence on stderr and exit code 2."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "trialwright"
        _fail(f"{error.format_message()} {command} --help shows what there is.", USER_MISTAKE)
    except click.ClickException as error:
        _fail(error.format_message(), USER_MISTAKE)
    except SpecError as error:
        _fail(str(error), USER_MISTAKE)
    except TrialwrightError as error:
        _fail(str(error), PROBLEM)
    except BrokenPipeError:
        sys.exit(DONE)
    else:
        sys.exit(code or DONE)


def _fail(sentence: str, code: int) -> None:
    click.echo(f"trialwright: {one_line(sentence)}", err=True)
    sys.exit(code)


_EPILOG = """\b
Examples:
  trialwright init study.yaml          write a commented study file
  trialwright plan study.yaml          what it will cost, measured here
  trialwright launch study.yaml        run it, or go on with it
  trialwright launch study.yaml --address http://head:8265    the same on a Ray cluster
  trialwright status --watch           how far it is
  trialwright report my-study          write its report
"""


@click.group(
    epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="trialwright", prog_name="trialwright")
def cli() -> None:
    """Settle whether a way of fine-tuning mixtures of LoRA experts is really more robust.

    A study trains every optimizer family over learning rates, expert counts and ranks with Ray Tune, tracks
    it in MLflow, and ends with a report. Exit codes: 0 done, 2 a mistake in the input, 3 trials were lost,
    130 interrupted (launch again to go on).
    """


@cli.command(epilog="\b\nExample:\n  trialwright init reviews.yaml\n")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("study.yaml"))
def init(file: Path) -> None:
    """Write a commented study file to begin with."""
    from study.spec import STUDY_TEMPLATE

    if file.exists():
        raise SpecError(f"{str(file)!r} exists and is left alone: name another file.")
    try:
        file.write_text(STUDY_TEMPLATE, encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"{str(file)!r} cannot be written ({error.strerror}): name a file in a folder that can."
        ) from None
    click.echo(f"Wrote {file}. Edit it, then: trialwright plan {file}")


@cli.command(epilog="\b\nExample:\n  trialwright plan study.yaml --json\n")
@click.argument("study_file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--no-measure", is_flag=True, help="Count the trials only; time nothing.")
@home_option
@json_option
def plan(study_file: Path, no_measure: bool, home: str | None, as_json: bool) -> None:
    """Count a study's trials and predict its cost from a few steps timed on this machine."""
    from study.home import open_home
    from study.plan import plan_study, plan_text
    from study.progress import TerminalView
    from study.spec import load_spec

    spec = load_spec(study_file)
    view = TerminalView(quiet=as_json)
    document = plan_study(spec, open_home(home), say=view.say, measure=not no_measure)
    click.echo(json.dumps(document, indent=2) if as_json else plan_text(document))


@cli.command(
    epilog="\b\nExamples:\n  trialwright status\n  trialwright status my-study --watch\n"
    "  trialwright status my-study --address http://head:8265\n"
)
@click.argument("study", required=False)
@address_option
@click.option("--watch", is_flag=True, help="Keep showing it until it ends.")
@click.option("--lines", is_flag=True, hidden=True, help="One JSON document a line whenever it changes.")
@home_option
@json_option
def status(
    study: str | None, *, address: str | None, watch: bool, lines: bool, home: str | None, as_json: bool
) -> int:
    """Show how far a study is; without a name, the newest one."""
    from study.home import home_at

    if watch and as_json:
        raise SpecError("--watch and --json exclude each other: leave one out.")
    place = remote(address)
    if place is not None:
        return place.status(study, watch=watch, as_json=as_json)
    from study.status import status_lines, study_status, watch_status

    with open_ledger(home_at(home)) as ledger:
        name = study_name(ledger, study)
        if watch:
            watch_status(ledger, name)
        elif lines:
            for line in status_lines(ledger, name):
                click.echo(line)
        else:
            document, text = study_status(ledger, name)
            click.echo(json.dumps(document, indent=2) if as_json else text)
    return DONE


@cli.command(
    epilog="\b\nExamples:\n  trialwright stop my-study\n"
    "  trialwright stop my-study --address http://head:8265\n"
)
@click.argument("study", required=False)
@address_option
@home_option
def stop(study: str | None, *, address: str | None, home: str | None) -> int:
    """Ask a running study to stop in order; `resume` goes on with it."""
    from study.home import home_at

    place = remote(address)
    if place is not None:
        return place.stop(study)
    from study.runner import request_stop

    with open_ledger(home_at(home)) as ledger:
        click.echo(request_stop(ledger, study_name(ledger, study)))
    return DONE


@cli.command(
    epilog="\b\nExamples:\n  trialwright report my-study\n"
    "  trialwright report my-study --format pdf,tex --out paper\n"
    "  trialwright report my-study --address http://head:8265\n"
)
@click.argument("study", required=False)
@address_option
@click.option("--format", "formats", default="html,csv,json,md", show_default=True, help=FORMATS_HELP)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder. [in the home; with an --address that is elsewhere, ./<STUDY>-report]",
)
@home_option
def report(
    study: str | None, *, address: str | None, formats: str, out: Path | None, home: str | None
) -> int:
    """Write the report of a study as it stands now."""
    from study.home import home_at

    place = remote(address)
    if place is not None:
        return place.report(study, formats=formats, out=out)
    from study.report import write_report
    from study.snapshot import take_snapshot

    here = home_at(home)
    with open_ledger(here) as ledger:
        name = study_name(ledger, study)
        chosen = [one.strip() for one in formats.split(",") if one.strip()]
        paths = write_report(take_snapshot(ledger, name), out or here.report_dir(name), formats=chosen)
    for path in paths.values():
        click.echo(str(path))
    return DONE


@cli.command(epilog="\b\nExample:\n  trialwright compare my-study --no-open\n")
@click.argument("study", required=False)
@click.option("--ui-url", metavar="URL", help="Where MLflow's pages are served. [http://127.0.0.1:5000]")
@click.option("--open/--no-open", "opens", default=True, help="Open it in a browser when there is one.")
@home_option
@tracking_option
def compare(
    study: str | None, ui_url: str | None, opens: bool, home: str | None, tracking_uri: str | None
) -> None:
    """Print (and open) MLflow's page that compares the families of a study."""
    import webbrowser

    from study.home import home_at
    from study.tracking import comparison_url

    place = home_at(home)
    uri = tracking_uri or place.tracking_uri
    with open_ledger(place) as ledger:
        local = None if uri.startswith("http") else "http://127.0.0.1:5000"
        url = comparison_url(ledger, study_name(ledger, study), uri, ui_url or local)
    click.echo(url)
    if opens and sys.stdout.isatty():
        webbrowser.open(url)


@cli.command()
@json_option
def families(as_json: bool) -> None:
    """List the optimizer families, what each is and what it reduces to."""
    from study.listings import families_document, families_text

    click.echo(json.dumps(families_document(), indent=2) if as_json else families_text())


@cli.command()
@json_option
def tasks(as_json: bool) -> None:
    """List the tasks that can be trained on."""
    from study.listings import tasks_text
    from trainers.tasks import describe_tasks

    rows = [dict(zip(("name", "text", "licence"), row, strict=True)) for row in describe_tasks()]
    click.echo(json.dumps(rows, indent=2) if as_json else tasks_text(rows))


@cli.command()
@home_option
@json_option
def doctor(home: str | None, as_json: bool) -> int:
    """Check this machine: versions, accelerators, memory, disk, packaged parts."""
    from study.doctor import examination_text, examine
    from study.home import open_home

    findings = examine(open_home(home))
    click.echo(json.dumps(findings, indent=2) if as_json else examination_text(findings))
    return DONE if all(finding["ok"] for finding in findings) else PROBLEM


@cli.command(hidden=True, context_settings={"ignore_unknown_options": True})
@click.option(
    "--files", "brings_files", is_flag=True, help="The command takes --out DIR; bring what it writes."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def relay(arguments: tuple[str, ...], *, brings_files: bool) -> None:
    """Run another command, as a job of a cluster, and print its whole result as one line."""
    from study.jobs.relay import relay as run

    click.echo(run(arguments, brings_files=brings_files))


for _command in (launch, resume, reproduce, analyze, claims, serve, token):
    cli.add_command(_command)

if __name__ == "__main__":
    main()
