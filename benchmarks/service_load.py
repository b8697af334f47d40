"""Whether fifty who watch slow a study down, and how long the service's answers take meanwhile.

A driver of planted trials puts them into the ledger at the pace of a quick accelerator, in turns alone and while fifty
clients hold a stream each and one asks for the study, its trials, the list of studies and the service's health, ten
times a second. The ratio is that of the driver's times, watched over alone; the requests' times stand in the table.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from frame import Benchmark, Goal, Result, Setting, run
from planted_writer import put_down

NUM_WATCHERS = 50
ASKS_PER_S = 10.0
PATHS = ("/api/v1/studies/{0}", "/api/v1/studies/{0}/trials?limit=100", "/api/v1/studies", "/health/ready")
SERVE = """
import sys
from study.service.server import serve
from study.service.settings import ServiceSettings
serve(ServiceSettings(home=sys.argv[1], port=int(sys.argv[2]), burst=10**6, rate_per_s=1e6))
"""


@dataclass
class Load:
    """What clients saw while a driver ran."""

    latencies_s: list[float] = field(default_factory=list)
    num_events: int = 0
    num_errors: int = 0


def measure(setting: Setting) -> Result:
    """Run the driver alone and watched in turns."""
    pairs, num_trials = (1, 10) if setting.quick else (6, 150)
    watchers = 3 if setting.quick else NUM_WATCHERS
    ratios, load, alone_s, watched_s = [], Load(), [], []
    with TemporaryDirectory() as folder, service(Path(folder)) as url:
        for pair in range(pairs):
            alone = drive(folder, f"alone-{pair}", num_trials)
            name = f"watched-{pair}"
            with watching(url, name, watchers, load, Path(folder)):
                watched = drive(folder, name, num_trials)
            alone_s.append(alone)
            watched_s.append(watched)
            ratios.append(watched / alone)
            setting.say(f"pair {pair + 1} of {pairs}: alone {alone:.2f} s, watched {watched:.2f} s")
    return Result(ratios=ratios, table=[row(load, alone_s, watched_s, watchers)])


def row(load: Load, alone_s: Sequence[float], watched_s: Sequence[float], watchers: int) -> dict[str, Any]:
    """The table's one line."""
    return {
        "watchers": watchers,
        "alone_s": statistics.median(alone_s),
        "watched_s": statistics.median(watched_s),
        "requests": len(load.latencies_s),
        "p50_ms": 1000 * quantile(load.latencies_s, 0.5),
        "p99_ms": 1000 * quantile(load.latencies_s, 0.99),
        "events": load.num_events,
        "errors": load.num_errors,
    }


def quantile(values: Sequence[float], level: float) -> float:
    """The smallest value that a share of `level` does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(level * len(ordered)))]


@contextmanager
def service(home: Path, **environment: str) -> Iterator[str]:
    """A service in a process of its own; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(home), str(port)]
    with (home / "service.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            command, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/health/ready")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def drive(home: str, study: str, num_trials: int) -> float:
    """Seconds that a driver of planted trials takes, its start aside."""
    environment = {**os.environ, "TRIALWRIGHT_HOME": home, "PLANTED_TRIALS": str(num_trials)}
    command = [sys.executable, str(Path(__file__).with_name("planted_writer.py")), study]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)  # noqa: S603
    return float(json.loads(ended.stdout)["seconds"])


@contextmanager
def watching(url: str, study: str, num_watchers: int, load: Load, home: Path) -> Iterator[None]:
    """Watch a study, and ask for it, for the duration of a block."""
    put_down(home, study)
    over = threading.Event()
    threads = [threading.Thread(target=_watch, args=(url, study, load, over)) for _ in range(num_watchers)]
    threads.append(threading.Thread(target=_ask, args=(url, study, load, over)))
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(over.set)
        time.sleep(0.5)
        yield


def _watch(url: str, study: str, load: Load, over: threading.Event) -> None:
    with httpx2.Client(base_url=url, timeout=30) as http:
        while not over.is_set():
            try:
                with http.sse(f"/api/v1/studies/{study}/watch") as source:
                    for event in source:
                        load.num_events += 1
                        if event.event == "end" or over.is_set():
                            break
            except httpx2.HTTPError:
                load.num_errors += 1
            over.wait(0.05)


def _ask(url: str, study: str, load: Load, over: threading.Event) -> None:
    with httpx2.Client(base_url=url, timeout=30) as http:
        number = 0
        while not over.wait(1 / ASKS_PER_S):
            began = time.perf_counter()
            answer = http.get(PATHS[number % len(PATHS)].format(study))
            load.latencies_s.append(time.perf_counter() - began)
            load.num_errors += answer.is_error
            number += 1


def _wait_for(url: str) -> None:
    give_up_at = time.monotonic() + 60
    while True:
        try:
            if httpx2.get(url).is_success:
                return
        except httpx2.TransportError:
            pass
        if time.monotonic() > give_up_at:
            raise TimeoutError(url)
        time.sleep(0.1)


BENCHMARK = Benchmark(
    name="service_load",
    question="How much longer does a study's driver take while fifty clients watch it?",
    goal=Goal(at_most=1.1),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
