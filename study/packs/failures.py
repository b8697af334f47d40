"""What fails at a pack, as errors that load no torch wherever they are unpickled, and what to try again."""

import errno
import re
import traceback

HOST_FAILURES = re.compile(
    r"The actor died unexpectedly|The actor \w+ is unavailable|The worker died unexpectedly|"
    r"\b(NodeDiedError|OwnerDiedError|ray\.exceptions\.OutOfMemoryError|RetryableError|StoreAwayError|OSError|"
    r"PackFailedError)\b"
)
"""What to try again: the worker's surroundings failed, not the trial. Ray names a lost actor in a sentence only."""
STORE_FAILURES = re.compile(
    rf"\bStoreAwayError\b|\bOSError: .*\[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EROFS}|{errno.EIO})\]"
)
"""What fails for all trials alike (the store is away, the disk is full or broken), so that none is lost to it however
often it is tried again."""


class LaneFailedError(Exception):
    """The trial in one lane failed; its neighbours train on. The message is the failure in a line."""


class PackFailedError(Exception):
    """A joint step failed, and it is not known whose doing it was: every trial of the pack is tried again."""


def in_a_line(error: BaseException) -> str:
    """An error's name and its message, as the last lines of a traceback say it; any OSError goes by this name."""
    if isinstance(error, OSError):
        return f"OSError: {error}"
    return " ".join("".join(traceback.format_exception_only(error)).split())
