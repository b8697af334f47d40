"""`trialwright launch` and `trialwright resume`: drive a study here, or have it driven elsewhere."""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search_spaces.errors import TrialwrightError
from study.cli_options import (
    DONE,
    INTERRUPTED,
    TRIALS_LOST,
    cluster_of,
    detach_option,
    driver_address_option,
    home_option,
    json_option,
    open_ledger,
    refuse_detach,
    remote,
    study_name,
    tracking_option,
    written,
)

if TYPE_CHECKING:
    from study.home import Home
    from study.runner import Launch
    from study.spec import StudySpec

_LAUNCH_EPILOG = """\b
Examples:
  trialwright launch study.yaml
  trialwright launch study.yaml --phase search
  trialwright launch study.yaml --address http://head:8265 --detach
  trialwright launch study.yaml --address 10.0.0.5:6379 --tracking-uri http://10.0.0.6:5000

\b
With an address of the form http://… or ray://… the study is sent there and runs without this machine; its log is
shown until it ends, and Ctrl-C only stops showing it. Home and MLflow are then those of the cluster's head
(TRIALWRIGHT_HOME, MLFLOW_TRACKING_URI), and so are all folders that the study file names. Tokens:
RAY_AUTH_MODE=token with RAY_AUTH_TOKEN_PATH for a Ray cluster, TRIALWRIGHT_TOKEN_FILE for the service.
"""


@click.command(epilog=_LAUNCH_EPILOG)
@click.argument("study_file", metavar="STUDY.yaml", type=click.Path(path_type=Path), required=False)
@driver_address_option
@detach_option
@click.option(
    "--phase",
    "last_phase",
    type=click.Choice(["search", "sensitivity", "confirmation"]),
    help="Pause after this phase; launch again to go on.",
)
@home_option
@tracking_option
@json_option
@click.option("--bundled", is_flag=True, hidden=True, help="Launch the study that TRIALWRIGHT_BUNDLE holds.")
def launch(
    study_file: Path | None,
    *,
    address: str | None,
    detach: bool,
    last_phase: str | None,
    home: str | None,
    tracking_uri: str | None,
    as_json: bool,
    bundled: bool,
) -> int:
    """Run a study, or go on with it where it stands."""
    if (study_file is None) is not bundled:
        raise click.UsageError(
            "Missing argument 'STUDY.yaml'." if study_file is None else "--bundled takes no STUDY.yaml.",
            click.get_current_context(),
        )
    place = remote(address)
    if place is not None and study_file is not None:
        return place.launch(
            study_file,
            last_phase=last_phase,
            tracking_uri=written("tracking_uri", tracking_uri),
            detach=detach,
            as_json=as_json,
        )
    refuse_detach(detach=detach)
    from study.home import open_home

    spec = _spec(study_file, home)
    return _run(spec, open_home(home), cluster_of(address), last_phase, tracking_uri, as_json=as_json)


@click.command(
    epilog="\b\nExamples:\n  trialwright resume my-study\n"
    "  trialwright resume my-study --address http://head:8265 --detach\n"
)
@click.argument("study", required=False)
@driver_address_option
@detach_option
@home_option
@tracking_option
@json_option
def resume(
    study: str | None,
    *,
    address: str | None,
    detach: bool,
    home: str | None,
    tracking_uri: str | None,
    as_json: bool,
) -> int:
    """Go on with a study that was stopped, and try its lost trials again."""
    place = remote(address)
    if place is not None:
        uri = written("tracking_uri", tracking_uri)
        return place.resume(study, tracking_uri=uri, detach=detach, as_json=as_json)
    refuse_detach(detach=detach)
    from study.home import home_at, open_home
    from study.spec import parse_spec

    with open_ledger(home_at(home)) as ledger:
        name = study_name(ledger, study)
        spec = parse_spec(ledger.study(name).spec, source=f"study {name}")
    cluster = cluster_of(address)
    return _run(spec, open_home(home), cluster, None, tracking_uri, as_json=as_json, retry_lost=True)


def _spec(study_file: Path | None, home: str | None) -> "StudySpec":
    """The study of a file; without one, that which was sent to this process."""
    if study_file is not None:
        from study.spec import load_spec

        return load_spec(study_file)
    from study.bundle import bundled_spec
    from study.home import open_home

    return bundled_spec(open_home(home))


def _run(
    spec: "StudySpec",
    home: "Home",
    address: str | None,
    last_phase: str | None,
    uri: str | None,
    *,
    as_json: bool,
    retry_lost: bool = False,
) -> int:
    from study.job_environment import settle
    from study.progress import TerminalView
    from study.records import Phase
    from study.runner import launch as run

    settle(home.empty_dir)
    try:
        result = run(
            spec,
            home,
            tracking_uri=uri or home.tracking_uri,
            address=address,
            last_phase=Phase(last_phase) if last_phase else None,
            view=TerminalView(quiet=as_json),
            retry_lost=retry_lost,
        )
    except KeyboardInterrupt:  # before trials run, or a second one while they end
        click.echo(f"trialwright: Study {spec.name} was interrupted: the same command goes on.", err=True)
        return INTERRUPTED
    if as_json:
        click.echo(json.dumps(_document(spec.name, result)))
    else:
        click.echo(_text(spec.name, result, home, uri))
    return _exit_code(result)


def _document(study: str, result: "Launch") -> dict[str, Any]:
    return {
        "study": study,
        "state": result.state.value,
        "reason": result.reason,
        "num_lost": result.num_lost,
        "report": str(result.report_path),
        "did_anything": result.did_anything,
    }


def _text(study: str, result: "Launch", home: "Home", uri: str | None) -> str:
    """How a launch ended and what to do next, as commands that work when they are pasted."""
    from study.home import DEFAULT_HOME
    from study.job_environment import shown_address

    command = "trialwright" if shutil.which("trialwright") else sys.argv[0]
    shown = shown_address()
    if shown:  # whoever reads this sits elsewhere
        ended = _ended(study, result, f"{command} resume {study} --address {shown}")
        return f"{ended}\nReport:  {command} report {study} --address {shown}{_comparison(study, home, uri)}"
    where = "" if home.root == Path(DEFAULT_HOME).absolute() else f" --home {home.root}"
    store = f" --tracking-uri {uri}" if uri and "@" not in uri else ""  # a password is not shown
    serves_pages = (uri or "").startswith("http")
    serve = "" if serves_pages else f"make mlflow{f' HOME_DIR={home.root}' if where else ''}, then "
    return (
        f"{_ended(study, result, f'{command} resume {study}{where}{store}')}\nReport:  {result.report_path}\n"
        f"MLflow:  {serve}{command} compare {study}{where}{store}"
    )


def _ended(study: str, result: "Launch", resume_command: str) -> str:
    from study.ledger import StudyState

    if result.state is StudyState.FINISHED:
        return f"Study {study} has ended." if result.did_anything else _HAD_ENDED.format(study=study)
    if result.state is StudyState.FAILED:
        lost = f"has ended with {result.num_lost} trials lost; try them again"
        return f"Study {study} {lost}: {resume_command}"
    state = f"is {result.state.value} ({result.reason})" if result.reason else "pauses here"
    return f"Study {study} {state}; go on: {resume_command}"


_HAD_ENDED = "Study {study} had ended before: nothing was run."


def _comparison(study: str, home: "Home", uri: str | None) -> str:
    """A line with MLflow's page, where a server has one."""
    from study.ledger import Ledger
    from study.tracking import comparison_url

    with suppress(TrialwrightError), Ledger.open(home.ledger_url) as ledger:
        return f"\nMLflow:  {comparison_url(ledger, study, uri or '')}"
    return ""


def _exit_code(result: "Launch") -> int:
    from study.ledger import StudyState

    if result.state is StudyState.FAILED:
        return TRIALS_LOST
    return INTERRUPTED if result.reason else DONE
