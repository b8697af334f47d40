"""What is watched while studies run: how long answers take, and how much memory processes have."""

import itertools
import multiprocessing
import os
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from multiprocessing.connection import Connection

import psutil

PATHS: Mapping[str, str] = {
    "page: studies": "/",
    "page: a study": "/studies/{study}",
    "page: its first trials": "/studies/{study}/trials",
    "page: its last trials": "/studies/{study}/trials?page=1000000",
    "API: a study": "/api/v1/studies/{study}",
    "API: studies": "/api/v1/studies",
    "health": "/health/ready",
}
"""Each is asked for by a client of its own, so that none waits for another's answer."""
ASK_EVERY_S, STATUS_EVERY_S = 2.0, 15.0
_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer."""

    at_s: float
    """Seconds since the watch began."""
    took_s: float
    problem: str = ""
    """What was wrong with it; empty where nothing was."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Memory of one process at one moment, in bytes."""

    at_s: float
    """Seconds since the watch began."""
    share: float
    """Of the run's trials that have ended by then."""
    rss: int
    pss: int
    uss: int


@dataclass(eq=False)
class Watch:
    """All that was seen of a run."""

    began: float = field(default_factory=time.monotonic)
    share: float = 0.0
    """Of the run's trials that have ended; whoever follows the run says so."""
    studies: Sequence[str] = ()
    """That are there; said as well, and asked for in turn."""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    """By what was asked for."""
    memory: dict[str, list[Sample]] = field(default_factory=dict)
    """By the process's name."""

    @property
    def at_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What clients need to ask."""

    url: str
    """Of the service."""
    token: str
    """Of a reader."""
    commands: Mapping[str, Sequence[str]]
    """That tell a study's status at a terminal, by the names of their answers; the study's name is added."""
    environment: Mapping[str, str]
    """Variables that it has besides."""
    entered_by: Sequence[str] = ()
    """A command that enters a container and runs the one that follows it."""


@contextmanager
def asking(watch: Watch, asked: Asked) -> Iterator[None]:
    """Ask for every path, and at one terminal for the status, again and again for the duration of a block.

    The clients are threads of a process and a session of their own: what else a test does slows no client.

    Args:
        watch: takes the answers at the end of the block; it tells which studies are there.
        asked: what is asked for, and where.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    clients = context.Process(target=_clients, args=(theirs, watch.began, asked), daemon=True)
    clients.start()
    theirs.close()
    try:
        with _repeating(lambda: ours.send(watch.studies), 0.5):
            yield
        ours.send(None)
        watch.answers = ours.recv()
    finally:
        clients.terminate()
        clients.join()


def _clients(pipe: Connection, began: float, asked: Asked) -> None:
    """The clients' process: asks about the studies that it was told of last, until it is told of none any more."""
    os.setsid()
    watch = Watch(began=began)

    def ask(path: str) -> Callable[[str], None]:
        return lambda study: _ask(f"{asked.url}{path.format(study=study)}", asked.token)

    def run(command: Sequence[str]) -> Callable[[str], None]:
        def once(study: str) -> None:
            environment = os.environ | asked.environment
            entered = [*asked.entered_by, *command, study]
            subprocess.run(entered, env=environment, check=True, capture_output=True, start_new_session=True)

        return once

    with ExitStack() as stack:
        for name, path in PATHS.items():
            stack.enter_context(_repeating(_asked(watch, name, ask(path)), ASK_EVERY_S))
        commands = [_asked(watch, name, run(command)) for name, command in asked.commands.items()]
        stack.enter_context(_repeating(_in_turn(commands), STATUS_EVERY_S / len(commands)))
        while (studies := pipe.recv()) is not None:
            watch.studies = studies
    pipe.send(watch.answers)


@contextmanager
def sampling(watch: Watch, processes: Callable[[], Mapping[str, int]], every_s: float) -> Iterator[None]:
    """Note the memory of some processes, by their ids, for the duration of a block."""

    def sample() -> None:
        for name, pid in processes().items():
            with suppress(psutil.Error):
                found = psutil.Process(pid).memory_full_info()
                watch.memory.setdefault(name, []).append(
                    Sample(at_s=watch.at_s, share=watch.share, rss=found.rss, pss=found.pss, uss=found.uss)
                )

    with _repeating(sample, every_s):
        yield


def _asked(watch: Watch, name: str, call: Callable[[str], None]) -> Callable[[], None]:
    turns, answers = itertools.count(), watch.answers.setdefault(name, [])

    def once() -> None:
        if not watch.studies:
            return
        at_s, problem = watch.at_s, ""
        try:
            call(watch.studies[next(turns) % len(watch.studies)])
        except Exception as error:  # noqa: BLE001 (an answer that did not come is what is looked for)
            problem = f"{type(error).__name__}: {error}"
        answers.append(Answer(at_s=at_s, took_s=watch.at_s - at_s, problem=problem))

    return once


def _in_turn(calls: Sequence[Callable[[], None]]) -> Callable[[], None]:
    """A call of the next one each time."""
    turns = itertools.cycle(calls)

    def once() -> None:
        next(turns)()

    return once


def _ask(url: str, token: str) -> None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 (ours)
    with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310 (our own server)
        answer.read()
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"{url} answered {answer.status}")


@contextmanager
def _repeating(call: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call something again and again in a thread of its own, for the duration of a block."""
    over = threading.Event()

    def repeat() -> None:
        call()
        while not over.wait(every_s):
            call()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
