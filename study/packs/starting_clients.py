"""Clients that start are left to their trials.

A client takes seconds to start. Ray Tune hands an idle one to a trial whose own client is still starting, and ends
that: where trials are shorter than a start, one client serves them in turn, and a process is started in vain for each.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

STARTS_WITHIN_S = 60.0
"""How long a trial waits for its own client. One that no node has memory for never starts: an idle one serves then."""
_REUSE = "_maybe_reuse_cached_actor"
"""Ray Tune's private method that hands an idle client to a trial (2.60)."""


@contextmanager
def clients_left_to_start(clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Have Ray Tune wait for clients that start, within the block.

    Args:
        clock: in seconds.
    """
    from ray.tune.execution.tune_controller import TuneController

    reuse = getattr(TuneController, _REUSE)
    starting: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def reuse_unless_own_is_starting(controller: Any, trial: Any) -> bool:
        own = controller._trial_to_actor.get(trial)  # noqa: SLF001 (nothing public tells of it)
        if own is not None and clock() - starting.setdefault(own, clock()) < STARTS_WITHIN_S:
            return False
        return bool(reuse(controller, trial))

    setattr(TuneController, _REUSE, reuse_unless_own_is_starting)
    try:
        yield
    finally:
        setattr(TuneController, _REUSE, reuse)
