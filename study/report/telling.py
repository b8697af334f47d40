"""What a report that takes more than a moment says of its progress."""

import time
from collections.abc import Callable

Say = Callable[[str], None]
"""Receives one sentence."""
EVERY_S = 2.0
"""Seconds between two sentences."""


def silent(_sentence: str) -> None:
    """Say nothing."""


def countdown(
    num_claims: int, say: Say, clock: Callable[[], float] = time.monotonic
) -> Callable[[int], None]:
    """What to call before each claim is judged again, with the number done; it says how much time is left."""
    began = last = clock()

    def done(number: int) -> None:
        nonlocal last
        now = clock()
        if number == 0 or now - last < EVERY_S:
            return
        last = now
        left = (now - began) / number * (num_claims - number)
        say(f"Judged {number} of {num_claims} claims under other choices too; about {left:.0f} s left.")

    return done
