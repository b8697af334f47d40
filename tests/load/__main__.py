"""`python -m tests.load`: the two kinds of load at full size; one JSON document on stdout, progress on stderr."""

import argparse
import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tests.faults.quick_folder import quick_folder
from tests.load.scenarios import (
    LARGE,
    MANY,
    SMALL_LARGE,
    SMALL_MANY,
    many_at_once,
    one_large,
)
from tests.load.world import World, load_world

Scenario = Callable[[World], dict[str, Any]]
RESULTS = Path(__file__).with_name("results.json")
_VERSIONS = ("trialwright", "mlflow", "sqlalchemy", "psycopg", "uvicorn", "fastapi")


def main() -> int:
    """Run what was asked for; 0 where nothing was lost and every answer was right."""
    asked = _asked()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended
    began = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:5.0f} s  {text}\n")
        sys.stderr.flush()

    large, many = (SMALL_LARGE, SMALL_MANY) if asked.quick else (LARGE, replace(MANY, studies=asked.studies))
    scenarios: Mapping[str, Scenario] = {
        "large": partial(one_large, load=large, say=say),
        "many": partial(many_at_once, load=many, say=say),
    }
    chosen = [asked.only] if asked.only else list(scenarios)
    results: dict[str, Any] = {}
    for name in chosen:
        began_here = time.monotonic()
        found = _in_a_world(scenarios[name])
        results[name] = found | _surroundings(time.monotonic() - began_here)
        if asked.save:
            _save(results)
    sys.stdout.write(json.dumps(results, indent=1) + "\n")
    return int(not all(one["held"] for one in results.values()))


def _save(results: Mapping[str, Any]) -> None:
    """Put results in place of earlier ones of their kinds."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**kept, **results}, indent=1) + "\n", encoding="utf-8")


def _in_a_world(run: Scenario) -> dict[str, Any]:
    """Servers of its own for each kind of load."""
    with quick_folder("load") as folder, load_world(folder) as world:
        return run(world)


def _surroundings(seconds: float) -> dict[str, Any]:
    return {
        "command": " ".join(["python -m tests.load", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "machine": {
            "processor": _processor(),
            "cores": psutil.cpu_count(logical=False),
            "threads": psutil.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30),
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _VERSIONS},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--only", choices=["large", "many"], help="one of the two")
    parser.add_argument("--studies", type=int, default=MANY.studies, help="how many at once")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose figures mean nothing")
    parser.add_argument(
        "--save", action="store_true", help="keep the document in tests/load/results.json, too"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
