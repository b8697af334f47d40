"""A labelled row of text, and what every source of rows offers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from search_spaces.errors import SpecError
from trainers.part_files import Report
from trainers.workload import Task


@dataclass(frozen=True, kw_only=True)
class Row:
    """A prompt, the answers to choose from, and the right one."""

    prompt: str
    """Text before the answer, without a space at its end."""
    options: tuple[str, ...]
    """Possible answers, each as it follows the prompt, such as ` positive`."""
    answer: int
    """Index of the right option."""
    held_out: bool = False
    """Whether the data set itself keeps the row for testing; then it is for the report only."""


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """One entry of `TASKS`: where rows come from and how to check a task without loading torch."""

    name: str
    """As `task.name` writes it; `<…>` stands for the name of a set within the source."""
    description: str
    licence: str
    """Licence and origin of the text."""
    load: Callable[[Task, Path, Report], list[Row]]
    """Rows of a task, from the parts folder; fetches the part first where it must."""
    check: Callable[[Task, Path], None]
    """Raises SpecError for what is wrong with a task; fetches nothing."""
    part: str | None = None
    """The packaged text that the rows come from."""


def member_of(task: Task) -> str:
    """The set within a source: what follows the colon of `task.name`."""
    return task.name.partition(":")[2]


def refuse_own_fields(task: Task, *, path_allowed: bool = False) -> None:
    """Refuse the fields of a task that only the user's own rows have.

    Raises:
        SpecError: naming the field.
    """
    fields = {"prompt": task.prompt, "answer": task.answer, "options": task.options}
    if not path_allowed:
        fields["path"] = task.path
    for field, value in fields.items():
        if value is not None:
            raise SpecError(
                f"task.{field} {value!r} has no meaning for task {task.name!r}: leave it out, "
                "or write name: rows for a file of your own."
            )


def lettered(question: str, choices: Sequence[str], answer: int, *, held_out: bool = False) -> Row:
    """A multiple-choice row whose options are letters, listed in the prompt."""
    letters = [chr(ord("A") + index) for index in range(len(choices))]
    listed = "\n".join(f"{letter}. {choice.strip()}" for letter, choice in zip(letters, choices, strict=True))
    return Row(
        prompt=f"Question: {question.strip()}\n{listed}\nAnswer:",
        options=tuple(f" {letter}" for letter in letters),
        answer=answer,
        held_out=held_out,
    )
