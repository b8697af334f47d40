"""What is watched while studies run: how long answers take, and how much memory processes have."""

import itertools
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

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
STATUS = "trialwright status"
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


@contextmanager
def asking(watch: Watch, url: str, token: str, status: Callable[[str], float]) -> Iterator[None]:
    """Ask for every path, and for the status at a terminal, again and again for the duration of a block.

    Args:
        watch: takes the answers.
        url: of the service.
        token: of a reader.
        status: asks for a study's status at a terminal; seconds that it took.
    """

    def ask(path: str) -> Callable[[str], float]:
        return lambda study: _seconds_of(f"{url}{path.format(study=study)}", token)

    asked = {name: (ask(path), ASK_EVERY_S) for name, path in PATHS.items()}
    asked |= {STATUS: (status, STATUS_EVERY_S)}
    with ExitStack() as stack:
        for name, (call, every_s) in asked.items():
            answers = watch.answers.setdefault(name, [])
            stack.enter_context(_repeating(_asked(watch, answers, call), every_s))
        yield


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


def _asked(watch: Watch, answers: list[Answer], call: Callable[[str], float]) -> Callable[[], None]:
    turns = itertools.count()

    def once() -> None:
        if not watch.studies:
            return
        at_s, problem, took_s = watch.at_s, "", 0.0
        try:
            took_s = call(watch.studies[next(turns) % len(watch.studies)])
        except Exception as error:  # noqa: BLE001 (an answer that did not come is what is looked for)
            problem, took_s = f"{type(error).__name__}: {error}", watch.at_s - at_s
        answers.append(Answer(at_s=at_s, took_s=took_s, problem=problem))

    return once


def _seconds_of(url: str, token: str) -> float:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 (ours)
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310 (our own server)
        answer.read()
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"{url} answered {answer.status}")
    return time.perf_counter() - began


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
