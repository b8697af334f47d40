"""The error tree of Trialwright, named by what the caller does next.

It stands in the lowest layer, since every layer above raises it. A message says the value, the rule
it broke and the way out, in one sentence that a user can act on.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TrialwrightError(Exception):
    """Any error that Trialwright raises on purpose."""


class SpecError(TrialwrightError):
    """The user's input is wrong: say so in one sentence, exit with 2, never retry."""


class TrialFailedError(TrialwrightError):
    """This trial is lost; the study goes on."""


class OutOfMemoryError(TrialFailedError):
    """This trial's micro-batch does not fit the device; a smaller micro-batch may."""


class RetryableError(TrialwrightError):
    """The surroundings failed (a host, a disk, a server): try the same again."""


class LedgerError(TrialwrightError):
    """The record is unusable or contradicts itself: stop the study before it is damaged."""


def unknown(kind: str, value: str, known: Iterable[str]) -> SpecError:
    """The error for a name that is not in a registry, with the nearest known name.

    Args:
        kind: what was named, such as "family".
        value: the name as the user wrote it.
        known: every valid name.
    """
    names = sorted(known)
    nearest = get_close_matches(value, names, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else "."
    return SpecError(f"Unknown {kind} {value!r}{hint} Known: {', '.join(names)}.")
