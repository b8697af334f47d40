"""What all benchmarks share: timing in pairs, intervals, and one JSON document on stdout.

A script asks one question of two sides, calls `paired` for their times and `run` for everything around it:

    def measure(setting: Setting) -> Result: ...

    BENCHMARK = Benchmark(name=..., question=..., goal=Goal(at_least=4.0), measure=measure)

    if __name__ == "__main__":
        run(BENCHMARK)

Options of every script: `--save` writes benchmarks/results/<name>.json; `--quick` is a smoke run on tiny sizes whose
figures mean nothing. stdout carries the document alone; progress and a table for people go to stderr. A goal that is
missed is a result, not a failure: the exit status is 0.
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch
from scipy.stats import binom
from torch.profiler import ProfilerActivity, profile

RESULTS_DIR = Path(__file__).parent / "results"
LEVEL = 0.95
PROFILED_CALLS = 3
NUM_OPS = 12
"""Lines of a profile, besides the sum."""
PACKAGES = ("torch", "transformers", "peft", "ray", "trialwright")

Row = Mapping[str, Any]
"""One line of a benchmark's table; all rows of a table have the same keys."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What the headline ratio should be; exactly one of the two is given."""

    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, ratio: float) -> bool:
        """Whether a ratio is good enough."""
        if self.at_least is not None:
            return ratio >= self.at_least
        return self.at_most is not None and ratio <= self.at_most

    def __str__(self) -> str:
        """Such as `>= 4`."""
        return f"<= {self.at_most:g}" if self.at_least is None else f">= {self.at_least:g}"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a script was called."""

    name: str
    quick: bool
    """Whether tiny sizes will do."""
    device: torch.device
    """The GPU where there is one."""

    def say(self, line: str) -> None:
        """A line of progress."""
        sys.stderr.write(f"{self.name}: {line}\n")
        sys.stderr.flush()


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Seconds of two sides, measured in turns, and the ratio first / second of each pair."""

    first_s: tuple[float, ...]
    second_s: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """One a pair."""
        return [first / second for first, second in zip(self.first_s, self.second_s, strict=True)]

    def row(self, first: str, second: str) -> dict[str, Any]:
        """Medians of both sides, the median ratio and its interval, for a table."""
        low, high = interval(self.ratios)
        return {
            f"{first}_s": statistics.median(self.first_s),
            f"{second}_s": statistics.median(self.second_s),
            "ratio": statistics.median(self.ratios),
            "ratio_low": low,
            "ratio_high": high,
            "pairs": len(self.ratios),
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a script has found."""

    ratios: Sequence[float]
    """The headline's, one a pair; their median is the headline."""
    table: Sequence[Row]
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the document, such as a profile."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One question, asked of two sides."""

    name: str
    question: str
    goal: Goal
    measure: Callable[[Setting], Result]


class Countdown:
    """Says how far a script is and how long it will take from here."""

    def __init__(self, setting: Setting, num_turns: int) -> None:
        """Start the clock for a number of turns of about the same length."""
        self._setting = setting
        self._num_turns = num_turns
        self._done = 0
        self._began = time.monotonic()

    def turn(self, what: str) -> None:
        """One turn is over."""
        self._done += 1
        left_s = (time.monotonic() - self._began) / self._done * (self._num_turns - self._done)
        self._setting.say(f"{self._done} of {self._num_turns}, about {left_s:.0f} s left: {what}")


def paired(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    pairs: int,
    device: torch.device,
    before: Callable[[], object] = lambda: None,
) -> Paired:
    """Time two sides in turns (A B B A A B …), each once beforehand without the clock.

    Args:
        first: the side above the line of the ratio.
        second: the side below it.
        pairs: how often each is timed; from 6 on `interval` covers what it says.
        device: what to wait for before the clock is read.
        before: called before every side, off the clock.
    """
    sides = (first, second)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(-1, pairs):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            before()
            seconds = _seconds(sides[side], device)
            if number >= 0:
                times[side].append(seconds)
    return Paired(first_s=tuple(times[0]), second_s=tuple(times[1]))


def profiled(
    sides: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    by: str,
    trials: Sequence[int] = (1, 1),
) -> list[dict[str, Any]]:
    """Operations of two sides, milliseconds that each takes of itself: their sum, then the largest.

    Args:
        sides: two of them by name, each called a few times. They give the columns `<name>_ms`, by `extra_ms` the first
            is larger.
        device: whose time counts.
        by: the column that says what is large.
        trials: among how many trials the time of each side is divided.
    """
    (first, ours_ms), (second, theirs_ms) = (
        (name, _self_ms(side, device, number))
        for (name, side), number in zip(sides.items(), trials, strict=True)
    )

    def row(op: str, ours: float, theirs: float) -> dict[str, Any]:
        columns = {f"{first}_ms": ours, f"{second}_ms": theirs, "extra_ms": ours - theirs}
        return {"op": op, **{name: round(value, 2) for name, value in columns.items()}}

    def size(row: Row) -> float:
        return float(row[by])

    rows = [row(op, ours_ms.get(op, 0.0), theirs_ms.get(op, 0.0)) for op in ours_ms | theirs_ms]
    total = row("all operations", sum(ours_ms.values()), sum(theirs_ms.values()))
    return [total, *sorted(rows, key=size, reverse=True)[:NUM_OPS]]


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Interval of the median from order statistics, which needs no assumption on the values' distribution.

    Fewer than six values give their range, which covers the median less often than 95 %.
    """
    ordered = sorted(values)
    beyond = int(binom.ppf((1 - level) / 2, len(ordered), 0.5))
    while beyond > 0 and 2 * binom.cdf(beyond - 1, len(ordered), 0.5) > 1 - level:
        beyond -= 1
    place = max(beyond - 1, 0)
    return ordered[place], ordered[-1 - place]


def geometric_means(ratios: Sequence[Sequence[float]]) -> list[float]:
    """Over several measurements with as many pairs each, the geometric mean of each pair's ratios."""
    return [math.exp(statistics.fmean(map(math.log, pair))) for pair in zip(*ratios, strict=True)]


def home() -> Path:
    """TRIALWRIGHT_HOME, or ./.trialwright: where fetched models lie."""
    return Path(os.environ.get("TRIALWRIGHT_HOME", ".trialwright")).expanduser()


def run(benchmark: Benchmark, arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure, and write the document.

    Args:
        benchmark: the question and who answers it.
        arguments: of the command line; None: the process's own.
    """
    parser = argparse.ArgumentParser(description=benchmark.question)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/<name>.json, too")
    parser.add_argument("--quick", action="store_true", help="a smoke run: tiny sizes, meaningless figures")
    options = parser.parse_args(arguments)
    if options.save and options.quick:
        parser.error("--save with --quick would keep meaningless figures; leave one of them out.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    setting = Setting(name=benchmark.name, quick=options.quick, device=device)
    began = time.monotonic()
    result = benchmark.measure(setting)
    document = _document(benchmark, setting, result, time.monotonic() - began)
    text = json.dumps(document, indent=1) + "\n"
    for line in _for_people(document):
        setting.say(line)
    if options.save:
        RESULTS_DIR.mkdir(exist_ok=True)
        (RESULTS_DIR / f"{benchmark.name}.json").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def _self_ms(side: Callable[[], object], device: torch.device, trials: int) -> dict[str, float]:
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as recorded:
        for _ in range(PROFILED_CALLS):
            side()
    divided = 1000 * PROFILED_CALLS * trials
    return {
        event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / divided
        for event in recorded.key_averages()
    }


def _seconds(side: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    side()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _document(benchmark: Benchmark, setting: Setting, result: Result, seconds: float) -> dict[str, Any]:
    ratio = statistics.median(result.ratios)
    return {
        "name": benchmark.name,
        "question": benchmark.question,
        "ratio": ratio,
        "interval": list(interval(result.ratios)),
        "goal": str(benchmark.goal),
        "met": benchmark.goal.met_by(ratio),
        "table": [dict(row) for row in result.table],
        **result.more,
        "machine": _machine(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "date": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "quick": setting.quick,
    }


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    """The model's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _for_people(document: Mapping[str, Any]) -> list[str]:
    low, high = document["interval"]
    verdict = "met" if document["met"] else "missed"
    return [
        document["question"],
        *_aligned(document["table"]),
        f"ratio {document['ratio']:.2f} [{low:.2f}, {high:.2f}], goal {document['goal']}: {verdict}",
    ]


def _aligned(table: Sequence[Row]) -> list[str]:
    """The rows under their keys, in columns."""
    cells = [list(table[0]), *([_cell(value) for value in row.values()] for row in table)] if table else []
    widths = [max(len(line[column]) for line in cells) for column in range(len(table[0]))] if table else []
    return ["  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in cells]


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
