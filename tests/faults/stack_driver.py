"""Drivers beside Ray's head: the command `trialwright` on a Ray cluster whose packs are simulated; all else is real.

`python -m tests.faults.stack_driver SOCKET` imports everything once and listens there. Whoever connects says in a line
of JSON what to run, and is told the exit code; a launch is a fork of this process, and so begins within milliseconds.
"""

import importlib
import json
import os
import socketserver
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.faults.light_driver import FORMATS, REAL
from tests.faults.trainable import STEP_S, STEPS_FILE

_IMPORTED = (
    "mlflow.tracking.client",
    "ray.tune",
    "study.claimed",
    "study.cli_launch",
    "study.nodes",
    "study.packs.tuning",
    "study.report.writers",
    "study.runner",
    "study.snapshot",
    "study.tracking.store",
    "tests.faults.stack_actor",
)


class Launch(socketserver.StreamRequestHandler):
    """One launch, in a process of its own."""

    def handle(self) -> None:
        """Become the command, and say how it ended."""
        asked = json.loads(self.rfile.readline())
        self.request.sendmsg([b"\n"])  # with which the kernel tells our process id
        os.setsid()
        for path, descriptor in ((asked["out"], 1), (asked["err"], 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
        os.environ.update(asked["environment"])
        self.wfile.write(f"{_run(asked['command'])}\n".encode())


def _run(arguments: list[str]) -> int:
    """Run the command; its exit code."""
    sys.argv = ["trialwright", *arguments]
    _simulate_packs()
    from study.cli import main

    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001 (as the interpreter would)
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _simulate_packs() -> None:
    from study import runner
    from study.engine import Engine
    from study.packs import actor
    from tests.faults.stack_actor import SimulatedActor

    runner.report_study.__defaults__ = (FORMATS,)
    if REAL in os.environ:
        return
    constants = Engine._pack_constants

    def told(engine: Engine, packs: Any) -> dict[str, Any]:
        """With where a pack notes its steps: a worker has no variables of one study's."""
        settings = {name: os.environ[name] for name in (STEP_S, STEPS_FILE)}
        return constants(engine, packs) | {"faults": settings}

    Engine._pack_constants = told
    actor.PackActor = SimulatedActor


class Drivers(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Forks a launch for everyone who asks."""


if __name__ == "__main__":
    for name in _IMPORTED:
        importlib.import_module(name)
    place = Path(sys.argv[1])
    place.unlink(missing_ok=True)
    with Drivers(str(place), Launch) as drivers:
        drivers.serve_forever()
