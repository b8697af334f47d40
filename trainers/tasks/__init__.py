"""Tasks: labelled rows from packages, the hub, generators or the user's file, split and encoded.

`TASKS` lists every source; `load_splits` reads one, `encode_splits` turns it into tokens. Nothing here
loads torch.
"""

from collections.abc import Mapping
from pathlib import Path

from search_spaces.errors import unknown
from trainers.part_files import Report
from trainers.tasks import bigbench, glue, own_rows, question_answering, reasoning, vader
from trainers.tasks.encode import EncodedSplits, Example, encode_rows, encode_splits
from trainers.tasks.rows import Row, TaskSource
from trainers.tasks.splits import Splits, majority_frac, make_splits
from trainers.workload import Task

__all__ = [
    "TASKS",
    "EncodedSplits",
    "Example",
    "Row",
    "Splits",
    "TaskSource",
    "check_task",
    "describe_tasks",
    "encode_rows",
    "encode_splits",
    "find_task",
    "load_splits",
    "majority_frac",
    "make_splits",
]

TASKS: Mapping[str, TaskSource] = {
    source.name: source
    for source in (
        *vader.SOURCES,
        *glue.SOURCES,
        *question_answering.SOURCES,
        bigbench.SOURCE,
        reasoning.SOURCE,
        own_rows.SOURCE,
    )
}
"""Every source of rows by its name; `<…>` in a name stands for the name of a set within the source."""


def find_task(name: str) -> TaskSource:
    """The source that a task's name means.

    Raises:
        SpecError: unknown name, with the nearest known one.
    """
    source_name = name.partition(":")[0]
    for known, source in TASKS.items():
        if name == known or ("<" in known and source_name == known.partition(":")[0]):
            return source
    raise unknown("task", name, TASKS)


def check_task(task: Task, parts_dir: Path) -> None:
    """Find what is wrong with a task before anything is started; fetches nothing.

    Raises:
        SpecError: unknown task, missing file or column, unreadable rows, no rows of one label, too few rows.
    """
    find_task(task.name).check(task, parts_dir)


def load_splits(task: Task, parts_dir: Path, report: Report = lambda _: None) -> Splits:
    """Rows of a task in their fixed splits, fetched first where they must be.

    Raises:
        SpecError: the task is not what its fields say.
        RetryableError: its text could not be fetched.
    """
    return make_splits(find_task(task.name).load(task, parts_dir, report), task)


def describe_tasks() -> list[tuple[str, str, str]]:
    """Name, one-line description, and licence with source, of every task."""
    return [(source.name, source.description, source.licence) for source in TASKS.values()]
