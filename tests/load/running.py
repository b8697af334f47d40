"""The drivers of a load test: launched, launched again where MLflow lacks something, and how far they are."""

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Self

import psycopg

from tests.faults.drivers import LightDriver
from tests.load.studies import Written
from tests.load.world import World

MOST_LAUNCHES = 40
"""Of one study, until MLflow has everything."""
_NOT_YET = "has not received everything"
_LEFT_OVER_S = 15.0
"""How long a process may take to be gone."""
_COUNTS = """
WITH mine AS (SELECT id FROM study WHERE name = ANY(%(studies)s)),
     trials AS (SELECT id, outcome FROM trial WHERE study_id IN (SELECT id FROM mine))
SELECT (SELECT coalesce(array_agg(name ORDER BY id), '{}') FROM study WHERE id IN (SELECT id FROM mine)),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       (SELECT count(*) FROM claim WHERE study_id IN (SELECT id FROM mine)),
       (SELECT count(*) FROM attempt WHERE ended_at IS NULL AND trial_id IN (SELECT id FROM trials)),
       (SELECT count(outcome) FROM trials),
       (SELECT count(run_id) FROM tracked_run WHERE study_id IN (SELECT id FROM mine) AND shipped_state <> '')
"""


class Drivers:
    """One driver a study at any moment."""

    def __init__(self, world: World, studies: Sequence[Written], step_s: float) -> None:
        """Begin with none.

        Args:
            world: where they run.
            studies: to be launched.
            step_s: seconds of a joint step of each one's pack.
        """
        self._world = world
        self._studies = {study.name: study for study in studies}
        self.names = list(self._studies)
        self._step_s = step_s
        self._newest: dict[str, LightDriver] = {}
        self._launches: Counter[str] = Counter()
        self._problems: list[str] = []
        self.num_trials = sum(study.num_trials for study in studies)

    @property
    def num_launches(self) -> int:
        """Of the study that needed most."""
        return max(self._launches.values())

    def processes(self) -> Mapping[str, int]:
        """Ids of the service's process and of the drivers that run, by the names of their studies."""
        running = {name: one.pid for name, one in list(self._newest.items()) if not one.is_over}
        return {"service": self._world.service_pid, **running}

    def are_busy(self) -> bool:
        """Whether any runs, after the next was launched, and again each that ended while MLflow lacks something."""
        if len(self._newest) < len(self.names):
            self._launch(self.names[len(self._newest)])
        for name, driver in list(self._newest.items()):
            if driver.is_over and _NOT_YET in driver.ended().err and self._launches[name] < MOST_LAUNCHES:
                self._launch(name)
        return any(not driver.is_over for driver in self._newest.values())

    def problems(self) -> list[str]:
        """What was wrong with how they ended."""
        found = []
        for name, driver in self._newest.items():
            ended = driver.ended()
            if ended.code != 0 or _NOT_YET in ended.err:
                found.append(f"{name}: exit code {ended.code}: {ended.err[-500:]}")
        for driver in self._world.drivers:
            if "Traceback (most recent call last)" in driver.ended().err:
                found.append(f"a traceback: {driver.ended().err[-1500:]}")
            give_up_at = time.monotonic() + _LEFT_OVER_S
            while (left := driver.survivors()) and time.monotonic() < give_up_at:
                time.sleep(0.2)
            found += [f"left running: {line}" for line in left]
        return found

    def _launch(self, name: str) -> None:
        self._launches[name] += 1
        self._newest[name] = self._world.launch(self._studies[name].file, self._step_s)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What PostgreSQL tells at one moment."""

    studies: Sequence[str]
    """Names of those that are there."""
    connections: int
    """Of all clients, this one too."""
    drivers: int
    """Claims."""
    running: int
    """Trials that train."""
    ended: int
    """Trials that have ended."""
    shipped: int
    """MLflow runs that have been brought up to date once."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The most that was seen at once, and when a run got where."""

    connections: int = 0
    drivers: int = 0
    running: int = 0
    runs: int = 0
    """In MLflow."""
    trained_s: float | None = None
    """When the last trial had ended."""
    shipped_s: float = 0.0
    """When MLflow had everything."""
    load: float = 0.0
    """Sum of the machine's load averages over a minute, one a look."""
    looks: int = 0

    def with_(self, now: Counts, at_s: float, *, is_trained: bool) -> "Tally":
        """With one more look taken into account."""
        return Tally(
            connections=max(self.connections, now.connections),
            drivers=max(self.drivers, now.drivers),
            running=max(self.running, now.running),
            runs=now.shipped,
            trained_s=at_s if is_trained and self.trained_s is None else self.trained_s,
            shipped_s=at_s,
            load=self.load + os.getloadavg()[0],
            looks=self.looks + 1,
        )


class Gauge:
    """Tells how far some studies are, for little of the database's time."""

    def __init__(self, ledger_url: str, drivers: Drivers) -> None:
        """Connect to a PostgreSQL."""
        self._connection = psycopg.connect(ledger_url, autocommit=True)
        self._drivers = drivers
        self._seen: list[tuple[float, Counts]] = []

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self._connection.close()

    def read(self) -> Counts:
        """Count."""
        row = self._connection.execute(_COUNTS, {"studies": self._drivers.names}).fetchone()
        assert row is not None
        return Counts(**dict(zip((field.name for field in fields(Counts)), row, strict=True)))

    def line(self, now: Counts, at_s: float) -> str:
        """How far it is, and the time left by what came in the last minutes."""
        self._seen = [*self._seen, (at_s, now)][-12:]
        then_s, then = self._seen[0]
        rate = (now.ended - then.ended) / (at_s - then_s) if at_s > then_s else 0.0
        left = f", {(self._drivers.num_trials - now.ended) / rate:.0f} s of training left" if rate else ""
        return (
            f"{at_s:.0f} s: {now.ended:,} of {self._drivers.num_trials:,} trials ended, {now.running} train, "
            f"{now.drivers} drivers, {now.shipped:,} runs in MLflow{left}"
        )
