"""`python -m tests.faults.crash [LOG]`: power loss after every recorded operation, a line of JSON each."""

import json
import os
import sys
import tempfile
from pathlib import Path

from tests.faults.crash.recording import record
from tests.faults.crash.replay import outcome_of, prefixes, problems_after
from tests.faults.trainable import STEP_S


def main(log: Path) -> int:
    """Record a study, lose power after every operation; how many losses did not hold."""
    os.environ[STEP_S] = "0"
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108 (syncing is recorded, not timed)
    num_failed = 0
    with tempfile.TemporaryDirectory(dir=place) as name, log.open("a", encoding="utf-8") as lines:
        folder = Path(name)
        (folder / "place").mkdir()
        arguments = ["-m", "tests.faults.crash.workload", str(folder / "place")]
        operations = record(folder / "place", arguments, folder / "trace")
        expected = outcome_of(folder / "place")
        for number, disk in prefixes(operations, 1):
            for loses in (False, True):
                problems = problems_after(disk, folder / "rest", expected, loses_unsynced=loses, goes_on=True)
                fault = "what was not synced is lost" if loses else "every write is kept"
                told = {"tier": "power loss", "faults": [fault], "seed": number, "held": not problems}
                lines.write(json.dumps(told | {"problems": problems}) + "\n")
                lines.flush()
                num_failed += bool(problems)
    return num_failed


if __name__ == "__main__":
    sys.exit(min(1, main(Path(sys.argv[1] if len(sys.argv) > 1 else "faults.jsonl"))))
