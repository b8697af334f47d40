"""Drivers as processes that are forked from one which has imported everything: a launch begins within milliseconds."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from tests.faults.launched import Launched

_IMPORTED = (
    "tests.faults.session",
    "tests.faults.clock",
    "tests.faults.light_driver",
    "tests.faults.trainable",
    "study.claimed",
    "study.cli_launch",
    "study.report.writers",
    "study.runner",
    "study.snapshot",
    "study.tracking.store",
    "study.packs.opening",
    "trainers.pack",
    "mlflow.tracking.client",
    "transformers.models.llama.modeling_llama",
)
_ONE_AT_A_TIME = threading.Lock()
"""Starting a process looks after all others, too; of two threads that do so at once, one gets no exit code."""
_SETTINGS = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@cache
def _forking() -> Any:
    """The process that has imported everything; its settings are no others' business."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    before = dict(os.environ)
    os.environ.update(_SETTINGS)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def warm_up() -> None:
    """Have everything imported, if it is not yet."""
    process = _forking().Process(target=int)
    process.start()
    process.join()


class LightDriver(Launched):
    """One launch, in a process group of its own; all share a session."""

    def __init__(self, place: Path, logs: Path, arguments: list[str], environment: Mapping[str, str]) -> None:
        """Start it.

        Args:
            place: where it stands.
            logs: folder for what it says.
            arguments: of the command `trialwright`.
            environment: variables that it has besides.
        """
        super().__init__(*(logs / f"{uuid4().hex}.{stream}" for stream in ("out", "err")))
        told = (arguments, str(place), dict(environment), str(self._out), str(self._err))
        self._process = _forking().Process(target=_run, args=told)
        with _ONE_AT_A_TIME:
            self._process.start()
        self.pid: int = self._process.pid
        threading.Thread(target=self._follow, daemon=True).start()

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.send(signal.SIGKILL)
        self._over.wait(30)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it is there."""
        if not self.is_over:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def survivors(self) -> list[str]:
        """What still runs in its group."""
        return [" ".join(one.cmdline())[:100] for one in self._group()]

    def clean_up(self) -> None:
        """End whatever is left of it."""
        for process in self._group():
            with suppress(psutil.Error):
                process.kill()

    def _group(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getpgid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _follow(self) -> None:
        connection.wait([self._process.sentinel])
        with _ONE_AT_A_TIME:
            self._process.join()
        self._end(self._process.exitcode)


def _run(arguments: list[str], place: str, environment: Mapping[str, str], out: str, err: str) -> None:
    """In the forked process: become the command."""
    os.setpgid(0, 0)
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    os.environ.update(environment)
    os.chdir(place)
    sys.argv = ["trialwright", *arguments]
    from tests.faults.light_driver import main

    main()
