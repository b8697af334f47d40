"""Keeping pages up to date: one renderer a page, however many watch it, and server-sent events for each of them."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.errors import SpecError, TrialwrightError
from study.service.context import Context
from study.service.pages.rendering import Fragment
from study.service.problems import Problem

RETRY_MS = 2000
LONGEST_STREAM_S = 600.0
"""A browser then comes again, with its token, which may have been revoked."""
IDLE_FACTOR = 4.0
"""A page is looked at anew after this many times what that took, so that a huge study takes a fifth of a core."""
_LOG = logging.getLogger("trialwright.service")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a page shows at one moment."""

    fragments: Mapping[str, Fragment]
    said: str
    """A sentence for screen readers, told when it changes."""


class Feeds:
    """All live pages of one app."""

    def __init__(self, context: Context) -> None:
        """Begin with none."""
        self._context = context
        self._feeds: dict[str, _Feed] = {}
        self._is_closed = False

    def admit(self) -> None:
        """Refuse one watcher too many.

        Raises:
            Problem: 429.
        """
        most = self._context.settings.max_watchers
        if sum(feed.num_watchers for feed in self._feeds.values()) >= most:
            raise Problem(
                429,
                f"{most} pages are watched, and the service keeps no more: close one, or reload this one by hand.",
                headers={"Retry-After": "10"},
            )

    async def watch(self, page: str, render: Callable[[], Shown]) -> AsyncIterator[bytes]:
        """The events of one watcher.

        Args:
            page: names the page; its watchers share one renderer.
            render: gives what the page shows now; SpecError where that is gone.
        """
        feed = self._feeds.get(page)
        if feed is None:
            feed = self._feeds[page] = _Feed(self._context, render)
        feed.num_watchers += 1
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            async for event in self._events(feed):
                yield event
        finally:
            feed.num_watchers -= 1
            if not feed.num_watchers:
                feed.close()
                if self._feeds.get(page) is feed:
                    del self._feeds[page]

    async def _events(self, feed: "_Feed") -> AsyncIterator[bytes]:
        seen: dict[str, str] = {}
        said, number = "", 0
        end_at = time.monotonic() + LONGEST_STREAM_S
        while not self._is_closed and time.monotonic() < end_at:
            newest = await feed.newer(number, self._context.settings.heartbeat_s)
            if feed.gone:
                yield event("gone", feed.gone)
                return
            if newest == number or feed.shown is None:
                yield b": still here\n\n"
                continue
            number = newest
            shown, told = feed.shown, feed.told
            for name, one in shown.fragments.items():
                if seen.get(name) != one.digest:
                    seen[name] = one.digest
                    yield told[name]
            if shown.said != said:
                said = shown.said
                yield event("said", said)

    def close(self) -> None:
        """End every stream; browsers come back to the next service."""
        self._is_closed = True
        for feed in self._feeds.values():
            feed.wake()


class _Feed:
    """What one page shows now, and the task that renders it anew while somebody watches."""

    def __init__(self, context: Context, render: Callable[[], Shown]) -> None:
        self.num_watchers = 0
        self.shown: Shown | None = None
        self.told: Mapping[str, bytes] = {}
        """Name of each fragment → its event, encoded once for all watchers."""
        self.gone = ""
        self._context = context
        self._render = render
        self._number = 0
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._poll())

    async def newer(self, seen: int, patience_s: float) -> int:
        """Number of the newest state once it is above `seen`, or what there is when the time is up."""
        if self._number <= seen and not self.gone:
            changed = self._changed
            try:
                async with asyncio.timeout(patience_s):
                    await changed.wait()
            except TimeoutError:
                pass
        return self._number

    def wake(self) -> None:
        """Have every watcher look."""
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Render no more."""
        self._task.cancel()

    async def _poll(self) -> None:
        while not self.gone:
            began = time.monotonic()
            try:
                self._take(await self._context.call(self._render))
            except SpecError as error:
                self.gone = str(error)
                self.wake()
            except TrialwrightError as error:
                _LOG.warning("A page could not be brought up to date: %s", error)
            took_s = time.monotonic() - began
            await asyncio.sleep(max(self._context.settings.poll_s, IDLE_FACTOR * took_s))

    def _take(self, shown: Shown) -> None:
        if shown != self.shown:
            self.told = {
                name: event("fragment", {"name": name, "digest": one.digest, "html": one.html})
                for name, one in shown.fragments.items()
            }
            self.shown = shown
            self._number += 1
            self.wake()


def event(kind: str, data: Any) -> bytes:
    """A server-sent event; JSON has no line breaks that could end its data."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
