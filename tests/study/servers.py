"""Real servers for the tests: a PostgreSQL cluster and an MLflow server, each ended by its own process id."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

_START_S = 300.0


def free_port() -> int:
    """A TCP port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def postgres_tool(name: str) -> str | None:
    """Path of one of PostgreSQL's programs, the newest version's."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[4]))
    return str(versions[-1]) if versions else shutil.which(name)


class PostgresServer:
    """A throw-away PostgreSQL cluster on a free port, run by an unprivileged user."""

    def __init__(self, folder: Path, superuser: str = "tester", settings: Sequence[str] = ()) -> None:
        self._folder = folder
        self._superuser = superuser
        self._settings = settings
        self._user = None if os.getuid() else ("postgres" if _has_user("postgres") else "nobody")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", str(folder / "data"), "-U", superuser, "-A", "trust", "--no-sync")

    def start(self) -> None:
        options = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        options += ["-k", str(self._folder), *(part for one in self._settings for part in ("-c", one))]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(postgres_tool("postgres")), "-D", str(self._folder / "data"), *options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._folder,
                start_new_session=True,
            )
        _wait_until(self._accepts, self._folder / "log")

    @property
    def pid(self) -> int:
        """Process id of the one that started the others."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)  # PostgreSQL's immediate shutdown
        self._process.wait(30)

    def kill(self) -> None:
        """End it as a crash would: every process, at once."""
        assert self._process is not None
        for process in [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children()]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(30)

    def new_database(self) -> str:
        """URL of an empty schema, which is much cheaper to make than a database of its own."""
        name = f"test_{uuid4().hex[:12]}"
        address = self.url("postgres", f"{self._superuser}:s3cret")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{address}?options=-csearch_path%3D{name}"

    def url(self, database: str, user: str) -> str:
        """URL of a database for a user, whom no password is asked of."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def _accepts(self) -> bool:
        command = [str(postgres_tool("pg_isready")), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(command, check=False).returncode == 0

    def _run(self, tool: str, *arguments: str) -> None:
        command = [str(postgres_tool(tool)), *arguments]
        subprocess.run(command, check=True, user=self._user, cwd=self._folder, capture_output=True)


@contextmanager
def postgres(superuser: str = "tester", settings: Sequence[str] = ()) -> Iterator[PostgresServer]:
    """A running cluster with settings such as `max_connections=200`, or a skip that says why there is none."""
    if postgres_tool("initdb") is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    folder = Path(tempfile.mkdtemp(prefix="trialwright-pg-"))
    try:
        server = PostgresServer(folder, superuser, settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class MlflowServer:
    """A real `mlflow server`, which can be stopped and started again; it keeps its runs in SQLite unless told where."""

    def __init__(self, folder: Path, store: str = "", workers: int = 1) -> None:
        self._folder = folder
        self.store = store or f"sqlite:///{folder}/server.db"
        self._workers = workers
        self._port = free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        environment |= {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "20", "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "60"}
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", str(self._workers), "--backend-store-uri", self.store]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment,
                start_new_session=True,
            )
        _wait_until(lambda: _answers(f"{self.uri}/health"), self._folder / "log")

    @property
    def pid(self) -> int:
        """Process id of the one that started the others."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it as a crash would: every process of its own session, at once."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)


@contextmanager
def mlflow_server(folder: Path, store: str = "", workers: int = 1) -> Iterator[MlflowServer]:
    server = MlflowServer(folder, store, workers)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _has_user(name: str) -> bool:
    return any(entry.pw_name == name for entry in pwd.getpwall())


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 (our own server)
            return bool(reply.status == 200)
    except OSError:
        return False


def _wait_until(ready: Callable[[], bool], log: Path) -> None:
    give_up_at = time.monotonic() + _START_S
    while not ready():
        if time.monotonic() > give_up_at:
            pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)
