"""Runs under faults: one is a study, its seed and the faults that strike it; its log is a line of JSON."""

import json
import random
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.faults import LIGHT_FAULTS
from tests.faults.light import (
    NUM_STUDY_SEEDS,
    LightWorld,
    Twin,
    drive,
    problems,
    repeated_steps,
    seconds_lost,
)

if TYPE_CHECKING:
    from tests.faults.stack import StackWorld

STACK_STUDY_SEED = 1
TRAINING_SHARE = 0.7
"""Share of the strikes that fall while trials train."""
REAL_SHARE = 0.2
"""Share of the runs whose pack is the real one, on a tiny model."""


def one_run(world: LightWorld, names: Sequence[str], seed: int) -> dict[str, Any]:
    """Run a study once under some faults, and compare it with its twin.

    Args:
        world: the servers.
        names: of the faults.
        seed: everything that is random in the run derives from it.

    Returns:
        What the log keeps.
    """
    rng = random.Random(f"{seed} {' '.join(names)}")
    faults = [LIGHT_FAULTS[name] for name in names]
    is_real = rng.random() < REAL_SHARE or any(fault.needs_real for fault in faults)
    study_seed, dooms_trial = seed % NUM_STUDY_SEEDS, any(fault.dooms_trial for fault in faults)
    in_postgres = any(fault.needs_postgres for fault in faults) or rng.random() < 0.5
    twin = world.twin(study_seed, is_real=is_real, dooms_trial=dooms_trial)
    moments = [0.0 if fault.at_once else _moment(twin, rng) for fault in faults]
    record: dict[str, Any] = {
        "faults": list(names),
        "seed": seed,
        "tier": "light",
        "trainable": "tiny model" if is_real else "simulated",
        "ledger": "postgresql" if in_postgres else "sqlite",
        "struck_at_s": [round(moment, 2) for moment in moments],
        "twin_s": round(twin.wall_s, 2),
    }
    small = any(fault.needs_small_disk for fault in faults)
    with world.run(
        study_seed, in_postgres=in_postgres, is_real=is_real, small_disk=small, dooms_trial=dooms_trial
    ) as run:
        run.is_struck_twice = len(faults) > 1
        began = time.monotonic()
        run.launch()
        strikes = [
            _Strike(run, fault.strike, moment, random.Random(rng.random()))
            for fault, moment in zip(faults, moments, strict=True)
        ]
        drive(run, is_struck=lambda: not any(strike.is_alive() for strike in strikes))
        for strike in strikes:
            strike.join(120)
        wall_s = time.monotonic() - began
        found = [strike.failure for strike in strikes if strike.failure] + problems(run, twin)
        return record | {
            "held": not found,
            "problems": found,
            "launches": len(run.drivers),
            "wall_s": round(wall_s, 2),
            "steps_repeated": sum(repeated_steps(run).values()),
            "lost_s": round(seconds_lost(run), 3),
        }


def one_stack_run(world: "StackWorld", names: Sequence[str], seed: int) -> dict[str, Any]:
    """As `one_run`, on the whole stack."""
    from tests.faults.stack_faults import STACK_FAULTS

    rng = random.Random(f"{seed} {' '.join(names)}")
    keeps_adapters = "store-kill" not in names  # what stands in for the store has them in memory
    is_real = rng.random() < REAL_SHARE and keeps_adapters
    twin = world.twin(STACK_STUDY_SEED, is_real=is_real)
    moments = [_moment(twin, rng) for _ in names]
    with world.run(STACK_STUDY_SEED, is_real=is_real) as run:
        began = time.monotonic()
        run.launch()
        strikes = [
            _Strike(run, STACK_FAULTS[name], moment, random.Random(rng.random()))
            for name, moment in zip(names, moments, strict=True)
        ]
        drive(run, is_struck=lambda: not any(strike.is_alive() for strike in strikes))
        wall_s = time.monotonic() - began
        world.revive()
        found = [strike.failure for strike in strikes if strike.failure] + problems(run, twin)
        found += [f"left training: {process}" for process in world.training_left()]
        return {
            "faults": list(names),
            "seed": seed,
            "tier": "stack",
            "trainable": "tiny model" if is_real else "simulated",
            "ledger": "postgresql",
            "struck_at_s": [round(moment, 2) for moment in moments],
            "twin_s": round(twin.wall_s, 2),
            "held": not found,
            "problems": found,
            "launches": len(run.drivers),
            "wall_s": round(wall_s, 2),
            "steps_repeated": sum(repeated_steps(run).values()),
            "lost_s": round(seconds_lost(run), 3),
        }


def _moment(twin: Twin, rng: random.Random) -> float:
    """Seconds after the launch: mostly while the twin trained, else anywhere in its run."""
    first_s, last_s = twin.training_s
    if rng.random() < TRAINING_SHARE:
        return rng.uniform(0.9 * first_s, last_s)
    return rng.uniform(0.0, 0.95 * twin.wall_s)


class _Strike(threading.Thread):
    """Waits for its moment, strikes and mends."""

    def __init__(self, run: Any, strike: Any, moment_s: float, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.failure = ""
        self._do = lambda: (time.sleep(moment_s), strike(run, rng))
        self.start()

    def run(self) -> None:
        try:
            self._do()
        except Exception:  # noqa: BLE001 (told with the run)
            self.failure = traceback.format_exc()


def append(log: Path, record: dict[str, Any]) -> None:
    """Add a line."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
