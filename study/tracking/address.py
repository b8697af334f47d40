"""The tracking server's address: checked before a study starts, shown without its password, compared at."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from search_spaces.errors import SpecError
from study.ledger import Ledger, RunKind, connect_to_database
from study.tracking.arrangement import FAMILIES, view_path

ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Settings of MLflow that a study needs; what the user has set stays. Its client repeats no call: the tracker does, and
looks first whether one that got no answer has made its run. A busy server goes on with calls that were given up, so
that few are."""
_CHECK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
"""A server that fifty other studies write to may take tens of seconds; where nobody is, that is known at once."""
_LONG_MESSAGE_CHARS = 200
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SQLITE = "sqlite:///"
_FORMS = "http(s)://<host>:<port>, sqlite:///<file> or postgresql://<host>/<database>"


def prepare_environment() -> None:
    """Set what MLflow reads from the environment, where the user has not."""
    for name, setting in ENVIRONMENT.items():
        os.environ.setdefault(name, setting)


def redact(uri: str) -> str:
    """The address without its password and without the secrets in its query."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # nobody can tell where a password would stand in it
        return f"{uri.partition(':')[0]}:***"
    if parts.password is None and not parts.query:
        return uri
    if parts.password is not None:
        user, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}")
    if parts.query:
        parts = parts._replace(query="&".join(_redacted_pair(pair) for pair in parts.query.split("&")))
    return parts.geturl()


def redact_text(text: str, uri: str) -> str:
    """A message without the address's password and without the tokens of the environment."""
    try:
        password = urlsplit(uri).password
    except ValueError:
        password = None
    secrets = [os.environ.get(name) for name in _SECRETS]
    secrets += [password, unquote(password)] if password else []
    text = text.replace(uri, redact(uri))
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store; absent for any other address."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def client_uri(uri: str) -> str:
    """The address as MLflow needs it: PostgreSQL through the driver that is installed with us."""
    scheme, separator, rest = uri.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in {"postgresql", "postgres"} else uri


def check_tracking(uri: str) -> None:
    """Refuse an address at which no study could be tracked, before anything starts.

    Raises:
        SpecError: the address is mistyped, of a kind that MLflow cannot use, or nothing answers there.
    """
    scheme = uri.partition(":")[0].partition("+")[0].lower()
    try:
        urlsplit(uri)
    except ValueError as error:
        raise SpecError(f"The tracking address is no address ({error}): write {_FORMS}.") from None
    if scheme == "sqlite":
        _check_sqlite(uri)
    elif scheme in {"http", "https", "postgresql", "postgres"}:
        if not urlsplit(uri).hostname:
            raise SpecError(f"The tracking address {redact(uri)!r} names no host: write {_FORMS}.")
        _check_answer(uri, connect_to_database if scheme.startswith("postgres") else _ask_server)
    elif scheme == "file" or ("://" not in uri and "/" in uri.partition(":")[0]):
        raise SpecError(
            f"The tracking address {redact(uri)!r} is a folder, which MLflow 3 no longer writes to: "
            "write sqlite:///<file> instead, or leave it out for a store in the home."
        )
    else:
        raise SpecError(f"The tracking address {redact(uri)!r} is of no kind that is known: write {_FORMS}.")


def comparison_url(ledger: Ledger, study: str, uri: str, ui_url: str | None = None) -> str:
    """Where MLflow's pages compare the families of a study.

    Args:
        ledger: the record that holds the families' run ids.
        study: its name.
        uri: the tracking address.
        ui_url: where the pages are served; needed where the store itself serves none.

    Raises:
        SpecError: nothing of the study has arrived there, or nobody serves the pages.
    """
    runs = ledger.tracked_runs(study, redact(uri))
    experiments = [run.run_id for run in runs if run.kind is RunKind.EXPERIMENT and run.run_id]
    families = [run.run_id for run in runs if run.kind is RunKind.FAMILY and run.run_id]
    if not experiments or not families:
        raise SpecError(
            f"No family of study {study!r} has arrived at {redact(uri)!r} yet: launch it with that "
            "tracking address, or name the one it was launched with."
        )
    pages = ui_url or (_without_user(uri) if uri.startswith("http") else None)
    if pages is None:
        raise SpecError(
            f"Nobody serves the pages of {redact(uri)!r}: start `make mlflow` and name its address."
        )
    return f"{pages.rstrip('/')}/{view_path(experiments[0], FAMILIES)}"


def _redacted_pair(pair: str) -> str:
    name, separator, _ = pair.partition("=")
    secret = separator and any(word in name.lower() for word in ("password", "token", "secret", "key"))
    return f"{name}=***" if secret else pair


def _without_user(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise SpecError(f"The tracking address {redact(uri)!r} is no address: write {_FORMS}.") from None
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _check_sqlite(uri: str) -> None:
    path = sqlite_path(uri)
    if path is None or path.name in {"", ":memory:"}:
        raise SpecError(f"The tracking address {uri!r} names no file: write sqlite:///<file>.")
    problem = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            with path.open("rb") as file:
                if file.read(16) not in {b"SQLite format 3\x00", b""}:
                    problem = "it is not a SQLite database"
        elif not os.access(path.parent, os.W_OK):
            problem = "its folder cannot be written"
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise SpecError(
            f"The tracking store {uri!r} cannot be used ({problem}): name a file that you can write."
        )


def _ask_server(uri: str) -> None:
    prepare_environment()
    with _settings(_CHECK):
        from mlflow import MlflowClient

        MlflowClient(uri).search_experiments(max_results=1)


def _check_answer(uri: str, ask: Callable[[str], None]) -> None:
    try:
        ask(client_uri(uri))
    except Exception as error:  # noqa: BLE001 (whatever MLflow raises, it cannot be used)
        raise SpecError(
            f"The tracking server {redact(uri)!r} does not answer as one ({reason(error, uri)}): "
            "start it, correct the address or its credentials, or leave it out for a store in the home."
        ) from None


def reason(error: Exception, uri: str) -> str:
    """What went wrong, in a line without secrets and without a dot at its end."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__ or cause
    outer, inner = (" ".join(str(one).split()) for one in (error, cause))
    text = inner if len(outer) > _LONG_MESSAGE_CHARS and inner else outer
    return redact_text(text or type(error).__name__, uri)[: 2 * _LONG_MESSAGE_CHARS].rstrip(".")


@contextmanager
def _settings(settings: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, setting in before.items():
            if setting is None:
                del os.environ[name]
            else:
                os.environ[name] = setting
