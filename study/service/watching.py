"""Watching studies: one poller a study, however many watch it.

The poller reads the status document once a second and encodes it once; every watcher is handed the same bytes. A
watcher that is slow skips what it missed, so none can make the service remember more than the newest document.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from search_spaces.errors import SpecError, TrialwrightError
from study.service.context import Context
from study.service.problems import Problem
from study.service.views import Watched, watched

RETRY_MS = 2000
"""When a browser comes back after the stream broke."""
HEARTBEAT = b": still here\n\n"
_LOG = logging.getLogger("trialwright.service")


class Watches:
    """All streams of one app."""

    def __init__(self, context: Context) -> None:
        """Begin with none."""
        self._context = context
        self._channels: dict[str, _Channel] = {}
        self._num_watchers = 0
        self._is_closed = False
        self._others: list[Callable[[], None]] = []

    def admit(self) -> None:
        """Refuse one watcher too many.

        Raises:
            Problem: 429.
        """
        most = self._context.settings.max_watchers
        if self._num_watchers >= most:
            raise Problem(
                429,
                f"{most} streams are open, and the service keeps no more: close one, or ask for the study itself.",
                headers={"Retry-After": "10"},
            )

    async def stream(self, study: str) -> AsyncIterator[bytes]:
        """The events of one watcher, from the present state to the study's end."""
        self._num_watchers += 1
        self._context.meters.watchers.inc()
        channel = self._channels.get(study)
        if channel is None:
            channel = self._channels[study] = _Channel(self._context, study)
        channel.num_watchers += 1
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            seen = 0
            while not self._is_closed:
                seen, events, is_last = await channel.newer(seen, self._context.settings.heartbeat_s)
                yield events or HEARTBEAT
                if is_last:
                    return
        finally:
            self._num_watchers -= 1
            self._context.meters.watchers.dec()
            channel.num_watchers -= 1
            if not channel.num_watchers and self._channels.get(study) is channel:
                del self._channels[study]
                channel.close()

    def also_close(self, close: Callable[[], None]) -> None:
        """Have other streams end, too, when these do."""
        self._others.append(close)

    def close(self) -> None:
        """End every stream; their watchers come back to the next service."""
        self._is_closed = True
        for channel in self._channels.values():
            channel.wake()
        for close in self._others:
            close()


class _Channel:
    """The newest document of one study as an event, and the task that looks for the next."""

    def __init__(self, context: Context, study: str) -> None:
        self.num_watchers = 0
        self._context = context
        self._study = study
        self._document = ""
        self._events: list[tuple[int, bytes]] = []
        self._is_over = False
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._poll(), name=f"poller of {study}")

    async def newer(self, seen: int, patience_s: float) -> tuple[int, bytes, bool]:
        """Number and bytes of what came after event `seen`, and whether nothing follows; waits for it a while."""
        if self._newest <= seen and not self._is_over:
            try:
                async with asyncio.timeout(patience_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
        told = b"".join(event for number, event in self._events if number > seen)
        return self._newest, told, self._is_over

    def wake(self) -> None:
        """Have every watcher look."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Look no more."""
        self._task.cancel()

    @property
    def _newest(self) -> int:
        return self._events[-1][0] if self._events else 0

    async def _poll(self) -> None:
        while not self._is_over:
            try:
                self._take(await self._context.call(watched, self._context.ledger, self._study))
            except SpecError:
                self._end({"state": "deleted", "problem": ""})
            except TrialwrightError as error:
                _LOG.warning("Study %r could not be read for its watchers: %s", self._study, error)
            if not self._is_over:
                await asyncio.sleep(self._context.settings.poll_s)

    def _take(self, now: Watched) -> None:
        document = json.dumps(now.document, separators=(",", ":"))
        if document != self._document:
            self._document = document
            name = hashlib.sha256(document.encode()).hexdigest()[:16]
            self._events = [(self._newest + 1, f"id: {name}\ndata: {document}\n\n".encode())]
            self.wake()
        if now.is_over:
            self._end({"state": now.document["state"], "problem": now.problem})

    def _end(self, told: dict[str, Any]) -> None:
        """Add the last event; the document before it stays for whoever has not seen it."""
        self._is_over = True
        self._events.append((self._newest + 1, f"event: end\ndata: {json.dumps(told)}\n\n".encode()))
        self.wake()
