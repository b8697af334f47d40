"""The real command as a process of its own, on a study small enough to run many times."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from search_spaces.errors import SpecError, TrialwrightError
from study.ledger import Ledger
from tests.tiny import tiny_llama

STUDY = "tiny"
STUDY_FILE = """
name: tiny
seed: 2
base: {model: "path:base", dtype: float32}
task: {name: rows, path: rows.jsonl, prompt: "{text}:", answer: label, options: [good, bad],
       max_tokens: 32, train_rows: 40, select_rows: 16, report_rows: 16}
adapter: {target_modules: [q_proj, v_proj]}
training: {steps: 8, batch: 4, eval_every: 2, checkpoint_every: 2}
families: [sgd, gradamw]
spaces:
  all: {lr: {log: [1.0e-3, 1.0e+10]}, num_experts: [2, 4], rank: [2], top_k: [1, 2]}
phases:
  search: {trials: 6, reduction: 2, grace_steps: 2}
  sensitivity: {replicates: 1, points: 2, lr_slice: {step_decades: 2}, factor_slices: [num_experts]}
  confirmation: {seeds: 2}
resources: {packs: 1, lanes: 2}
"""
"""About thirty trials of a second or less; learning rates up to 1e10, so that some are stopped."""
_MARK = "TRIALWRIGHT_TEST_MARK"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a finished command left behind."""

    code: int
    out: str
    err: str
    wall_s: float


def make_place(folder: Path) -> Path:
    """A working folder with a tiny random Llama, labelled rows and a study file."""
    words = {"good": ("fine", "warm", "bright"), "bad": ("dull", "cold", "grim")}
    rows = [
        f'{{"text": "Item {number} is {words[label][number % 3]}", "label": "{label}"}}'
        for number in range(40)
        for label in words
    ]
    tiny_llama(folder / "base")
    (folder / "rows.jsonl").write_text("\n".join(rows))
    (folder / "study.yaml").write_text(STUDY_FILE)
    return folder


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background job has it, and its children
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Started:
    """A command under way, in a session of its own, with every process that it starts marked."""

    program: tuple[str, ...] = ("-m", "study.cli")
    """What Python runs."""

    def __init__(self, place: Path, *arguments: str, **environment: str) -> None:
        self._mark = uuid4().hex
        self._began = time.monotonic()
        self._folder = place / "logs"
        self._folder.mkdir(exist_ok=True)
        settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment, _MARK: self._mark}
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        with self._log("out").open("wb") as out, self._log("err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *self.program, *arguments],
                cwd=place,
                env=kept | settings,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """Every living process that carries the mark, the driver included."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def workers(self) -> list[psutil.Process]:
        """Ray's processes that work or are to, whatever at."""
        return [process for process in self.processes() if _title(process).startswith("ray::")]

    def packs(self) -> list[psutil.Process]:
        """Ray's processes that were made to train."""
        return [process for process in self.processes() if "ray::PackActor" in _title(process)]

    def clients(self) -> list[psutil.Process]:
        """Ray Tune's processes that have a trial trained at this moment."""
        return [process for process in self.processes() if "PackClient.train" in _title(process)]

    def interrupt(self) -> None:
        """Ctrl-C: the whole foreground group hears it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, timeout_s: float = 900.0) -> Ended:
        """Wait for its end."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the command did not end: {self._log('err').read_text()[-2000:]}")
        return Ended(
            code=code,
            out=self._log("out").read_text(),
            err=self._log("err").read_text(),
            wall_s=time.monotonic() - self._began,
        )

    def survivors(self, within_s: float = 120.0) -> list[str]:
        """What still runs of it after a while; empty as soon as nothing does."""
        give_up_at = time.monotonic() + within_s
        while (left := self.processes()) and time.monotonic() < give_up_at:
            time.sleep(0.2)
        return [_title(process) for process in left]

    def clean_up(self) -> None:
        """End every process of it, each by its own id."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def is_log(self, path: Path) -> bool:
        """Whether a file holds what this command said."""
        return path.stem == self._mark

    def _log(self, stream: str) -> Path:
        return self._folder / f"{self._mark}.{stream}"


def run(place: Path, *arguments: str, **environment: str) -> Ended:
    """Run a command to its end."""
    started = Started(place, *arguments, **environment)
    try:
        return started.wait()
    finally:
        started.clean_up()


def ledger_of(home: Path) -> Ledger:
    return Ledger.open(f"sqlite:///{home / 'ledger.db'}")


def wait_until(ready: Callable[[], Any], started: Started, timeout_s: float = 900.0) -> None:
    """Wait until something holds, as long as the command runs."""
    give_up_at = time.monotonic() + timeout_s
    while not ready():
        if started.process.poll() is not None or time.monotonic() > give_up_at:
            ended = started.process.poll()
            pytest.fail(f"waited in vain; the command's exit code is {ended}")
        time.sleep(0.3)


def num_ended(home: Path) -> int:
    """Trials that have ended, as the ledger says."""
    if not (home / "ledger.db").exists():
        return 0
    try:
        with ledger_of(home) as ledger:
            return sum(record.ending is not None for record in ledger.trials(STUDY))
    except (SpecError, TrialwrightError):
        return 0


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:100]
    except psutil.Error:
        return ""
