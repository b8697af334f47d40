"""The error tree of Trialwright, named by what the caller does next.

It stands in the lowest layer, since every layer above raises it. A message says the value, the rule
it broke and the way out, in one sentence that a user can act on.
"""

from collections.abc import Iterable
from difflib import get_close_matches

MOST_VALUE_CHARS = 60
"""Of a value that a message repeats; the rest is cut."""
MOST_KNOWN = 300
"""Names that a message lists."""


class TrialwrightError(Exception):
    """Any error that Trialwright raises on purpose; its message is one line, whatever the user wrote."""

    def __str__(self) -> str:
        """The message, with all that could end a line or steer a terminal escaped."""
        return one_line(super().__str__())


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


class ClaimLostError(LedgerError):
    """Another driver took the study over: write nothing more, anywhere, and leave it to that one."""


def one_line(text: str) -> str:
    """Text in which nothing ends a line, moves a cursor or hides: what is not printable is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def cut(text: str) -> str:
    """The beginning of a text, as much as a message repeats of a value."""
    return text if len(text) <= MOST_VALUE_CHARS else f"{text[: MOST_VALUE_CHARS - 1]}…"


def unknown(kind: str, value: str, known: Iterable[str]) -> SpecError:
    """The error for a name that is not in a registry, with the nearest known name.

    Args:
        kind: what was named, such as "family".
        value: the name as the user wrote it.
        known: every valid name.
    """
    names = sorted(known)
    nearest = get_close_matches(cut(value), names, n=1) or get_close_matches(cut(value).lower(), names, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else "."
    listed = ", ".join(cut(name) for name in names[:MOST_KNOWN]) + ", …" * (len(names) > MOST_KNOWN)
    return SpecError(f"Unknown {kind} {cut(repr(value))}{hint} Known: {listed or 'none'}.")
