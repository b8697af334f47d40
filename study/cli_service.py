"""`trialwright serve` and `trialwright token`: the service, and who may use it. Imports what it needs when it runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from search_spaces.errors import SpecError
from study.cli_options import MOST_DAYS, FiniteRange, home_option, json_option, tracking_option

if TYPE_CHECKING:
    from study.ledger import Ledger, Token

DAY_S = 86_400.0
SERVED_BY = ("fastapi", "uvicorn", "starlette", "prometheus_client")
"""Packages that the extra `service` installs."""


@click.command(
    epilog="\b\nExamples:\n  trialwright serve\n"
    "  trialwright token create laptop --scope run\n"
    "  trialwright serve --host 0.0.0.0 --ray http://head:8265 --home /shared/trialwright --allow-path /shared/models\n"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond loopback, it asks for tokens.")
@click.option("--port", default=8400, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option(
    "--ray", metavar="URL", help="Dashboard of the Ray cluster that runs the studies. [this machine]"
)
@click.option(
    "--allow-path",
    "allow_paths",
    metavar="DIR",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A folder in which models and rows of submitted studies may lie; may be repeated. [none]",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="NAME",
    multiple=True,
    help="A name by which browsers reach it; may be repeated. [those of loopback; beyond it, any]",
)
@click.option(
    "--ray-url",
    metavar="URL",
    envvar="TRIALWRIGHT_RAY_URL",
    help="Where browsers find Ray's dashboard. [at --ray]",
)
@click.option(
    "--mlflow-url",
    metavar="URL",
    envvar="TRIALWRIGHT_MLFLOW_URL",
    help="Where browsers find MLflow's pages. [at --tracking-uri]",
)
@home_option
@tracking_option
def serve(
    *,
    host: str,
    port: int,
    ray: str | None,
    allow_paths: tuple[Path, ...],
    allow_hosts: tuple[str, ...],
    home: str | None,
    tracking_uri: str | None,
    ray_url: str | None,
    mlflow_url: str | None,
) -> None:
    """Serve pages and an HTTP API on which a team launches and watches studies."""
    with _extra():
        from study.service.server import serve as run
        from study.service.settings import ServiceSettings

    settings = ServiceSettings(
        host=host,
        port=port,
        ray=ray,
        home=home,
        tracking_uri=tracking_uri,
        ray_url=ray_url,
        mlflow_url=mlflow_url,
        allow_paths=allow_paths,
        allow_hosts=allow_hosts,
    )
    run(settings)


@click.group(
    epilog="\b\nExamples:\n  trialwright token create laptop --scope run --days 90\n"
    "  trialwright token list\n  trialwright token revoke laptop\n"
)
def token() -> None:
    """Make, list and revoke the tokens that the service accepts.

    `read` may look, `run` may also launch, stop, resume and delete. The ledger keeps a digest only.
    """


@token.command(
    epilog="\b\nExamples:\n  trialwright token create laptop\n"
    "  trialwright token create ci --scope run --days 30 > token.txt\n"
)
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(["read", "run"]), default="read", show_default=True, help="What it allows."
)
@click.option(
    "--days",
    type=FiniteRange(min=0, min_open=True, max=MOST_DAYS),
    help="Days until it expires. [never]",
)
@home_option
def create(name: str, *, scope: str, days: float | None, home: str | None) -> None:
    """Make a token and print its secret, which is shown this once."""
    from study.ledger import Scope
    from study.service.tokens import create_token

    expires_at = None if days is None else datetime.now(UTC).timestamp() + days * DAY_S
    with _ledger(home) as ledger:
        secret = create_token(ledger, name, Scope(scope), expires_at=expires_at)
    click.echo(f"Token {name} may {scope}; keep its secret, which is not shown again:", err=True)
    click.echo(secret)


@token.command("list", epilog="\b\nExample:\n  trialwright token list --json\n")
@home_option
@json_option
def listed(*, home: str | None, as_json: bool) -> None:
    """List the tokens, never their secrets."""
    with _ledger(home) as ledger:
        rows = [_row(one) for one in ledger.tokens()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(
            f"{row['name']:<24} {row['scope']:<5} {row['state']:<8} {row['expires_at'] or 'never expires'}"
        )
    if not rows:
        click.echo("There is no token yet: make one by trialwright token create NAME.", err=True)


@token.command(epilog="\b\nExample:\n  trialwright token revoke laptop\n")
@click.argument("name")
@home_option
def revoke(name: str, *, home: str | None) -> None:
    """Have a token refused from now on."""
    with _ledger(home) as ledger:
        ledger.revoke_token(name)
    click.echo(f"Token {name} is refused from now on.")


def _row(one: "Token") -> dict[str, str | None]:
    now = datetime.now(UTC).timestamp()
    state = "revoked" if one.revoked_at is not None else "valid" if one.is_valid(now) else "expired"
    return {
        "name": one.name,
        "scope": one.scope.value,
        "state": state,
        "created_at": _moment(one.created_at),
        "expires_at": _moment(one.expires_at),
    }


def _moment(unix_s: float | None) -> str | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def _ledger(home: str | None) -> "Iterator[Ledger]":
    """The ledger of a home, made where there is none: tokens come before the first study."""
    from study.home import open_home
    from study.ledger import Ledger

    with Ledger.open(open_home(home).ledger_url) as ledger:
        yield ledger


@contextmanager
def _extra() -> Iterator[None]:
    """One sentence where the packages of the service are not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in SERVED_BY:
            raise
        raise SpecError(
            f"The service needs the package {missing}, which is not installed: pip install 'trialwright[service]'."
        ) from None
