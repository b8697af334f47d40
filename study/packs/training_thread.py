"""The thread that trains a pack: it seats trials, advances them together and lets them leave, between joint steps.

Everything that touches torch happens in this one thread. Callers in other threads leave a request and wait for it.
A pack advances while every report of the trials in its lanes has been fetched, so that a trial is never further
than one report ahead of what its client has been told.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from search_spaces.errors import RetryableError
from study.packs.failures import LaneFailedError, PackFailedError, in_a_line
from trainers.reports import Report

if TYPE_CHECKING:
    from trainers.pack import Pack
    from trainers.trial_setup import TrialSetup
    from trainers.workbench import Workbench

MOST_SILENT_S = 120.0
"""How long a report may wait for its client before the trial is put out of its lane. The driver, which hears of a
dead client, is quicker; this is for a driver that is cut off."""
GATHER_S = 3.0
"""How long the first joint step waits for further trials after each that takes a lane: clients start one by one, and
trials that begin together are measured together."""
_LOOK_EVERY_S = 1.0
Result = TypeVar("Result")


class State(StrEnum):
    """How far a pack is."""

    LOADING = "loading"
    READY = "ready"
    """It does what was asked for: the base is loaded and, once their number is known, the lanes are made."""
    FAILED = "failed"


@dataclass(kw_only=True, eq=False)
class _Seat:
    """One trial's stay in the pack."""

    ticket: str
    polled_at: float
    reports: list[Report] = field(default_factory=list)
    num_fetched: int = 0
    failure: Exception | None = None

    @property
    def is_over(self) -> bool:
        return bool(self.reports) and self.reports[-1].ending is not None


class TrainingThread:
    """A pack and its only thread. Every method may be called from any other thread."""

    def __init__(self, open_bench: Callable[[], "Workbench"]) -> None:
        """Start the thread; it begins by loading the base.

        Args:
            open_bench: loads base and text, within the thread.
        """
        self._open_bench = open_bench
        self._bench: Workbench | None = None
        self._pack: Pack | None = None
        self._num_lanes: int | None = None
        self._prepare: Callable[[], None] = lambda: None
        self._failure = ""
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._waiting: deque[tuple[_Seat, Callable[[], TrialSetup]]] = deque()
        self._seats: dict[str, _Seat] = {}
        self._by_lane: dict[int, _Seat] = {}
        """Only the thread itself reads and writes it."""
        self._left: set[str] = set()
        self._has_advanced = False
        self._seated_at = 0.0
        self._changed = threading.Condition()
        threading.Thread(target=self._live, name="training", daemon=True).start()

    @property
    def failure(self) -> str:
        """What ended the thread, in a line; empty while it lives."""
        return self._failure

    @property
    def state(self) -> State:
        """How far it is."""
        with self._changed:
            if self._failure:
                return State.FAILED
            is_made = self._bench is not None and (self._num_lanes is None or self._pack is not None)
            return State.READY if is_made else State.LOADING

    def set_lanes(self, lanes: int, prepare: Callable[[], None] = lambda: None) -> None:
        """Have the pack made with so many lanes, and something done in the thread before; once made it stays."""
        with self._changed:
            self._num_lanes, self._prepare = lanes, prepare
            self._changed.notify_all()

    def run(self, job: Callable[["Workbench"], Result]) -> Result:
        """Do something with the base in the thread, between joint steps.

        Raises:
            PackFailedError: the thread has ended.
        """
        return self._do(lambda: job(self._loaded()))

    def seat(self, ticket: str, setup: Callable[[], "TrialSetup"]) -> None:
        """Have a trial seated as soon as a lane is free; returns at once.

        Args:
            ticket: names this stay; never used before.
            setup: builds the trial's setup, within the thread.

        Raises:
            PackFailedError: the thread has ended.
            RetryableError: the trial was told to leave before it came.
        """
        with self._changed:
            self._refuse_when_over()
            if ticket in self._left or ticket in self._seats:
                raise RetryableError("The trial has left this pack.")
            seat = self._seats[ticket] = _Seat(ticket=ticket, polled_at=time.monotonic())
            self._waiting.append((seat, setup))
            self._changed.notify_all()

    def next(self, ticket: str, num_sent: int, timeout_s: float) -> dict[str, Any]:
        """What a trial has reported since.

        Args:
            ticket: of its stay.
            num_sent: how many of its reports its client has.
            timeout_s: how long to wait for one more.

        Returns:
            `first_report`, `reports` and `done`; nothing when the time was up.

        Raises:
            LaneFailedError: the trial failed, or could not be seated.
            PackFailedError: the pack failed while several trained.
            RetryableError: the trial is not in this pack any more.
        """
        with self._changed:
            seat = self._seat_of(ticket)
            self._changed.wait_for(
                lambda: len(seat.reports) > num_sent or seat.failure or ticket in self._left, timeout_s
            )
            self._seat_of(ticket)
            if len(seat.reports) > num_sent:
                seat.num_fetched = len(seat.reports)
                self._changed.notify_all()
                return {
                    "first_report": num_sent,
                    "reports": [report.to_json() for report in seat.reports[num_sent:]],
                    "done": seat.is_over,
                }
            if seat.failure is not None:
                raise seat.failure
            return {}

    def leave(self, ticket: str) -> None:
        """Free a trial's lane, if it has one; returns once it is free. Repeated, or for no one, it does nothing."""
        with self._changed:
            seat = self._put_out(ticket)
            if seat is None or self._failure:
                return
        self._do(lambda: self._free(seat))

    def _seat_of(self, ticket: str) -> _Seat:
        seat = self._seats.get(ticket)
        if seat is None:
            raise RetryableError("The trial is not in this pack any more.")
        seat.polled_at = time.monotonic()
        return seat

    def _put_out(self, ticket: str) -> _Seat | None:
        self._left.add(ticket)
        self._changed.notify_all()
        return self._seats.pop(ticket, None)

    def _refuse_when_over(self) -> None:
        if self._failure:
            raise PackFailedError(self._failure)

    def _do(self, job: Callable[[], Result]) -> Result:
        done: Future[Result] = Future()
        with self._changed:
            self._refuse_when_over()
            self._jobs.append((job, done))
            self._changed.notify_all()
        return done.result()

    # In the thread from here on.

    def _live(self) -> None:
        try:
            bench = self._open_bench()
            with self._changed:
                self._bench = bench
            while True:
                self._turn()
        except Exception as error:
            logging.getLogger(__name__).exception("A pack ends.")
            self._end(error)

    def _turn(self) -> None:
        with self._changed:
            self._changed.wait_for(self._has_work, _LOOK_EVERY_S)
            self._drop_silent()
            jobs = [self._jobs.popleft() for _ in range(len(self._jobs))]
        for job, done in jobs:
            _settle(done, job)
        if self._pack is None and self._num_lanes is not None:
            self._make_pack(self._num_lanes)
        while (seating := self._next_to_seat()) is not None:
            self._take_in(*seating)
        if self._may_advance():
            self._advance()

    def _has_work(self) -> bool:
        is_made = self._num_lanes is None or self._pack is not None
        can_seat = bool(self._waiting) and self._pack is not None and bool(self._pack.free_lanes)
        return bool(self._jobs) or not is_made or can_seat or self._may_advance()

    def _may_advance(self) -> bool:
        seated = self._by_lane.values()
        is_heard = all(seat.num_fetched == len(seat.reports) for seat in seated)
        return bool(seated) and is_heard and self._is_gathered()

    def _is_gathered(self) -> bool:
        """Whether the first joint step need not wait for further trials."""
        if not self._has_advanced and self._lanes().free_lanes:
            self._has_advanced = time.monotonic() - self._seated_at > GATHER_S
            return self._has_advanced
        return True

    def _loaded(self) -> "Workbench":
        if self._bench is None:
            raise RuntimeError("The base is not loaded yet.")
        return self._bench

    def _lanes(self) -> "Pack":
        if self._pack is None:
            raise RuntimeError("The pack has no lanes yet.")
        return self._pack

    def _make_pack(self, lanes: int) -> None:
        from trainers.pack import Pack

        self._prepare()
        pack = Pack(self._loaded(), lanes)
        with self._changed:
            self._pack = pack

    def _drop_silent(self) -> None:
        """Put out the trials whose clients do not fetch what waits for them."""
        now = time.monotonic()
        for seat in self._by_lane.values():
            if seat.num_fetched < len(seat.reports) and now - seat.polled_at > MOST_SILENT_S:
                self._put_out(seat.ticket)
                self._jobs.append((partial(self._free, seat), Future()))

    def _next_to_seat(self) -> tuple[_Seat, Callable[[], "TrialSetup"]] | None:
        with self._changed:
            if self._pack is None or not self._pack.free_lanes or not self._waiting:
                return None
            return self._waiting.popleft()

    def _take_in(self, seat: _Seat, setup: Callable[[], "TrialSetup"]) -> None:
        if seat.ticket in self._left:
            return
        pack = self._lanes()
        try:
            lane = pack.seat(setup())
        except Exception as error:
            logging.getLogger(__name__).exception("A trial cannot be seated.")
            with self._changed:
                seat.failure = LaneFailedError(in_a_line(error))
                self._changed.notify_all()
            return
        self._by_lane[lane] = seat
        self._seated_at = time.monotonic()
        with self._changed:
            seat.reports = list(pack.reports(lane))
            self._changed.notify_all()
        if seat.is_over:
            self._free(seat)

    def _free(self, seat: _Seat) -> None:
        for lane in [lane for lane, other in self._by_lane.items() if other is seat]:
            del self._by_lane[lane]
            self._lanes().stop(lane)

    def _advance(self) -> None:
        self._has_advanced = True
        for said in self._lanes().advance():
            seat = self._by_lane[said.lane]
            with self._changed:
                if said.report is not None:
                    seat.reports.append(said.report)
                if said.failure is not None:
                    seat.failure = LaneFailedError(in_a_line(said.failure))
                self._changed.notify_all()
            if seat.is_over or seat.failure is not None:
                del self._by_lane[said.lane]  # the pack has freed it

    def _end(self, error: Exception) -> None:
        """Tell everyone who waits; who failed is known where one trained alone."""
        line = in_a_line(error)
        with self._changed:
            self._failure = line
            kind = LaneFailedError if len(self._by_lane) == 1 else PackFailedError
            for seat in self._by_lane.values():
                seat.failure = kind(line)
            for seat, _ in self._waiting:
                seat.failure = RetryableError("The pack failed before the trial was seated.")
            for _, done in self._jobs:
                done.set_exception(PackFailedError(line))
            self._changed.notify_all()


def _settle(done: "Future[Result]", job: Callable[[], Result]) -> None:
    """Do a job and hand over what it came to."""
    try:
        done.set_result(job())
    except Exception as error:  # noqa: BLE001 (raised again where it is awaited)
        done.set_exception(error)
