"""How many more trial-steps a second do lanes give than processes that each train one trial?

On a CPU there are as many processes as cores, of one thread each, on both sides: on one side each trains one trial
alone, on the other each is a pack of several lanes. On a GPU one pack stands against as many processes as cores, all on
that GPU. The sides take turns, and all processes of a side train at once. At every size the number of lanes is what
calibration chooses there, so that the smallest ratio says whether a choice ever was worse than none. A pack of one lane
trains its trial as a lone process does: where one lane is chosen and both sides have as many processes, they are the
same, are timed once, and their ratio is 1. Beside it fixed numbers of lanes are timed once, whether or not calibration
would try them, and `profile` compares the operations of a joint step of two lanes and of one at the smallest size, a
trial's share of each.

The trials are of the paper's six families with 8 experts of rank 4 on q, k, v and o of SmolLM2-135M.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from frame import Benchmark, Countdown, Goal, Result, Setting, interval, profiled, run
from workbenches import MODEL, random_workbench

from trainers.calibration import calibrate
from trainers.pack import Pack
from trainers.trial import Trial
from trainers.trial_setup import TrialSetup
from trainers.workbench import Workbench

FAMILIES = ("sgd", "rsgd", "grsgd", "adamw", "radamw", "gradamw")
PARAMS = {"lr": 1e-4, "router_lr": 1e-4, "num_experts": 8, "top_k": 2, "rank": 4, "damping": 1e-6}
SIZES = {(4, 32): (1, 2, 4, 8), (8, 64): (1, 2), (16, 64): (1, 2)}
"""By rows and tokens a row of a trial's step, the fixed numbers of lanes: what two packs have room for in 24 GiB."""
MOST_LANES = 8
ROUNDS = 3
STEPS = 2
"""Timed steps of each trial in a turn."""
LATEST_START_S, BUDGET_S = 350.0, 480.0
"""A size whose turn comes later is left out, and so is a fixed number of lanes that would end later: a slow machine is
to be done within ten minutes, too."""
ADAMW = FAMILIES.index("adamw")
"""What the profile trains in every lane."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a process is to do with a size."""

    rows: int
    tokens: int
    num_packs: int
    """Packs that share the machine's memory."""
    device: str
    quick: bool


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a size shows."""

    lanes: int
    """As calibration chooses."""
    calibrated_per_s: dict[int, float]
    """Trial-steps a second of one pack, by the lanes that calibration tried."""
    pairs: list[tuple[float, float]]
    """Trial-steps a second of all packs, and of all lone trials."""
    by_lanes: dict[int, float | None]
    """Trial-steps a second of all packs, by a fixed number of lanes."""

    @property
    def ratios(self) -> list[float]:
        """One a pair."""
        return [packed / alone for packed, alone in self.pairs]

    def row(self, size: str) -> dict[str, Any]:
        """A line of the table."""
        low, high = interval(self.ratios)
        packed_per_s, alone_per_s = _medians(self.pairs)
        return {
            "batch": size,
            "lanes": self.lanes,
            "alone_per_s": alone_per_s,
            "packed_per_s": packed_per_s,
            "ratio": statistics.median(self.ratios),
            "ratio_low": low,
            "ratio_high": high,
            "pairs": len(self.pairs),
            **{f"per_s_{number}": self.by_lanes.get(number) for number in (1, 2, 4, 8)},
        }


def measure(setting: Setting) -> Result:
    """Every size; the headline is the smallest batch, `min_ratio` the worst of all."""
    sizes = {(2, 8): (1, 2, 4), (3, 8): (1, 2)} if setting.quick else SIZES
    num_cores = len(os.sched_getaffinity(0))
    num_packs = 1 if setting.device.type == "cuda" else num_cores
    countdown = Countdown(setting, len(sizes))
    began_s = time.monotonic()
    found: dict[str, Found] = {}
    profile: list[dict[str, Any]] = []
    for (rows, tokens), fixed in sizes.items():
        size = f"{rows} x {tokens}"
        if found and time.monotonic() > began_s + LATEST_START_S:
            countdown.turn(f"{size} is left out: it would take more than ten minutes in all")
            continue
        job = Job(
            rows=rows, tokens=tokens, num_packs=num_packs, device=setting.device.type, quick=setting.quick
        )
        with _processes(job, num_cores) as workers:
            found[size] = _found(workers, num_packs, fixed, began_s + BUDGET_S)
            profile = profile or _asked(workers[:num_packs], ("profile", 2))[0]
        countdown.turn(
            f"{size}: {found[size].lanes} lanes, {statistics.median(found[size].ratios):.2f} times"
        )
    first = next(iter(found.values()))
    more = {
        "min_ratio": min(statistics.median(one.ratios) for one in found.values()),
        "processes": {"alone": num_cores, "packed": num_packs},
        "calibrated_per_s": {size: one.calibrated_per_s for size, one in found.items()},
        "profile": profile,
    }
    return Result(ratios=first.ratios, table=[one.row(size) for size, one in found.items()], more=more)


def _found(workers: list[Connection], num_packs: int, fixed: Sequence[int], end_s: float) -> Found:
    """Ask all processes about their size."""
    packs = workers[:num_packs]
    lanes, calibrated = _calibrated(packs)
    if lanes == 1 and num_packs == len(workers):
        alone_per_s = _alone(workers)
        pairs = [(alone_per_s, alone_per_s)]
    else:
        pairs = [_pair(workers, num_packs, lanes) for _ in range(ROUNDS)]
    packed_per_s, alone_per_s = _medians(pairs)
    known = {lanes: packed_per_s} | ({1: alone_per_s} if num_packs == len(workers) else {})
    pace_per_s = alone_per_s / len(workers)
    return Found(
        lanes=lanes,
        calibrated_per_s=calibrated,
        pairs=pairs,
        by_lanes={one: known.get(one) or _fixed(packs, one, pace_per_s, end_s) for one in fixed},
    )


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(packed for packed, _ in pairs), statistics.median(alone for _, alone in pairs)


def _calibrated(workers: list[Connection]) -> tuple[int, dict[int, float]]:
    """The fewest lanes that a pack chose while all were timed, and trial-steps a second by lanes."""
    found = _asked(workers, ("calibrate", MOST_LANES))
    slowest = min(found, key=_lanes_of)
    return slowest["lanes"], slowest["per_s"]


def _lanes_of(found: dict[str, Any]) -> int:
    return int(found["lanes"])


def _fixed(packs: list[Connection], lanes: int, pace_per_s: float, end_s: float) -> float | None:
    """Trial-steps a second of all packs with so many lanes; None where there is no time to find out.

    Args:
        packs: processes.
        lanes: of each.
        pace_per_s: trial-steps a second of one process that trains a trial alone.
        end_s: when to be done, by the monotonic clock.
    """
    if time.monotonic() + (1 + STEPS) * lanes / pace_per_s > end_s:
        return None
    return sum(lanes / seconds for seconds in _asked(packs, ("train", lanes)))


def _pair(workers: list[Connection], num_packs: int, lanes: int) -> tuple[float, float]:
    """Trial-steps a second of all packs, and of all lone trials."""
    packed = sum(lanes / seconds for seconds in _asked(workers[:num_packs], ("train", lanes)))
    return packed, _alone(workers)


def _alone(workers: list[Connection]) -> float:
    """Trial-steps a second of all lone trials."""
    return sum(1 / seconds for seconds in _asked(workers, ("train", 1)))


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
    for process, (_, theirs) in zip(processes, ends, strict=True):
        process.start()
        theirs.close()  # so that the end of a process is heard
    try:
        yield [ours for ours, _ in ends]
    finally:
        for (ours, _), process in zip(ends, processes, strict=True):
            with suppress(OSError):
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
            asked.send(_answer(bench, job, Path(folder), *question))


def _answer(bench: Workbench, job: Job, folder: Path, what: str, lanes: int) -> Any:
    setups = [_setup(folder / f"{time.monotonic_ns()}-{number}", number) for number in range(MOST_LANES)]
    if what == "calibrate":
        found = calibrate(bench, setups, most_lanes=lanes, num_packs=job.num_packs)
        return {
            "lanes": found.lanes,
            "per_s": {tried: tried / step_s for tried, step_s in found.step_s.items()},
        }
    if lanes == 1:
        trial = Trial(_setup(folder / f"{time.monotonic_ns()}", os.getpid()), bench)
        seconds = trial.seconds_per_step(STEPS)
        trial.close()
        return seconds
    if what == "profile":
        return _profile(bench, folder, lanes)
    pack = _warm_pack(bench, setups[:lanes])
    times = []
    for _ in range(STEPS):
        before = time.perf_counter()
        pack.advance()
        times.append(time.perf_counter() - before)
    pack.close()
    return statistics.median(times)


def _warm_pack(bench: Workbench, setups: Sequence[TrialSetup]) -> Pack:
    """Trials that have made their first measurement, and a step."""
    pack = Pack(bench, len(setups))
    for one in setups:
        pack.seat(one)
    for _ in range(2):
        pack.advance()
    return pack


def _profile(bench: Workbench, folder: Path, lanes: int) -> list[dict[str, Any]]:
    """Operations of a trial's step, in a pack of several lanes and alone."""
    numbers = [ADAMW + len(FAMILIES) * lane for lane in range(lanes)]
    pack = _warm_pack(bench, [_setup(folder / f"lane-{number}", number) for number in numbers])
    alone = Trial(_setup(folder / "alone", ADAMW), bench)
    alone.seconds_per_step(1)
    sides: dict[str, Callable[[], object]] = {
        "lanes": pack.advance,
        "one_lane": partial(alone.seconds_per_step, 1, num_warm_up=0),
    }
    rows = profiled(sides, bench.foundation.device, by="lanes_ms", trials=(lanes, 1))
    alone.close()
    pack.close()
    return rows


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
