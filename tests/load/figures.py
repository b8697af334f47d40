"""What was seen, in figures: answers by what was asked for, memory by the share of trials that had ended."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tests.load.observing import Answer, Sample, Watch

GOAL_S = 1.0
MARKS = (0.2, 0.4, 0.6, 0.8, 1.0)
"""Shares of the trials at which memory is told."""
MIB = 2**20


def answers_table(watch: Watch) -> list[dict[str, Any]]:
    """A row for each thing that was asked for."""
    return [_answers(name, answers) for name, answers in watch.answers.items() if answers]


def _answers(name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    times = sorted(one.took_s for one in answers)
    slow = [one.at_s for one in answers if one.took_s > GOAL_S]
    return {
        "what": name,
        "answers": len(times),
        "median_s": round(statistics.median(times), 4),
        "p99_s": round(times[min(len(times) - 1, int(0.99 * len(times)))], 4),
        "slowest_s": round(times[-1], 4),
        "above_goal": len(slow),
        "above_goal_at_s": [round(at_s) for at_s in slow[:20]],
        "wrong": sum(bool(one.problem) for one in answers),
    }


def memory_table(watch: Watch, drivers: Sequence[str]) -> dict[str, Any]:
    """Of the service and of the drivers, in MiB."""
    mine = {name: watch.memory[name] for name in drivers if name in watch.memory}
    one = next(iter(mine.values())) if len(mine) == 1 else None
    return {
        "service": _growth(watch.memory["service"]),
        "driver": _growth(one) if one else _of_many(list(mine.values())),
    }


def _growth(samples: Sequence[Sample]) -> dict[str, Any]:
    """Resident memory while trials ran, and the most of all."""
    training = [one for one in samples if one.share < 1.0]
    last = training[-1] if training else samples[-1]
    at = {
        f"at_{mark:.0%}": _mib(next((one.rss for one in training if one.share >= mark), last.rss))
        for mark in MARKS
    }
    half = [one for one in training if one.share >= MARKS[-1] / 2]
    shares = [one.share for one in half]
    slope = (
        statistics.linear_regression(shares, [one.rss for one in half]).slope if len(set(shares)) > 1 else 0.0
    )
    return {
        "rss_mib": {"first": _mib(samples[0].rss), **at, "most": _mib(max(one.rss for one in samples))},
        "uss_mib": {"at_20%": _mib(_at(training, 0.2)), "at_100%": _mib(last.uss)},
        "rss_grown_over_second_half_mib": _mib(slope / 2),
    }


def _at(training: Sequence[Sample], share: float) -> int:
    return next((one.uss for one in training if one.share >= share), 0)


def _of_many(drivers: Sequence[Sequence[Sample]]) -> dict[str, Any]:
    """Of drivers that share the pages of the process that they were forked from."""
    together: dict[int, int] = defaultdict(int)
    for samples in drivers:
        for place, one in {round(one.at_s / 10): one for one in samples}.items():
            together[place] += one.pss
    spans = [
        (half[0].rss, half[-1].rss)
        for samples in drivers
        if len(half := [one for one in samples if 0.5 <= one.share < 1.0]) > 1
    ]
    return {
        "largest_rss_mib": _mib(max(one.rss for samples in drivers for one in samples)),
        "all_together_pss_mib": _mib(max(together.values())),
        "rss_grown_over_second_half_mib": {
            "median": _mib(statistics.median(after - before for before, after in spans)) if spans else None,
            "most": _mib(max(after - before for before, after in spans)) if spans else None,
        },
    }


def _mib(number: float) -> float:
    return round(number / MIB, 1)
