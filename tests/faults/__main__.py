"""`python -m tests.faults`: strike studies at seeded random moments, and say which did not end as their twins."""

import argparse
import itertools
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.campaign import append, one_run, one_stack_run
from tests.faults.faults import LIGHT_FAULTS
from tests.faults.light import light_world
from tests.faults.quick_folder import quick_folder
from tests.faults.stack_faults import STACK_FAULTS

Once = Callable[[tuple[str, ...], int], dict[str, Any]]
"""Runs a study under some faults, with a seed."""


def main() -> int:
    """Run a campaign; 0 where everything held."""
    asked = _asked()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended
    known = STACK_FAULTS if asked.tier == "stack" else LIGHT_FAULTS
    names = _combinations(asked.fault, list(known))
    num_failed = 0
    with _world(asked.tier) as once:
        for number in range(asked.runs):
            seed = asked.seed + number
            record = _recorded(once, asked.tier, names[seed % len(names)], seed)
            append(asked.log, record)
            num_failed += not record["held"]
            _tell(number + 1, record)
    return int(num_failed > 0)


@contextmanager
def _world(tier: str) -> Iterator[Once]:
    """What all runs of a campaign share, up for the duration of a block."""
    if tier == "stack":
        from tests.faults.stack import stack_world

        with stack_world(lambda text: sys.stderr.write(f"{text}\n")) as stack:
            yield partial(one_stack_run, stack)
        return
    with quick_folder("faults") as folder, light_world(folder) as world:
        yield partial(one_run, world)


def _recorded(once: Once, tier: str, names: tuple[str, ...], seed: int) -> dict[str, Any]:
    """A run's record; a harness that fails is no run that held."""
    try:
        return once(names, seed)
    except Exception:  # noqa: BLE001 (told with the run)
        failed = {"faults": list(names), "seed": seed, "tier": tier, "held": False}
        return failed | {"problems": [traceback.format_exc()]}


def _tell(number: int, record: dict[str, Any]) -> None:
    faults = "+".join(record["faults"])
    figures = {name: record.get(name) for name in ("wall_s", "twin_s", "launches", "steps_repeated")}
    held = "held" if record["held"] else "FAILED"
    lines = [f"{number:4d} {time.strftime('%H:%M:%S')} {faults:32s} seed {record['seed']}: {held}, {figures}"]
    lines += [f"     {problem}" for problem in record["problems"][:12]]
    if not record["held"]:
        lines.append(f"     again: make faults RUNS=1 SEED={record['seed']} FAULT={faults}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _combinations(fault: str, known: list[str]) -> list[tuple[str, ...]]:
    """Which faults strike together: those that were named, each by itself, or every pair."""
    alone = [name for name in known if name != "none"]
    if fault == "singles":
        return [(name,) for name in alone]
    if fault == "pairs":
        pairs = list(itertools.combinations(alone, 2))
        random.Random(0).shuffle(pairs)  # so that few runs show many of the faults
        return pairs
    chosen = tuple(fault.split("+"))
    unknown = [name for name in chosen if name not in known]
    if unknown:
        sys.exit(f"Unknown fault {unknown[0]!r}. Known: {', '.join(known)}, or singles, or pairs.")
    return [chosen]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", default="singles", help="a name, several joined by +, singles, or pairs")
    parser.add_argument("--tier", choices=["light", "stack"], default="light", help="stack needs root")
    parser.add_argument("--log", type=Path, default=Path("faults.jsonl"), help="where a line a run is added")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
