"""What every request shares: the ledger, the home, the launcher, the reports, the streams, the counters."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread
from fastapi import Request

from search_spaces.errors import RetryableError, TrialwrightError
from study.home import Home, open_home
from study.ledger import Ledger
from study.service.launcher import DRIVER_FAILED, JobLauncher, Launcher, LocalLauncher
from study.service.limits import RateLimit
from study.service.meters import Meters
from study.service.reports import Reports
from study.service.settings import ServiceSettings

NUM_THREADS = 8
"""Ledger calls that run at once."""
NUM_CHANGERS = 4
"""Requests that wait for their turn to change something; one of them does."""
CHANGE_PATIENCE_S = 120.0
"""How long a request waits that has a driver started: a cluster's job server takes seconds."""
_LOG = logging.getLogger("trialwright.service")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(kw_only=True)
class Context:
    """State of one app, in `request.app.state.context`."""

    settings: ServiceSettings
    home: Home
    ledger: Ledger
    launcher: Launcher
    reports: Reports
    meters: Meters
    rate: RateLimit
    changing: Lock = field(default_factory=Lock)
    """Held while a study is created, resumed or deleted, so that equal requests at once start one driver."""
    threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(NUM_THREADS))
    changers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(NUM_CHANGERS))

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that waits for the ledger or computes, off the event loop.

        Raises:
            RetryableError: it took longer than a request may wait; it goes on nevertheless.
        """
        return await self._within(self.settings.patience_s, self.threads, partial(function, *args, **kwargs))

    async def change(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something that may start a driver: as `call`, with more patience, and in no reader's way."""
        return await self._within(CHANGE_PATIENCE_S, self.changers, partial(function, *args, **kwargs))

    async def _within(
        self, patience_s: float, limiter: anyio.CapacityLimiter, function: Callable[[], T]
    ) -> T:
        try:
            with anyio.fail_after(patience_s):
                return await anyio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=limiter)
        except TimeoutError:
            raise RetryableError(
                f"The ledger did not answer within {patience_s:g} s: try again later."
            ) from None


def make_context(settings: ServiceSettings, launcher: Launcher | None = None) -> Context:
    """Open the ledger and all that stands around it.

    Args:
        settings: how the service is set up.
        launcher: who starts drivers; None: as the settings say.

    Raises:
        SpecError: the home or the ledger cannot be opened.
    """
    home = open_home(settings.home)
    ledger = Ledger.open(home.ledger_url)
    meters = Meters(ledger)
    return Context(
        settings=settings,
        home=home,
        ledger=ledger,
        launcher=launcher or _launcher(settings, home, ledger),
        reports=Reports(home, ledger, meters, timeout_s=settings.report_timeout_s),
        meters=meters,
        rate=RateLimit(settings.rate_per_s, settings.burst),
    )


def context_of(request: Request) -> Context:
    """The context of the app that a request was sent to."""
    context: Context = request.app.state.context
    return context


def _launcher(settings: ServiceSettings, home: Home, ledger: Ledger) -> Launcher:
    def keep(study: str, job: str, log: str) -> None:
        _LOG.warning("The driver of study %r (%s) failed: %s", study, job, log.rpartition("\n")[2])
        try:
            ledger.record_event(study, DRIVER_FAILED, {"job": job, "log": log})
        except TrialwrightError as error:
            _LOG.warning("That could not be kept: %s", error)

    if settings.ray is None:
        return LocalLauncher(home, tracking_uri=settings.tracking_uri, on_failed=keep)
    return JobLauncher(settings.ray, home, tracking_uri=settings.tracking_uri, on_failed=keep)
