"""Options that several commands share, and where the study of a command lies."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from search_spaces.errors import SpecError

if TYPE_CHECKING:
    from study.home import Home
    from study.ledger import Ledger
    from study.remote import Remote

DONE, USER_MISTAKE, TRIALS_LOST, INTERRUPTED = 0, 2, 3, 130
PROBLEM = 1
ADDRESS_FORMS = "http://head:8265 (a Ray dashboard), ray://head:10001 or the URL of Trialwright's service"

MOST_DAYS = 36_500
"""Longest time that may be asked for; a date ends with the year 9999."""

Command = TypeVar("Command", bound=Callable[..., Any])


class FiniteRange(click.FloatRange):
    """A range of numbers, which NaN and infinity are in for Click wherever it has no end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number that was written."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is no finite number.", param, ctx)
        return number


def home_option(command: Command) -> Command:
    """`--home DIR`."""
    return click.option(
        "--home", metavar="DIR", envvar="TRIALWRIGHT_HOME", help="Where everything is kept. [./.trialwright]"
    )(command)


def tracking_option(command: Command) -> Command:
    """`--tracking-uri URI`."""
    return click.option(
        "--tracking-uri",
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        help="The MLflow server or store. [a SQLite store in the home]",
    )(command)


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")(
        command
    )


def address_option(command: Command) -> Command:
    """`--address A`, for commands that look at a study or steer it."""
    return click.option(
        "--address",
        metavar="A",
        envvar="TRIALWRIGHT_ADDRESS",
        help=f"Where the study is: {ADDRESS_FORMS}. [a home on this machine]",
    )(command)


def driver_address_option(command: Command) -> Command:
    """`--address A`, for commands that drive a study."""
    return click.option(
        "--address",
        metavar="A",
        envvar="TRIALWRIGHT_ADDRESS",
        help=f"Where to run: {ADDRESS_FORMS}, which go on without this machine; or the host:port of a Ray cluster's "
        "head, on a machine of the cluster. [this machine]",
    )(command)


def detach_option(command: Command) -> Command:
    """`--detach`."""
    return click.option(
        "--detach", is_flag=True, help="Return as soon as the study was handed over. Needs such an --address."
    )(command)


def remote(address: str | None) -> "Remote | None":
    """Where the study of the present command is kept if that is elsewhere; None: in a home that this machine sees.

    Raises:
        SpecError: nothing usable is there, or `--home` was written beside it.
    """
    if address is None or "://" not in address or _is_inherited("address"):
        return None
    if _is_written("home"):
        raise SpecError(
            f"--home names a folder of this machine, but the studies at {address!r} are kept in its own: leave one out."
        )
    from study.remote import remote_at

    return remote_at(address)


def cluster_of(address: str | None) -> str | None:
    """The Ray cluster to join: the one that was named or, in a job of a Ray cluster, that one; None: none."""
    from study.job_environment import cluster_address

    return cluster_address() if address is None or _is_inherited("address") else address


def written(name: str, value: str | None) -> str | None:
    """An option's value if it was written in the command; what stands in the environment is this machine's affair."""
    return value if _is_written(name) else None


def refuse_detach(*, detach: bool) -> None:
    """Refuse `--detach` where the driver is this very process.

    Raises:
        SpecError: it was given.
    """
    if detach:
        raise SpecError(
            f"--detach needs an --address that drives the study itself: {ADDRESS_FORMS}; without one, leave it out."
        )


def _is_written(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _is_inherited(name: str) -> bool:
    """Whether an option comes from the environment of a job, which was made for others."""
    from study.job_environment import is_job

    return is_job() and not _is_written(name)


def open_ledger(home: "Home") -> "Ledger":
    """The record of a home that is there; a mistyped one is not made.

    Raises:
        SpecError: no study was launched in this home.
    """
    from study.job_environment import shown_address
    from study.ledger import Ledger

    if not home.has_ledger and shown_address():
        raise SpecError(
            f"No study was ever launched at {shown_address()}: start one with trialwright launch STUDY.yaml."
        )
    if not home.has_ledger:
        raise SpecError(
            f"No study was ever launched in the home {str(home.root)!r}: "
            "name another with --home DIR, or start one with trialwright launch STUDY.yaml."
        )
    return Ledger.open(home.ledger_url)


def study_name(ledger: "Ledger", study: str | None) -> str:
    """The study that was named, or the newest.

    Raises:
        SpecError: there is no such study.
    """
    if study is not None:
        return ledger.study(study).name
    known = ledger.studies()
    if not known:
        raise SpecError(
            f"There is no study in {ledger.address} yet: start one with trialwright launch STUDY.yaml."
        )
    return known[-1].name
