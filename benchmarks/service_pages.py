"""Does every page of a study of 10,000 trials come within a second while fifty watch it?

Planted trials stand in a real ledger, on SQLite and on PostgreSQL, nearly through; a driver in a process of its own
puts the rest into it, some thirty records a second. Fifty clients hold a stream each: half of them that of the study's
page, as browsers do, half that of the API. Meanwhile each page, and what the API says of the study, is asked for in
turns. The ratio is, round by round, the time of the slowest answer over one second. The report's page is timed without
the report, which a process of its own writes.
"""

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from frame import Benchmark, Goal, Result, Setting, run
from large_study import Life, live, put_down
from local_postgres import find_tool, postgres_server
from service_load import NUM_WATCHERS, service

STUDY = "large"
GOAL_S = 1.0
SETTLE_S = 5.0
"""Until every stream has had its first state."""
PAUSE_S = 1.0
"""Between two rounds, so that streams have something new to tell in each."""
FIRST = "one study, first look"
PAGES: Mapping[str, str] = {
    "studies": "/",
    "one study": "/studies/{study}",
    "its trials": "/studies/{study}/trials",
    "its last trials": "/studies/{study}/trials?page=1000000&kind=finished",
    "one trial": "/studies/{study}/trials/{trial}",
    "its report": "/studies/{study}/report",
    "its deletion": "/studies/{study}/delete",
    "status": "/api/v1/studies/{study}",
    "list of studies": "/api/v1/studies",
    "100 trials": "/api/v1/studies/{study}/trials?limit=100",
    "100 measurements": "/api/v1/studies/{study}/measurements?limit=100",
    "100 decisions": "/api/v1/studies/{study}/rungs?limit=100",
    "health": "/health/ready",
}
STREAMS = ("/live/studies/{study}", "/api/v1/studies/{study}/watch")


@dataclass
class Watched:
    """What the watchers got."""

    num_events: int = 0
    num_errors: int = 0


def measure(setting: Setting) -> Result:
    """Time the pages on each kind of ledger."""
    life = live(STUDY, 0.02 if setting.quick else 3.6)
    setting.say(f"{len(life.trials):,} trials")
    ratios: list[float] = []
    table: list[dict[str, Any]] = []
    for kind, ledger in _ledgers():
        with ledger as (home, url):
            found, first_s = _timed(setting, kind, home, url, life)
        ratios += [max(times) / GOAL_S for times in zip(*found.values(), strict=True)]
        table += [_row(kind, name, times) for name, times in {FIRST: [first_s], **found}.items()]
    return Result(ratios=ratios, table=table, more={"trials": len(life.trials), "watchers": NUM_WATCHERS})


def _row(kind: str, page: str, times: Sequence[float]) -> dict[str, Any]:
    return {"ledger": kind, "page": page, "median_s": statistics.median(times), "slowest_s": max(times)}


def _ledgers() -> Iterator[tuple[str, Any]]:
    yield "SQLite", _sqlite()
    if find_tool("initdb") is not None:
        yield "PostgreSQL", _postgres()


@contextmanager
def _sqlite() -> Iterator[tuple[Path, str]]:
    with TemporaryDirectory() as folder:
        yield Path(folder), f"sqlite:///{folder}/ledger.db"


@contextmanager
def _postgres() -> Iterator[tuple[Path, str]]:
    with TemporaryDirectory() as folder, postgres_server() as url:
        yield Path(folder), url


def _timed(
    setting: Setting, kind: str, home: Path, url: str, life: Life
) -> tuple[dict[str, list[float]], float]:
    """Seconds of every page, round by round, and of the first page that the service gave at all."""
    rounds, watchers = (1, 4) if setting.quick else (20, NUM_WATCHERS)
    put_down(url, life, num_open=max(2, len(life.trials) // 16))
    setting.say(f"{kind}: the ledger is filled")
    watched, found = Watched(), {name: [] for name in PAGES}
    places = {"study": STUDY, "trial": life.trials[0].planned.key}
    with (
        service(home, TRIALWRIGHT_LEDGER=url) as address,
        httpx2.Client(base_url=address, timeout=120) as http,
        driving(home, url, http),
        ExitStack() as streams,
    ):

        def ask(path: str) -> float:
            began = time.perf_counter()
            http.get(path.format(**places)).raise_for_status()
            return time.perf_counter() - began

        first_s = ask(PAGES["one study"])
        streams.enter_context(watching(address, watchers, watched))
        time.sleep(1.0 if setting.quick else SETTLE_S)
        for number in range(rounds):
            time.sleep(PAUSE_S)
            for name, path in PAGES.items():
                found[name].append(ask(path))
            slowest = max(PAGES, key=lambda name: found[name][-1])
            setting.say(
                f"{kind}, round {number + 1} of {rounds}: slowest {slowest}, {found[slowest][-1]:.2f} s"
            )
    if watched.num_errors or not watched.num_events:
        raise RuntimeError(f"The watchers got {watched.num_events} events and {watched.num_errors} errors.")
    setting.say(f"{kind}: {watched.num_events} events")
    return found, first_s


@contextmanager
def driving(home: Path, url: str, http: httpx2.Client) -> Iterator[None]:
    """The study's driver, which has begun and goes on for the duration of a block."""
    environment = {**os.environ, "TRIALWRIGHT_HOME": str(home), "TRIALWRIGHT_LEDGER": url}
    command = [sys.executable, str(Path(__file__).with_name("large_study.py")), STUDY]
    with (home / "driver.log").open("wb") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603 (ours)
    try:
        while driver.poll() is None and not http.get(f"/api/v1/studies/{STUDY}").json()["running"]:
            time.sleep(0.2)
        yield
        if driver.poll():
            raise RuntimeError(f"The driver failed: {(home / 'driver.log').read_text()[-500:]}")
    finally:
        driver.kill()
        driver.wait(20)


@contextmanager
def watching(url: str, num_watchers: int, watched: Watched) -> Iterator[None]:
    """Clients that hold a stream each for the duration of a block."""
    over = threading.Event()
    with ExitStack() as stack:
        for number in range(num_watchers):
            path = STREAMS[number % len(STREAMS)].format(study=STUDY)
            thread = threading.Thread(target=_watch, args=(url + path, watched, over))
            thread.start()
            stack.callback(thread.join)
        stack.callback(over.set)
        yield


def _watch(url: str, watched: Watched, over: threading.Event) -> None:
    with httpx2.Client(timeout=120) as http:
        try:
            with http.stream("GET", url) as answer:
                answer.raise_for_status()
                for chunk in answer.iter_bytes():
                    watched.num_events += chunk.count(b"\n\n")
                    if over.is_set():
                        return
        except httpx2.HTTPError:
            watched.num_errors += not over.is_set()


BENCHMARK = Benchmark(
    name="service_pages",
    question="Does every page of a study of 10,000 trials come within a second while fifty watch it?",
    goal=Goal(at_most=1.0),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
