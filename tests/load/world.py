"""What all studies of a load test share: PostgreSQL, MLflow behind a proxy, and the service, each a real process."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from study.ledger import Ledger, Scope
from study.service.tokens import create_token
from tests.faults.drivers import LightDriver, warm_up
from tests.faults.proxy import FaultyProxy
from tests.faults.trainable import STEP_S
from tests.load.containers import Containers, containers, tree
from tests.load.observing import Asked
from tests.load.studies import make_study_place
from tests.study.servers import MlflowServer, PostgresServer, free_port, mlflow_server, postgres

ROOT = Path(__file__).parents[2]
MAX_CONNECTIONS = 600
"""Of PostgreSQL: a driver holds up to four."""
MLFLOW_WORKERS = 2
"""As many as docker-compose.yml has."""
_START_S = 300.0


@dataclass(kw_only=True, eq=False)
class World:
    """The servers, and the drivers that were started on them."""

    folder: Path
    ledger_url: str
    environment: dict[str, str]
    """Variables by which a command finds ledger and MLflow."""
    mlflow: MlflowServer
    proxy: FaultyProxy
    service_url: str
    service_pid: int
    token: str
    """Of a reader of the service."""
    place: Path
    """Where study files are written."""
    containers: Containers
    """Among which the cores are divided; drivers share the one of Ray's head."""
    drivers: list[LightDriver] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """The home of every study."""
        return self.folder / "home"

    def launch(self, file: Path, step_s: float) -> LightDriver:
        """Start `trialwright launch`; a joint step of its pack takes `step_s` seconds."""
        command = ["launch", str(file), "--home", str(self.home)]
        told = self.environment | {STEP_S: str(step_s)}
        self.drivers.append(LightDriver(self.place, self.folder / "logs", command, told))
        self.containers.put("ray-head", self.drivers[-1].pid)
        return self.drivers[-1]

    @property
    def asked(self) -> Asked:
        """What clients ask, and where."""
        status = (sys.executable, "-m", "study.cli", "status")
        return Asked(
            url=self.service_url,
            token=self.token,
            commands={
                "trialwright status": (*status, "--home", str(self.home)),
                "trialwright status --address": (*status, "--address", self.service_url),
            },
            environment=self.environment | {"TRIALWRIGHT_TOKEN": self.token},
            entered_by=tuple(self.containers.enter("service")),
        )


class Outage:
    """MLflow away for half of a run: from when a quarter of its trials have ended until three quarters have."""

    def __init__(self, world: World, kind: str) -> None:
        """Begin with MLflow there.

        Args:
            world: whose MLflow goes.
            kind: `killed`, its server is; or what `FaultyProxy` answers in its place, such as `500`.
        """
        self._world = world
        self._kind = kind
        self._began = self._ended = 0.0
        self._steps = [(0.25, self._go), (0.75, self._come_back)]

    @property
    def seconds(self) -> float:
        """How long it was away."""
        return self._ended - self._began

    def follow(self, share: float) -> None:
        """Do what is due.

        Args:
            share: of the run's trials that have ended.
        """
        while self._steps and share >= self._steps[0][0]:
            _, act = self._steps.pop(0)
            act()

    def _go(self) -> None:
        self._began = time.monotonic()
        if self._kind == "killed":
            self._world.mlflow.kill()
        else:
            self._world.proxy.mode = self._kind

    def _come_back(self) -> None:
        if self._kind == "killed":
            self._world.mlflow.start()
            self._world.containers.put("mlflow", *tree(self._world.mlflow.pid))
        self._world.proxy.mode = ""
        self._ended = time.monotonic()


@contextmanager
def load_world(folder: Path) -> Iterator[World]:
    """Everything up for the duration of a block; drivers that are left are ended after it."""
    for name in ("mlflow", "logs", "home"):
        (folder / name).mkdir()
    place = make_study_place(folder / "place")
    warm_up()
    with (
        containers() as parts,
        postgres(settings=(f"max_connections={MAX_CONNECTIONS}",)) as database,
        mlflow_server(folder / "mlflow", _store_of_mlflow(database), MLFLOW_WORKERS) as tracking,
    ):
        proxy, ledger_url = FaultyProxy(int(tracking.uri.rpartition(":")[2])), database.new_database()
        with Ledger.open(ledger_url) as ledger:
            token = create_token(ledger, "load", Scope.READ, expires_at=None)
        environment = {"TRIALWRIGHT_LEDGER": ledger_url, "MLFLOW_TRACKING_URI": proxy.uri}
        with _service(folder, environment) as (url, pid):
            world = World(
                folder=folder,
                ledger_url=ledger_url,
                environment=environment,
                mlflow=tracking,
                proxy=proxy,
                service_url=url,
                service_pid=pid,
                token=token,
                place=place,
                containers=parts,
            )
            for name, process in (("postgres", database.pid), ("mlflow", tracking.pid), ("service", pid)):
                parts.put(name, *tree(process))
            try:
                yield world
            finally:
                for driver in world.drivers:
                    driver.clean_up()
                proxy.close()


def _store_of_mlflow(database: PostgresServer) -> str:
    """URL of an empty store, for the driver of PostgreSQL that is installed."""
    return database.new_database().replace("postgresql:", "postgresql+psycopg:", 1)


@contextmanager
def _service(folder: Path, environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """`trialwright serve` for the duration of a block; its URL and process id."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "study.cli",
        "serve",
        "--port",
        str(port),
        "--home",
        str(folder / "home"),
    ]
    with (folder / "logs" / "service.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/health/ready")
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(120)


def _wait_for(url: str) -> None:
    give_up_at = time.monotonic() + _START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=10).close()  # noqa: S310 (our own server)
        except OSError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)
        else:
            return
