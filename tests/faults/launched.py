"""A launch as a campaign sees it, in whichever tier: followed to its end, with what it said."""

import threading
import time
from pathlib import Path

from tests.end_to_end.command import Ended


class Launched:
    """A driver that was started. What starts one calls `_end` once it knows how it ended."""

    def __init__(self, out: Path, err: Path) -> None:
        """Begin.

        Args:
            out: file of what it says.
            err: file of what it says of mistakes.
        """
        self._began = time.monotonic()
        self._out, self._err = out, err
        for path in (out, err):
            path.touch()
        self._code: int | None = None
        self._over = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, minus the signal that ended it; None while it runs."""
        self._over.wait(timeout_s)
        return self._code

    def ended(self) -> Ended:
        """What it said, once it has ended."""
        return Ended(
            code=255 if self._code is None else self._code,
            out=self._out.read_text(),
            err=self._err.read_text(),
            wall_s=time.monotonic() - self._began,
        )

    def _end(self, code: int | None) -> None:
        self._code = code
        self._over.set()
