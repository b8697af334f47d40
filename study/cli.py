"""The command `trialwright`. Every command imports what it needs when it runs, so that `--help` is quick."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from search_spaces.errors import SpecError, TrialwrightError
from study.cli_analyze import FORMATS_HELP, analyze
from study.cli_claims import claims

if TYPE_CHECKING:
    from study.home import Home
    from study.ledger import Ledger
    from study.runner import Launch

DONE, USER_MISTAKE, TRIALS_LOST, INTERRUPTED = 0, 2, 3, 130
PROBLEM = 1

Command = TypeVar("Command", bound=Callable[..., Any])


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
    click.echo(f"trialwright: {sentence}", err=True)
    sys.exit(code)


def _home(command: Command) -> Command:
    return click.option(
        "--home", metavar="DIR", envvar="TRIALWRIGHT_HOME", help="Where everything is kept. [./.trialwright]"
    )(command)


def _tracking(command: Command) -> Command:
    return click.option(
        "--tracking-uri",
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        help="The MLflow server or store. [a SQLite store in the home]",
    )(command)


def _json(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")(
        command
    )


_EPILOG = """\b
Examples:
  trialwright init study.yaml          write a commented study file
  trialwright plan study.yaml          what it will cost, measured here
  trialwright launch study.yaml        run it, or go on with it
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
@_home
@_json
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
    epilog="\b\nExamples:\n  trialwright launch study.yaml\n  trialwright launch study.yaml --phase search\n"
    "  trialwright launch study.yaml --address 10.0.0.5:6379 --tracking-uri http://10.0.0.6:5000\n"
)
@click.argument("study_file", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--address", metavar="A", help="The host:port of a Ray cluster's head. [this machine]")
@click.option(
    "--phase",
    "last_phase",
    type=click.Choice(["search", "sensitivity", "confirmation"]),
    help="Pause after this phase; launch again to go on.",
)
@_home
@_tracking
@_json
def launch(
    study_file: Path,
    *,
    address: str | None,
    last_phase: str | None,
    home: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> int:
    """Run a study, or go on with it where it stands."""
    from study.home import open_home
    from study.spec import load_spec

    spec = load_spec(study_file)
    return _launch(spec, open_home(home), address, last_phase, tracking_uri, as_json=as_json)


@cli.command(epilog="\b\nExample:\n  trialwright resume my-study\n")
@click.argument("study", required=False)
@click.option("--address", metavar="A", help="The host:port of a Ray cluster's head. [this machine]")
@_home
@_tracking
@_json
def resume(
    study: str | None, *, address: str | None, home: str | None, tracking_uri: str | None, as_json: bool
) -> int:
    """Go on with a study that was stopped, and try its lost trials again."""
    from study.home import home_at, open_home
    from study.spec import parse_spec

    with _ledger(home_at(home)) as ledger:
        name = _study_name(ledger, study)
        spec = parse_spec(ledger.study(name).spec, source=f"study {name}")
    return _launch(spec, open_home(home), address, None, tracking_uri, as_json=as_json, retry_lost=True)


@cli.command(epilog="\b\nExamples:\n  trialwright status\n  trialwright status my-study --watch\n")
@click.argument("study", required=False)
@click.option("--watch", is_flag=True, help="Keep showing it until it ends.")
@_home
@_json
def status(study: str | None, watch: bool, home: str | None, as_json: bool) -> None:
    """Show how far a study is; without a name, the newest one."""
    from study.home import home_at
    from study.status import study_status, watch_status

    if watch and as_json:
        raise SpecError("--watch and --json exclude each other: leave one out.")
    with _ledger(home_at(home)) as ledger:
        name = _study_name(ledger, study)
        if watch:
            watch_status(ledger, name)
        else:
            document, text = study_status(ledger, name)
            click.echo(json.dumps(document, indent=2) if as_json else text)


@cli.command(epilog="\b\nExample:\n  trialwright stop my-study\n")
@click.argument("study", required=False)
@_home
def stop(study: str | None, home: str | None) -> None:
    """Ask a running study to stop in order; `resume` goes on with it."""
    from study.home import home_at
    from study.runner import request_stop

    with _ledger(home_at(home)) as ledger:
        click.echo(request_stop(ledger, _study_name(ledger, study)))


@cli.command(
    epilog="\b\nExamples:\n  trialwright report my-study\n"
    "  trialwright report my-study --format pdf,tex --out paper\n"
)
@click.argument("study", required=False)
@click.option("--format", "formats", default="html,csv,json,md", show_default=True, help=FORMATS_HELP)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder. [in the home]")
@_home
def report(study: str | None, formats: str, out: Path | None, home: str | None) -> None:
    """Write the report of a study as it stands now."""
    from study.home import home_at
    from study.report import write_report
    from study.snapshot import take_snapshot

    place = home_at(home)
    with _ledger(place) as ledger:
        name = _study_name(ledger, study)
        chosen = [one.strip() for one in formats.split(",") if one.strip()]
        paths = write_report(take_snapshot(ledger, name), out or place.report_dir(name), formats=chosen)
    for path in paths.values():
        click.echo(str(path))


@cli.command(epilog="\b\nExample:\n  trialwright compare my-study --no-open\n")
@click.argument("study", required=False)
@click.option("--ui-url", metavar="URL", help="Where MLflow's pages are served. [http://127.0.0.1:5000]")
@click.option("--open/--no-open", "opens", default=True, help="Open it in a browser when there is one.")
@_home
@_tracking
def compare(
    study: str | None, ui_url: str | None, opens: bool, home: str | None, tracking_uri: str | None
) -> None:
    """Print (and open) MLflow's page that compares the families of a study."""
    import webbrowser

    from study.home import home_at
    from study.tracking import comparison_url

    place = home_at(home)
    uri = tracking_uri or place.tracking_uri
    with _ledger(place) as ledger:
        local = None if uri.startswith("http") else "http://127.0.0.1:5000"
        url = comparison_url(ledger, _study_name(ledger, study), uri, ui_url or local)
    click.echo(url)
    if opens and sys.stdout.isatty():
        webbrowser.open(url)


@cli.command()
@_json
def families(as_json: bool) -> None:
    """List the optimizer families, what each is and what it reduces to."""
    from study.listings import families_document, families_text

    click.echo(json.dumps(families_document(), indent=2) if as_json else families_text())


@cli.command()
@_json
def tasks(as_json: bool) -> None:
    """List the tasks that can be trained on."""
    from study.listings import tasks_text
    from trainers.tasks import describe_tasks

    rows = [dict(zip(("name", "text", "licence"), row, strict=True)) for row in describe_tasks()]
    click.echo(json.dumps(rows, indent=2) if as_json else tasks_text(rows))


@cli.command()
@_home
@_json
def doctor(home: str | None, as_json: bool) -> int:
    """Check this machine: versions, accelerators, memory, disk, packaged parts."""
    from study.doctor import examination_text, examine
    from study.home import open_home

    findings = examine(open_home(home))
    click.echo(json.dumps(findings, indent=2) if as_json else examination_text(findings))
    return DONE if all(finding["ok"] for finding in findings) else PROBLEM


def _ledger(home: "Home") -> "Ledger":
    """The record of a home that is there; a mistyped one is not made."""
    from study.ledger import Ledger

    if not home.has_ledger:
        raise SpecError(
            f"No study was ever launched in the home {str(home.root)!r}: "
            "name another with --home DIR, or start one with trialwright launch STUDY.yaml."
        )
    return Ledger.open(home.ledger_url)


def _study_name(ledger: "Ledger", study: str | None) -> str:
    """The study that was named, or the newest."""
    if study is not None:
        return ledger.study(study).name
    known = ledger.studies()
    if not known:
        raise SpecError(
            f"There is no study in {ledger.address} yet: start one with trialwright launch STUDY.yaml."
        )
    return known[-1].name


def _launch(
    spec: Any,
    home: "Home",
    address: str | None,
    last_phase: str | None,
    uri: str | None,
    *,
    as_json: bool,
    retry_lost: bool = False,
) -> int:
    from study.progress import TerminalView
    from study.records import Phase
    from study.runner import launch as run

    result = run(
        spec,
        home,
        tracking_uri=uri or home.tracking_uri,
        address=address,
        last_phase=Phase(last_phase) if last_phase else None,
        view=TerminalView(quiet=as_json),
        retry_lost=retry_lost,
    )
    if as_json:
        click.echo(json.dumps(_launch_document(spec.name, result)))
    else:
        click.echo(_launch_text(spec.name, result, home, uri))
    return _exit_code(result)


def _launch_document(study: str, result: "Launch") -> dict[str, Any]:
    return {
        "study": study,
        "state": result.state.value,
        "reason": result.reason,
        "num_lost": result.num_lost,
        "report": str(result.report_path),
        "did_anything": result.did_anything,
    }


def _launch_text(study: str, result: "Launch", home: "Home", uri: str | None) -> str:
    """How a launch ended and what to do next, as commands that work when they are pasted."""
    from study.home import DEFAULT_HOME
    from study.ledger import StudyState

    command = "trialwright" if shutil.which("trialwright") else sys.argv[0]
    where = "" if home.root == Path(DEFAULT_HOME).absolute() else f" --home {home.root}"
    store = f" --tracking-uri {uri}" if uri and "@" not in uri else ""  # a password is not shown
    if result.state is StudyState.FINISHED:
        ended = "has ended." if result.did_anything else "had ended before: nothing was run."
    elif result.state is StudyState.FAILED:
        ended = f"has ended with {result.num_lost} trials lost; try them again: {command} resume {study}{where}{store}"
    elif result.reason:
        ended = f"is {result.state.value} ({result.reason}); go on: {command} resume {study}{where}{store}"
    else:
        ended = f"pauses here; go on: {command} resume {study}{where}{store}"
    serves_pages = (uri or "").startswith("http")
    serve = "" if serves_pages else f"make mlflow{f' HOME_DIR={home.root}' if where else ''}, then "
    return (
        f"Study {study} {ended}\nReport:  {result.report_path}\n"
        f"MLflow:  {serve}{command} compare {study}{where}{store}"
    )


def _exit_code(result: "Launch") -> int:
    from study.ledger import StudyState

    if result.state is StudyState.FAILED:
        return TRIALS_LOST
    return INTERRUPTED if result.reason else DONE


cli.add_command(analyze)
cli.add_command(claims)

if __name__ == "__main__":
    main()
