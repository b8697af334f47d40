"""BIG-bench's JSON tasks with options, read one at a time from the package's archive.

Srivastava et al., "Beyond the Imitation Game", TMLR 2023. Options are ranked as they follow the prompt;
they are listed in it only where a task's file says `append_choices_to_input: true`. Rows with several best
options or fewer than two are left out. The tasks carry a canary: their rows are never written anywhere but
to the cache.
"""

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces.errors import SpecError, unknown
from trainers.part_files import Report
from trainers.parts import PARTS, fetch_part, is_ready
from trainers.tasks.rows import Row, TaskSource, member_of, refuse_own_fields
from trainers.workload import Task

PART = PARTS["bigbench"]
EXAMPLE = "bigbench:strategyqa"


def task_names(parts_dir: Path) -> tuple[str, ...]:
    """Names of the JSON tasks, such as `multiemo/hotels_sentence_en`; empty while the part is not fetched."""
    if not is_ready(PART, parts_dir):
        return ()
    members = (PART.folder(parts_dir) / "members.txt").read_text(encoding="utf-8").split()
    return tuple(
        name.removeprefix(PART.member).removesuffix("/task.json")
        for name in members
        if name.endswith("/task.json")
    )


def parse(document: Mapping[str, Any], name: str) -> list[Row]:
    """Rows of a task's JSON document.

    Raises:
        SpecError: the task has no options to choose from.
    """
    examples = document.get("examples", [])
    rows = [row for example in examples if (row := _row(example, document)) is not None]
    if not rows:
        raise SpecError(
            f"Task 'bigbench:{name}' has no rows with one right answer among options: "
            f"choose another, such as {EXAMPLE}."
        )
    return rows


def _row(example: Mapping[str, Any], document: Mapping[str, Any]) -> Row | None:
    scores = example.get("target_scores")
    if not isinstance(scores, Mapping) or len(scores) < 2:  # noqa: PLR2004 (a choice)
        return None
    best = max(scores.values())
    if list(scores.values()).count(best) != 1:
        return None
    options = sorted(scores)  # a file's order may differ from row to row
    lines = [
        document.get("task_prefix") or "",
        _prefix(document, "example_input_prefix", "Q: ") + example["input"],
    ]
    if document.get("append_choices_to_input") is True:
        lines += [f"choice: {option}" for option in options]
    lines.append(_prefix(document, "example_output_prefix", "A:"))
    return Row(
        prompt="\n".join(line.strip() for line in lines if line.strip()),
        options=tuple(f" {option.strip()}" for option in options),
        answer=options.index(next(option for option in options if scores[option] == best)),
    )


def _prefix(document: Mapping[str, Any], key: str, default: str) -> str:
    value = document.get(key)
    return default if value is None else str(value)


def _load(task: Task, parts_dir: Path, report: Report) -> list[Row]:
    folder = fetch_part(PART.name, parts_dir, report)
    _check(task, parts_dir)
    name = member_of(task)
    report(f"Reading {task.name} from the archive (some seconds).")
    wanted = f"{PART.member}{name}/task.json"
    with tarfile.open(folder / PART.file, "r|gz") as archive:
        for member in archive:
            if member.name == wanted:
                file = archive.extractfile(member)
                return parse(json.load(file) if file else {}, name)
    raise unknown("task", task.name, [f"bigbench:{known}" for known in task_names(parts_dir)])


def _check(task: Task, parts_dir: Path) -> None:
    refuse_own_fields(task)
    name = member_of(task)
    if not name:
        raise SpecError(
            f"Task {task.name!r} lacks the name of a BIG-bench task: write one such as {EXAMPLE}."
        )
    names = task_names(parts_dir)
    if names and name not in names:
        raise _unknown_task(task.name, names)


def _unknown_task(name: str, names: tuple[str, ...]) -> SpecError:
    """A short form of the unknown-name error: a thousand names are no help."""
    nearest = str(unknown("task", name, [f"bigbench:{known}" for known in names])).partition(" Known: ")[0]
    return SpecError(f"{nearest} Choose one of BIG-bench's {len(names)} JSON tasks, such as {EXAMPLE}.")


SOURCE = TaskSource(
    name="bigbench:<task>",
    description="any JSON task of BIG-bench with options, such as bigbench:strategyqa (a download of 358 MB)",
    licence=f"Apache-2.0 code, each task its own upstream licence, package {PART.requirement}",
    load=_load,
    check=_check,
    part=PART.name,
)
