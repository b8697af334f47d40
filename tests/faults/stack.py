"""Faults on the whole stack: Ray's head and two workers, PostgreSQL, MLflow, object store and service, in namespaces.

The stack is that of `docker-compose.yml`, brought up once by `deploy.rehearsal` and kept between runs; a part that a
fault has killed is started again, as an engine would. Needs root.
"""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import psutil

from deploy.rehearsal.container import Container
from deploy.rehearsal.network import ip
from deploy.rehearsal.ports import free_port
from deploy.rehearsal.running import RunningStack
from deploy.rehearsal.stack import ROOT, read_stack
from study.ledger import Ledger
from tests.faults import checker
from tests.faults.light import Twin
from tests.faults.light_driver import REAL
from tests.faults.stack_launches import DriverServer, SharedFolder, StackDriver
from tests.faults.studies import STUDY, write_study
from tests.faults.trainable import STEP_S, STEPS_FILE

STEP_SECONDS = 0.2
NUM_WORKERS = 2
NUM_SEEDS = 6
"""Trials of each family in the confirmation; fewer than in the light tier, since a trial takes longer here."""
WORKERS = tuple(f"worker-cpu-{number + 1}" for number in range(NUM_WORKERS))
_ONCE_EACH = ("postgres", "store", "buckets", "mlflow", "ray-head", "first-token", "service")
_HOME, _MODELS = "/srv/trialwright", "/srv/models"
_TRAINING = ("ray::SimulatedActor", "ray::PackActor", "PackClient")
_READY_S = 300.0


@dataclass(kw_only=True, eq=False)
class StackRun:
    """One study under faults; as `tests.faults.light.LightRun`."""

    world: "StackWorld"
    place: str
    name: str
    is_real: bool
    drivers: list[StackDriver] = field(default_factory=list)
    num_damaged: int = 0
    step_s: float = STEP_SECONDS
    pause_s: float = 8.0
    """A driver that ended with its container holds its claim for a minute."""
    may_launch: threading.Lock = field(default_factory=threading.Lock)
    expects: list[str] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """The study's home, as this machine sees it."""
        return self.world.volume / self.name

    @property
    def steps_file(self) -> Path:
        """Where every step is noted."""
        return self.world.volume / f"{self.name}.steps"

    @property
    def driver(self) -> StackDriver:
        """The newest launch."""
        return self.drivers[-1]

    def launch(self) -> StackDriver:
        """Start a driver beside Ray's head, once that is there."""
        self.world.wait_for("ray-head")
        environment = {
            "TRIALWRIGHT_LEDGER": f"postgresql://trialwright@postgres:5432/trialwright?{self._schema}",
            STEP_S: str(STEP_SECONDS),
            STEPS_FILE: f"{_HOME}/{self.steps_file.name}",
        }
        environment |= {REAL: "1"} if self.is_real else {}
        command = ["launch", f"{self.place}/study.yaml", "--home", f"{_HOME}/{self.name}"]
        command += ["--address", self.world.cluster]
        self.drivers.append(self.world.drivers.launch(command, environment))
        return self.driver

    def ledger(self) -> Ledger:
        """The record, opened from outside."""
        address, password = self.world.address("postgres"), self.world.secret("ledger_password")
        return Ledger.open(f"postgresql://trialwright:{password}@{address}:5432/trialwright?{self._schema}")

    @property
    def _schema(self) -> str:
        return f"options={quote(f'-csearch_path={self.name}')}"

    def clean_up(self) -> None:
        """End what still runs."""
        for driver in self.drivers:
            driver.clean_up()


class StackWorld:
    """The stack, and the twins that runs are compared with."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._places: dict[int, str] = {}
        self._twins: dict[tuple[int, bool], Twin] = {}
        self._num_runs = 0
        ports = {name: str(free_port()) for name in ("TRIALWRIGHT_PORT", "MLFLOW_PORT", "DASHBOARD_PORT")}
        places = {
            "TRIALWRIGHT_SECRETS": str(folder / "secrets"),
            "TRIALWRIGHT_MODELS": str(folder / "models"),
        }
        stack = read_stack(ports | places | {"MLFLOW_WORKERS": "1", "WORKER_CPUS": "2"})
        services = {
            name: replace(
                one, environment=one.environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            )
            if name in {"ray-head", "worker-cpu"}
            else one
            for name, one in stack.services.items()
        }
        stack = replace(stack, services=services)
        scale = dict.fromkeys(_ONCE_EACH, 1) | {"worker-cpu": NUM_WORKERS}
        self.running = RunningStack(stack, scale, folder, say)
        self.mlflow = SimpleNamespace(uri=f"http://127.0.0.1:{ports['MLFLOW_PORT']}")
        os.environ["MLFLOW_TRACKING_USERNAME"] = "trialwright"
        os.environ["MLFLOW_TRACKING_PASSWORD"] = self.secret("mlflow_password")

    @property
    def volume(self) -> Path:
        """The volume of all homes, as this machine sees it."""
        return self._folder / "volumes" / "home"

    @property
    def head(self) -> Container:
        """The container of Ray's head, where drivers are."""
        return self.running.containers["ray-head"]

    @property
    def cluster(self) -> str:
        """Ray's address."""
        return "ray-head:6379"

    def address(self, host: str) -> str:
        """A container's address, which this machine reaches."""
        return self.running.address(host, "inside")

    def secret(self, name: str) -> str:
        """One of the stack's secrets."""
        return (self._folder / "secrets" / name).read_text(encoding="utf-8").strip()

    def start(self) -> None:
        """Start all of it, and give this machine an address in it, so that the record can be looked at from here."""
        self.running.start()
        bridge, net = self.running._networks._bridges["inside"]
        ip("address", "add", f"{net[1]}/24", "dev", bridge)
        folder = SharedFolder(self.volume / "drivers", f"{_HOME}/drivers")
        self.drivers = DriverServer(self.head, folder, {"RAY_BACKEND_LOG_LEVEL": "fatal"})
        self.drivers.start()

    def wait_for(self, host: str) -> None:
        """Wait until a container is healthy."""
        give_up_at = time.monotonic() + _READY_S
        while not self._is_healthy(host):
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"{host} is not healthy: {self.running.containers[host].last_lines()}")
            time.sleep(0.3)

    def revive(self) -> None:
        """Start what has ended, as an engine does; then wait for all of it."""
        for host in ("postgres", "store", "mlflow", "ray-head", *WORKERS, "service"):
            if self.running.containers[host].exit_code() is not None:
                self.start_again(host)
        for host in ("postgres", "store", "mlflow", "ray-head", *WORKERS, "service"):
            self.wait_for(host)

    def start_again(self, host: str) -> None:
        """Start a container again; an object store in memory gets its buckets again."""
        self.running.start_again(host)
        if host == "store":
            self.wait_for("store")
            self.running.start_again("buckets")

    @contextmanager
    def run(self, study_seed: int, *, is_real: bool) -> Iterator[StackRun]:
        """A fresh home and a fresh schema of the ledger's database."""
        self._num_runs += 1
        name = f"run{self._num_runs}"
        sql = f"CREATE SCHEMA {name} AUTHORIZATION trialwright"
        self.running.containers["postgres"].run(["psql", "-U", "postgres", "-d", "trialwright", "-c", sql])
        run = StackRun(world=self, place=self._place(study_seed), name=name, is_real=is_real)
        try:
            yield run
        finally:
            run.clean_up()

    def twin(self, study_seed: int, *, is_real: bool) -> Twin:
        """The undisturbed study of a seed, run once."""
        known = self._twins.get((study_seed, is_real))
        if known is None:
            with self.run(study_seed, is_real=is_real) as run:
                began, began_at = time.monotonic(), time.time()
                if run.launch().wait(240) != 0:
                    raise RuntimeError(f"the twin did not end: {run.driver.ended().err[-3000:]}")
                wall_s = time.monotonic() - began
                with run.ledger() as ledger:
                    measured_at = [one.recorded_at - began_at for one in ledger.measurements(STUDY)]
                    known = Twin(
                        training_s=(min(measured_at), max(measured_at)),
                        facts=checker.facts(ledger),
                        report=checker.report_of(run.home),
                        files=checker.files_of(run.home),
                        wall_s=wall_s,
                    )
            self._twins[study_seed, is_real] = known
        return known

    def training_left(self, within_s: float = 30.0) -> list[str]:
        """Packs and clients that still run on any node though no study does."""
        give_up_at = time.monotonic() + within_s
        while (left := self._training()) and time.monotonic() < give_up_at:
            time.sleep(0.5)
        return left

    def processes(self, *kinds: str) -> list[psutil.Process]:
        """Ray's processes of some kinds, on any node."""
        found = []
        for host in ("ray-head", *WORKERS):
            for pid in self.running.containers[host].pids():
                with suppress(psutil.Error):
                    process = psutil.Process(pid)
                    if any(kind in " ".join(process.cmdline()) for kind in kinds):
                        found.append(process)
        return found

    def _training(self) -> list[str]:
        return [" ".join(process.cmdline())[:60] for process in self.processes(*_TRAINING)]

    def _is_healthy(self, host: str) -> bool:
        with suppress(RuntimeError, subprocess.TimeoutExpired):
            return self.running.containers[host].is_healthy()
        return False

    def _place(self, study_seed: int) -> str:
        if study_seed not in self._places:
            name = f"study-{study_seed}"
            seen = Path(_MODELS) / name
            folder = write_study(
                self._folder / "models" / name, study_seed, packs=NUM_WORKERS, seeds=NUM_SEEDS, seen_as=seen
            )
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o755)
            self._places[study_seed] = str(seen)
        return self._places[study_seed]


@contextmanager
def stack_world(say: Callable[[str], None]) -> Iterator[StackWorld]:
    """The stack for the duration of a block."""
    folder = Path(tempfile.mkdtemp(prefix="trialwright-faults-stack-"))
    try:
        folder.chmod(0o711)
        subprocess.run(
            [ROOT / "deploy/make-secrets.sh", folder / "secrets"], check=True, stdout=subprocess.DEVNULL
        )
        (folder / "models").mkdir()
        (folder / "models").chmod(0o755)
        world = StackWorld(folder, say)
        try:
            world.start()
            yield world
        finally:
            world.running.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
