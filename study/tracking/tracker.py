"""The background thread that keeps the tracking server abreast of the ledger.

The ledger is the spool: the study writes there and never waits for MLflow. An outage is waited out with
growing pauses, and never raises into the study.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from search_spaces.errors import ClaimLostError, RetryableError
from study.ledger import Ledger, RunKind
from study.tracking.address import prepare_environment, reason, redact
from study.tracking.shipping import Backlog, Shipper
from study.tracking.store import TrackingStore, UnansweredError

_LOOK_EVERY_S = 15.0
"""Longest time in seconds between two looks into the ledger, told of a change or not."""
_LOOK_SHARE = 0.05
"""Largest share of one core's time that looking into the ledger takes from the driver: a large study is looked at
less often."""
LATE_S = 60.0
"""How long a store may still work on a call that it gave no answer to."""
_TELL_EVERY_S = 20.0
"""Between two words on how far a long flush is."""
_log = logging.getLogger(__name__)


class Tracker:
    """Ships one study to one MLflow store while it runs. Its methods are safe from any thread."""

    def __init__(
        self,
        *,
        ledger_url: str,
        study: str,
        tracking_uri: str,
        artifacts_dir: Path,
        adapters_dir: Path | None = None,
        bring_adapter: Callable[[str], object] = lambda _: None,
        owner: str | None = None,
        interval_s: float = 2.0,
        max_pause_s: float = 60.0,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            ledger_url: the ledger, which the thread opens for itself.
            study: name of a study there.
            tracking_uri: the MLflow store.
            artifacts_dir: where a store without a server of its own keeps artifacts.
            adapters_dir: where confirmed trials leave their adapters; None: none are attached.
            bring_adapter: called with a trial's key before its adapter is looked for there.
            owner: of the claim under which the ledger is written to; None: whoever holds it.
            interval_s: shortest time in seconds between two passes.
            max_pause_s: longest time in seconds between two tries while the store is away.
        """
        prepare_environment()
        self._ledger_url = ledger_url
        self._study = study
        self._owner = owner
        self._uri = tracking_uri
        self._artifacts_dir = artifacts_dir
        self._adapters_dir = adapters_dir
        self._bring_adapter = bring_adapter
        self._interval_s = interval_s
        self._max_pause_s = max_pause_s
        self._state = threading.Condition()
        self._notified = True
        self._asked = 0
        self._served = 0
        self._closing = False
        self._failures = 0
        self._look_s = 0.0
        self._pass_s = 0.0
        self._arrived_at = 0.0
        self._num_left = 0
        self._late_until = 0.0
        self._backlog = Backlog(num_runs=0, problem="nothing was shipped yet")
        self._thread = threading.Thread(target=self._run, name=f"tracker of {study}", daemon=True)

    def start(self) -> None:
        """Begin shipping, in a thread of its own."""
        self._thread.start()

    def notify(self) -> None:
        """Say that the ledger has changed; returns at once."""
        with self._state:
            self._notified = True
            self._state.notify_all()

    def attach_artifacts(self, folder: Path) -> None:
        """Have a folder attached to the study's run, and its `figures` to the families' too.

        The wish is kept in the ledger, so that it is fulfilled after an outage, and once more whenever the
        folder's files change.
        """
        with self._open_ledger() as ledger:
            ledger.intend_run(self._study, redact(self._uri), RunKind.ARTIFACTS, str(folder.absolute()))
        self.notify()

    def backlog(self) -> Backlog:
        """What had not arrived after the newest pass."""
        with self._state:
            return self._backlog

    def flush(self, timeout_s: float, tell: Callable[[int], object] = lambda _: None) -> Backlog:
        """Wait until what the ledger holds now has arrived; what had not when nothing more came.

        Args:
            timeout_s: longest wait in seconds for the next thing to arrive.
            tell: called now and then while things arrive, with the most runs that are still to come.
        """
        began = told_at = time.monotonic()
        with self._state:
            self._asked += 1
            mine, self._failures = self._asked, 0
            self._state.notify_all()
            while self._served < mine and self._thread.is_alive():
                now = time.monotonic()
                left = max(began, self._arrived_at) + timeout_s - now
                if left <= 0:
                    break
                if self._arrived_at > told_at and now >= told_at + _TELL_EVERY_S:
                    told_at = now
                    tell(self._num_left)
                self._state.wait(min(left, _TELL_EVERY_S))
            return self._backlog

    def close(self, timeout_s: float, tell: Callable[[int], object] = lambda _: None) -> Backlog:
        """Flush, then end the thread; a call that hangs is left behind. Safe to call twice.

        Where a call got no answer a short while ago, a last look for runs that it has made nevertheless comes after it.
        """
        backlog = self.flush(timeout_s, tell)
        late_s = self._late_until - time.monotonic()
        if backlog.is_empty and late_s > 0 and timeout_s > 0:
            tell(0)
            time.sleep(late_s)
            backlog = self.flush(timeout_s, tell)
        with self._state:
            self._closing = True
            self._state.notify_all()
        if self._thread.is_alive():
            self._thread.join(min(timeout_s, 5.0))
        return backlog

    def _run(self) -> None:
        store: TrackingStore | None = None
        ledger: Ledger | None = None
        while self._wait_for_work():
            with self._state:
                asked, self._notified = self._asked, False
            began = time.monotonic()
            try:
                ledger = ledger or self._open_ledger()
                shipper = Shipper(
                    ledger=ledger,
                    study=self._study,
                    label=redact(self._uri),
                    adapters_dir=self._adapters_dir,
                    bring_adapter=self._bring_adapter,
                    on_arrival=self._note_arrival,
                )
                verify = store is None
                try:
                    store = store or TrackingStore(self._uri, self._artifacts_dir)
                    backlog = shipper.ship(store, verify=verify)
                    store = None if backlog.problem else store
                except RetryableError as error:
                    if isinstance(error, UnansweredError):
                        self._late_until = time.monotonic() + LATE_S
                    store = None
                    backlog = Backlog(num_runs=shipper.pending(), problem=str(error))
                self._look_s = shipper.look_s
            except ClaimLostError as error:
                self._end(str(error))
                break
            except Exception as error:  # noqa: BLE001 (tracking never ends, nor harms, a study)
                store = None
                backlog = Backlog(num_runs=self._backlog.num_runs, problem=reason(error, self._uri))
            self._pass_s = time.monotonic() - began
            self._conclude(backlog, asked)
        if ledger is not None:
            ledger.close()

    def _note_arrival(self, num_left: int) -> None:
        self._arrived_at, self._num_left = time.monotonic(), num_left

    def _open_ledger(self) -> Ledger:
        ledger = Ledger.open(self._ledger_url)
        return ledger if self._owner is None else ledger.held_by(self._owner)

    def _end(self, problem: str) -> None:
        """Ship nothing any more."""
        with self._state:
            self._closing = True
            self._backlog = Backlog(num_runs=self._backlog.num_runs, problem=problem)
            self._state.notify_all()

    def _conclude(self, backlog: Backlog, asked: int) -> None:
        with self._state:
            if backlog.problem and backlog.problem != self._backlog.problem:
                _log.warning("%s is behind: %s", redact(self._uri), backlog.problem)
            self._failures = self._failures + 1 if backlog.problem else 0
            self._notified = self._notified or not backlog.is_empty
            self._backlog = backlog
            if backlog.is_empty:
                self._served = max(self._served, asked)
            self._state.notify_all()

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to ship and the pause is over; False when it is time to end."""
        with self._state:
            began, flushes = time.monotonic(), self._asked
            while not self._closing:
                hurried = self._asked > flushes or (self._failures == 0 and self._asked > self._served)
                left = began + self._pause_s() - time.monotonic()
                if hurried or left <= (0 if self._notified else -_LOOK_EVERY_S):
                    return True
                self._state.wait(left if left > 0 else left + _LOOK_EVERY_S)
            return False

    def _pause_s(self) -> float:
        if self._failures == 0:
            if self._backlog.problem:
                return 0.0
            as_long_as_the_pass = min(self._max_pause_s, self._pass_s)  # a server of many studies is slow
            return max(self._interval_s, self._look_s / _LOOK_SHARE, as_long_as_the_pass)
        return min(self._max_pause_s, 0.5 * 2.0 ** min(self._failures, 10))
