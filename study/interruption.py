"""How a running study learns that it should end: a signal, `trialwright stop`, or a driver that took it over."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from search_spaces.errors import LedgerError, RetryableError
from study.ledger import Ledger, StudyState

POLL_S = 1.0
HEARTBEAT_S = 10.0


class Interruption:
    """Set once; the study then ends at the next report, resumable."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self._event = threading.Event()
        self.reason = ""
        self.final_state = StudyState.INTERRUPTED

    def __bool__(self) -> bool:
        """Whether the study should end."""
        return self._event.is_set()

    def set(self, reason: str, final_state: StudyState = StudyState.INTERRUPTED) -> None:
        """Ask for the end; the first reason counts."""
        if not self._event.is_set():
            self.reason, self.final_state = reason, final_state
            self._event.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set or the time is up; whether it is set."""
        return self._event.wait(timeout_s)


@contextmanager
def signals_to(interruption: Interruption) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end the study in order; a second one ends the process."""

    def handle(number: int, _frame: FrameType | None) -> None:
        if interruption:
            raise KeyboardInterrupt
        interruption.set(f"{signal.Signals(number).name} was received")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def watching(ledger: Ledger, study: str, owner: str, interruption: Interruption) -> Iterator[None]:
    """Show the ledger that this driver lives, and hear from it when the study is to stop."""
    over = threading.Event()

    def watch() -> None:
        since_heartbeat_s = HEARTBEAT_S
        while not over.wait(POLL_S):
            since_heartbeat_s += POLL_S
            try:
                if since_heartbeat_s >= HEARTBEAT_S:
                    ledger.heartbeat(study, owner)
                    since_heartbeat_s = 0.0
                if ledger.study(study).state is StudyState.STOPPED:
                    interruption.set("`trialwright stop` was called", StudyState.STOPPED)
            except RetryableError:
                continue  # what is written meanwhile is refused by the ledger itself, should the claim be lost
            except LedgerError as error:
                interruption.set(str(error))
                return

    thread = threading.Thread(target=watch, name=f"watch over {study}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
