"""How many requests one caller may send: a token bucket each, in this process's memory."""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CALLERS = 10_000
"""Callers that are remembered; the one that was silent longest is forgotten first."""


class RateLimit:
    """Token buckets by caller: `burst` requests at once, `rate_per_s` in the long run."""

    def __init__(self, rate_per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with full buckets."""
        self._rate_per_s = rate_per_s
        self._burst = float(burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Take one request out of a caller's bucket; 0, or the seconds until there is one again."""
        now = self._clock()
        left, seen_at = self._buckets.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - seen_at) * self._rate_per_s)
        allowed = left >= 1.0
        self._buckets[caller] = (left - 1.0 if allowed else left, now)
        while len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._rate_per_s
