"""How many more trial-steps a second do lanes give than processes that each train one trial?

On a CPU there are as many processes as cores, of one thread each, on both sides: on one side each trains one trial
alone, on the other each is a pack of several lanes. On a GPU one pack stands against as many processes as cores, all on
that GPU. The sides take turns, and all processes of a side train at once. At every size the number of lanes is what
calibration chooses there, so that the smallest ratio says whether a choice ever was worse than none.

The trials are of the paper's six families with 8 experts of rank 4 on q, k, v and o of SmolLM2-135M.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from frame import Benchmark, Countdown, Goal, Result, Setting, interval, run
from workbenches import MODEL, random_workbench

from trainers.calibration import calibrate
from trainers.pack import Pack
from trainers.trial import Trial
from trainers.trial_setup import TrialSetup
from trainers.workbench import Workbench

FAMILIES = ("sgd", "rsgd", "grsgd", "adamw", "radamw", "gradamw")
PARAMS = {"lr": 1e-4, "router_lr": 1e-4, "num_experts": 8, "top_k": 2, "rank": 4, "damping": 1e-6}
SIZES = ((4, 32), (8, 64), (16, 64))
"""Rows and tokens a row of a trial's step."""
MOST_LANES = 8
ROUNDS = 3
STEPS = 2
"""Timed steps of each trial in a turn."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process is to do with a size."""

    rows: int
    tokens: int
    device: str
    quick: bool


def measure(setting: Setting) -> Result:
    """Every size; the headline is the smallest batch, `min_ratio` the worst of all."""
    sizes = ((2, 8), (3, 8)) if setting.quick else SIZES
    num_cores = len(os.sched_getaffinity(0))
    num_packs = 1 if setting.device.type == "cuda" else num_cores
    countdown = Countdown(setting, len(sizes))
    table, by_size = [], []
    for rows, tokens in sizes:
        job = Job(rows=rows, tokens=tokens, device=setting.device.type, quick=setting.quick)
        with _processes(job, num_cores) as workers:
            lanes, tried = _calibrated(workers[:num_packs])
            pairs = [_pair(workers, num_packs, lanes) for _ in range(2 if setting.quick else ROUNDS)]
        ratios = [packed / alone for packed, alone in pairs]
        by_size.append(ratios)
        low, high = interval(ratios)
        table.append(
            {
                "batch": f"{rows} x {tokens}",
                "lanes": lanes,
                "alone_per_s": statistics.median(alone for _, alone in pairs),
                "packed_per_s": statistics.median(packed for packed, _ in pairs),
                "ratio": statistics.median(ratios),
                "ratio_low": low,
                "ratio_high": high,
                **{f"calibrated_{lanes}": tried.get(lanes) for lanes in (1, 2, 4, 8)},
            }
        )
        countdown.turn(f"{rows} x {tokens}: {lanes} lanes, {table[-1]['ratio']:.2f} times")
    more = {
        "min_ratio": min(statistics.median(ratios) for ratios in by_size),
        "processes": {"alone": num_cores, "packed": num_packs},
    }
    return Result(ratios=by_size[0], table=table, more=more)


def _calibrated(workers: list[Connection]) -> tuple[int, dict[int, float]]:
    """The fewest lanes that a pack chose while all were timed, and trial-steps a second by lanes."""
    found = _asked(workers, ("calibrate", MOST_LANES))
    slowest = min(found, key=_lanes_of)
    return slowest["lanes"], slowest["per_s"]


def _lanes_of(found: dict[str, Any]) -> int:
    return int(found["lanes"])


def _pair(workers: list[Connection], num_packs: int, lanes: int) -> tuple[float, float]:
    """Trial-steps a second of all packs, and of all lone trials."""
    packed = sum(lanes / seconds for seconds in _asked(workers[:num_packs], ("packed", lanes)))
    alone = sum(1 / seconds for seconds in _asked(workers, ("alone", 1)))
    return packed, alone


def _asked(workers: list[Connection], question: tuple[str, int]) -> list[Any]:
    """Every process's answer; all work at the same time."""
    for worker in workers:
        worker.send(question)
    return [worker.recv() for worker in workers]


@contextmanager
def _processes(job: Job, number: int) -> Iterator[list[Connection]]:
    spawning = multiprocessing.get_context("spawn")
    ends = [spawning.Pipe() for _ in range(number)]
    processes = [spawning.Process(target=_work, args=(job, theirs), daemon=True) for _, theirs in ends]
    for process in processes:
        process.start()
    try:
        yield [ours for ours, _ in ends]
    finally:
        for (ours, _), process in zip(ends, processes, strict=True):
            ours.send(("end", 0))
            process.join(timeout=10)


def _work(job: Job, asked: Connection) -> None:
    """A process with one thread and one copy of the base."""
    torch.set_num_threads(1)
    bench = random_workbench(
        "float32" if job.device == "cpu" else "bfloat16",
        rows=job.rows,
        tokens=job.tokens,
        device=torch.device(job.device),
        tiny=job.quick,
    )
    with tempfile.TemporaryDirectory() as folder:
        while (question := asked.recv())[0] != "end":
            asked.send(_answer(bench, Path(folder), *question))


def _answer(bench: Workbench, folder: Path, what: str, lanes: int) -> Any:
    setups = [_setup(folder / f"{time.monotonic_ns()}-{number}", number) for number in range(MOST_LANES)]
    if what == "calibrate":
        found = calibrate(bench, setups, most_lanes=lanes)
        return {
            "lanes": found.lanes,
            "per_s": {tried: tried / step_s for tried, step_s in found.step_s.items()},
        }
    if what == "alone" or lanes == 1:
        trial = Trial(_setup(folder / f"{time.monotonic_ns()}", os.getpid()), bench)
        seconds = trial.seconds_per_step(STEPS)
        trial.close()
        return seconds
    pack = Pack(bench, lanes)
    for one in setups[:lanes]:
        pack.seat(one)
    for _ in range(2):  # the first measurement, and a step that warms up
        pack.advance()
    times = []
    for _ in range(STEPS):
        before = time.perf_counter()
        pack.advance()
        times.append(time.perf_counter() - before)
    pack.close()
    return statistics.median(times)


def _setup(folder: Path, number: int) -> TrialSetup:
    return TrialSetup(
        key=folder.name,
        family=FAMILIES[number % len(FAMILIES)],
        params=PARAMS,
        seed=number,
        steps=10_000,
        checkpoint_dir=folder,
        adapter_dir=None,
    )


BENCHMARK = Benchmark(
    name="packing",
    question=f"How many more trial-steps a second do lanes give than lone processes, on {MODEL}?",
    goal=Goal(at_least=1.5),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
