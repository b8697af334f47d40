"""A clock that can be moved from outside: importing this has `time.time` add what a file holds, if one is named.

It is imported before everything else, since others take hold of `time.time` when they are imported.
"""

import os
import time
from pathlib import Path

CLOCK = "TRIALWRIGHT_FAULTS_CLOCK"
"""Variable with a file that holds how many seconds the clock is off; absent: none."""
_true_time = time.time


def _time() -> float:
    try:
        return _true_time() + float(Path(os.environ[CLOCK]).read_text("ascii"))
    except (KeyError, OSError, ValueError):
        return _true_time()


time.time = _time
