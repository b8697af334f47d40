"""Faults on a driver without Ray: real drivers, PostgreSQL and MLflow; the pack is in the driver, simulated or real."""

import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.cli_options import DONE, TRIALS_LOST, USER_MISTAKE
from study.ledger import Ledger
from tests.end_to_end.command import Ended
from tests.faults import checker
from tests.faults.clock import CLOCK
from tests.faults.drivers import LightDriver, warm_up
from tests.faults.light_driver import LANES, REAL
from tests.faults.memory import DOOMED, MEMORY, Doomed
from tests.faults.proxy import FaultyProxy
from tests.faults.studies import CHECKPOINT_EVERY, NUM_SEARCHED, STEPS, STUDY, write_study
from tests.faults.trainable import STEP_S, STEPS_FILE
from tests.study.servers import MlflowServer, PostgresServer, mlflow_server, postgres

STEP_SECONDS = 0.05
NUM_STUDY_SEEDS = 5
"""Runs share studies of so many seeds, so that each needs its twin once."""
MOST_LAUNCHES = 12
DISK_BYTES = 96 * 2**20


@dataclass(frozen=True, kw_only=True)
class Twin:
    """What a study comes to when nothing strikes it."""

    facts: Any
    report: Any
    files: set[str]
    wall_s: float
    training_s: tuple[float, float]
    """Seconds from the launch to the first and to the last measurement."""


@dataclass(kw_only=True, eq=False)
class LightRun:
    """One study under faults."""

    world: "LightWorld"
    place: Path
    home: Path
    ledger_url: str
    is_real: bool
    is_struck_twice: bool = False
    """Whether two faults strike."""
    doomed: Doomed | None = None
    """A trial that the pack has never room for."""
    drivers: list[LightDriver] = field(default_factory=list)
    num_damaged: int = 0
    """Checkpoints that were damaged."""
    step_s: float = STEP_SECONDS
    """Seconds of a joint step."""
    pause_s: float = 1.0
    """Seconds between a launch that was refused and the next one."""
    may_launch: threading.Lock = field(default_factory=threading.Lock)
    """Held while a fault needs that no driver starts."""
    expects: list[str] = field(default_factory=list)
    """Of what a fault was to bring about and did not."""

    @property
    def clock_file(self) -> Path:
        """What moves the drivers' clocks."""
        return self.home.with_suffix(".clock")

    @property
    def steps_file(self) -> Path:
        """Where every step is noted."""
        return self.home.with_suffix(".steps")

    @property
    def memory_file(self) -> Path:
        """What makes memory short for a moment."""
        return self.home.with_suffix(".memory")

    @property
    def checkpoints(self) -> Path:
        """The folder of all trials' checkpoints."""
        return self.home / "studies" / STUDY / "checkpoints"

    @property
    def driver(self) -> LightDriver:
        """The newest launch."""
        return self.drivers[-1]

    def launch(self) -> LightDriver:
        """Start a driver; it is told where this run's home, ledger and MLflow are."""
        environment = {
            "TRIALWRIGHT_LEDGER": self.ledger_url,
            "MLFLOW_TRACKING_URI": self.world.proxy.uri,
            CLOCK: str(self.clock_file),
            STEP_S: str(self.step_s),
            STEPS_FILE: str(self.steps_file),
            MEMORY: str(self.memory_file),
        }
        environment |= {REAL: "1"} if self.is_real else {}
        environment |= {DOOMED: self.doomed.to_text()} if self.doomed else {}
        command = ["launch", "study.yaml", "--home", str(self.home)]
        self.drivers.append(LightDriver(self.place, self.world.logs, command, environment))
        return self.driver

    def ledger(self) -> Ledger:
        """The record, opened anew."""
        return Ledger.open(self.ledger_url)

    def clean_up(self) -> None:
        """End what still runs."""
        for driver in self.drivers:
            driver.clean_up()


class LightWorld:
    """The servers that all runs share, and the twins that they are compared with."""

    def __init__(self, folder: Path, database: PostgresServer, tracking: MlflowServer) -> None:
        self.postgres = database
        self.mlflow = tracking
        self.proxy = FaultyProxy(int(tracking.uri.rpartition(":")[2]))
        self.logs = folder / "logs"
        self.logs.mkdir()
        self._folder = folder
        self._places: dict[int, Path] = {}
        self._twins: dict[tuple[int, bool, bool], Twin] = {}
        self._num_runs = 0

    @contextmanager
    def run(
        self,
        study_seed: int,
        *,
        in_postgres: bool,
        is_real: bool,
        small_disk: bool = False,
        dooms_trial: bool = False,
    ) -> Iterator[LightRun]:
        """A fresh home, removed at the end."""
        self._num_runs += 1
        home = self._folder / f"home-{self._num_runs}"
        home.mkdir()
        url = self.postgres.new_database() if in_postgres else f"sqlite:///{home / 'ledger.db'}"
        with ExitStack() as stack:
            if small_disk:
                stack.enter_context(small_disk_at(home))
            doomed = Doomed.of_study(study_seed, NUM_SEARCHED, STEPS) if dooms_trial else None
            run = LightRun(
                world=self,
                place=self._place(study_seed),
                home=home,
                ledger_url=url,
                is_real=is_real,
                doomed=doomed,
            )
            stack.callback(shutil.rmtree, home, ignore_errors=True)
            stack.callback(run.clean_up)
            yield run

    def twin(self, study_seed: int, *, is_real: bool, dooms_trial: bool = False) -> Twin:
        """The undisturbed study of a seed, run once."""
        known = self._twins.get((study_seed, is_real, dooms_trial))
        if known is None:
            self._place(study_seed)
            warm_up()
            with self.run(study_seed, in_postgres=False, is_real=is_real, dooms_trial=dooms_trial) as run:
                began, began_at = time.monotonic(), time.time()
                if run.launch().wait(120) not in ({DONE, TRIALS_LOST} if dooms_trial else {DONE}):
                    raise RuntimeError(f"the twin did not end: {run.driver.ended().err[-2000:]}")
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
            self._twins[study_seed, is_real, dooms_trial] = known
        return known

    def _place(self, study_seed: int) -> Path:
        if study_seed not in self._places:
            self._places[study_seed] = write_study(self._folder / f"study-{study_seed}", study_seed)
        return self._places[study_seed]


@contextmanager
def light_world(folder: Path) -> Iterator[LightWorld]:
    """Servers for the duration of a block."""
    (folder / "mlflow").mkdir()
    with postgres() as database, mlflow_server(folder / "mlflow") as tracking:
        world = LightWorld(folder, database, tracking)
        try:
            yield world
        finally:
            world.proxy.close()


def drive(run: Any, *, is_struck: Any) -> None:
    """Launch until the study has ended and MLflow has everything, as whoever cares for a study would.

    Args:
        run: the study.
        is_struck: whether all faults have struck and were mended.
    """
    ended: Ended | None = None
    for _ in range(MOST_LAUNCHES):
        for driver in list(run.drivers):
            driver.wait(240)
        ended = run.driver.ended()
        if ended.code in {DONE, TRIALS_LOST} and _is_complete(ended):
            while not is_struck():
                time.sleep(0.1)
            if all(driver.is_over for driver in run.drivers) and _is_complete(run.driver.ended()):
                return
        time.sleep(run.pause_s if ended.code == USER_MISTAKE else 0)
        with run.may_launch:
            if run.driver.is_over:
                run.launch()
    run.expects.append(f"the study did not end in {MOST_LAUNCHES} launches: {ended}")


def _is_complete(ended: Ended) -> bool:
    return ended.code in {DONE, USER_MISTAKE, TRIALS_LOST} and "has not received everything" not in ended.err


def problems(run: Any, twin: Twin) -> list[str]:
    """Every way in which a run that is over is not like its twin."""
    found = list(run.expects)
    for driver in run.drivers:
        ended = driver.ended()
        if "Traceback (most recent call last)" in ended.err:
            found.append(f"a traceback: {ended.err[-1500:]}")
        if left := driver.survivors():
            found.append(f"processes are left: {left}")
    with run.ledger() as ledger:
        found += checker.leftovers(ledger)
        found += checker.differences(checker.facts(ledger), twin.facts)
        found += checker.disagreements(ledger, run.world.mlflow.uri)
        attempts = {one.planned.key: one.attempts for one in ledger.trials(STUDY)}
    found += checker.differences(checker.report_of(run.home), twin.report, "report.json")
    if (files := checker.files_of(run.home)) != twin.files:
        found.append(f"files differ from the twin's: {sorted(files ^ twin.files)[:10]}")
    for key, repeated in repeated_steps(run).items():
        if repeated > CHECKPOINT_EVERY * (attempts[key] - 1 + run.num_damaged):
            found.append(f"{key} repeated {repeated} steps in {attempts[key]} attempts")
    return found


def repeated_steps(run: Any) -> dict[str, int]:
    """Optimizer steps that were done more than once, by trial."""
    if not run.steps_file.exists():
        return {}
    done = Counter(run.steps_file.read_text(encoding="ascii").splitlines())
    repeated: Counter[str] = Counter()
    for line, number in done.items():
        repeated[line.rpartition(" ")[0]] += number - 1
    return {key: number for key, number in repeated.items() if number}


def seconds_lost(run: Any) -> float:
    """Time of the steps that were repeated, as lanes share it."""
    return sum(repeated_steps(run).values()) * run.step_s / LANES


@contextmanager
def small_disk_at(folder: Path) -> Iterator[None]:
    """A small file system of its own for the duration of a block (root only)."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "trialwright-faults", str(folder)], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """No byte is free on a folder's disk for the duration of a block."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            for size in (2**20, 2**12, 1):
                with suppress(OSError):
                    while True:
                        file.write(os.urandom(1) * size)
        yield
    finally:
        filler.unlink(missing_ok=True)
