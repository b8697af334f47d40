"""Power loss after each recorded operation: what was confirmed must be there, and the study must end as undisturbed."""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.faults.checker import differences, without_times
from tests.faults.crash.disk import Disk
from tests.faults.crash.recording import Operation
from tests.faults.crash.workload import STORE, STUDY, ledger_at, run


def prefixes(operations: Sequence[Operation], every: int, first: int = 0) -> Iterator[tuple[int, Disk]]:
    """The disk after each prefix of the operations, or after every n-th one."""
    disk = Disk()
    for number, operation in enumerate(operations):
        disk.apply(operation)
        if number % every == first % every or number + 1 == len(operations):
            yield number + 1, disk


def outcome_of(folder: Path) -> Any:
    """What a study that ran to its end in a folder came to, without times."""
    with ledger_at(folder) as ledger:
        records = {one.planned.key: one.ending for one in ledger.trials(STUDY)}
        return {
            "state": ledger.study(STUDY).state.value,
            "endings": {
                key: (ending.outcome.value, ending.steps, ending.reason, ending.value) if ending else None
                for key, ending in records.items()
            },
            "measured": [
                (one.trial, one.step, without_times(one.metrics)) for one in ledger.measurements(STUDY)
            ],
            "rungs": sorted((one.trial, one.rung, one.action, one.value) for one in ledger.rungs(STUDY)),
            "shipped": sorted((one.key, one.run_id) for one in ledger.tracked_runs(STUDY, STORE)),
        }


def problems_after(
    disk: Disk, folder: Path, expected: Any, *, loses_unsynced: bool, goes_on: bool
) -> list[str]:
    """What is wrong after a power loss; `folder` is where the rest of the disk is laid down, and removed.

    Args:
        disk: as it was.
        folder: absent.
        expected: what the study comes to undisturbed.
        loses_unsynced: as for `Disk.lay_down`.
        goes_on: whether the study is run to its end from there.
    """
    disk.lay_down(folder, loses_unsynced=loses_unsynced)
    try:
        found = _lost(folder, disk)
        if goes_on and not found:
            run(folder)
            found = differences(outcome_of(folder), expected)
            found += [f"left over: {path}" for path in folder.rglob(".partial-*")]
            found += [f"left over: {path}" for path in (folder / "checkpoints").rglob("step-*")]
    except Exception as error:  # noqa: BLE001 (whatever it is, it is a finding)
        found = [f"{type(error).__name__}: {error}"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _lost(folder: Path, disk: Disk) -> list[str]:
    """What the ledger had confirmed and does not hold, and damage to its file."""
    confirmed = [json.loads(line) for line in disk.content("confirmed").decode().splitlines()]
    if not (folder / "ledger.db").exists():
        return [f"{len(confirmed)} confirmed records without a ledger"] if confirmed else []
    with sqlite3.connect(folder / "ledger.db") as connection:
        (state,) = connection.execute("PRAGMA integrity_check").fetchone()
    if state != "ok":
        return [f"the ledger is damaged: {state}"]
    if not confirmed:
        return []
    with ledger_at(folder) as ledger:
        held = [["measured", one.trial, one.step] for one in ledger.measurements(STUDY)]
        held += [
            ["ended", one.planned.key, one.ending.outcome.value] for one in ledger.trials(STUDY) if one.ending
        ]
        held += [["shipped", one.key, one.run_id] for one in ledger.tracked_runs(STUDY, STORE)]
    return [f"{what} was confirmed and is lost" for what in confirmed if what not in held]
