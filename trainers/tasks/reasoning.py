"""Procedural tasks of reasoning-gym, such as `reasoning_gym:syllogism`.

Stojanovski et al., "Reasoning Gym", 2025. Questions are generated from the split seed, so the same task has
the same rows everywhere. Where a set knows few answers they are the options; otherwise the right answer
stands among three answers of other questions, chosen by hash.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from search_spaces.errors import SpecError, unknown
from trainers.part_files import Report
from trainers.tasks.rows import Row, TaskSource, member_of, refuse_own_fields
from trainers.workload import Task

EXAMPLE = "reasoning_gym:syllogism"
MAX_SHARED_OPTIONS = 12
"""More distinct answers than this are drawn from, not all listed."""
NUM_DRAWN_OPTIONS = 4
SPARE_FRAC = 0.5
"""Questions generated beyond those wanted, since some repeat."""


def make_rows(questions: Sequence[tuple[str, str]], seed: int) -> list[Row]:
    """Rows with options from (question, answer) pairs; empty when there is no choice to make."""
    answers = sorted({answer for _, answer in questions})
    if len(answers) < 2:  # noqa: PLR2004 (a choice)
        return []
    shared = tuple(f" {answer}" for answer in answers) if len(answers) <= MAX_SHARED_OPTIONS else None
    rows = []
    for question, answer in questions:
        options = shared or _drawn(question, answer, answers, seed)
        prompt = f"{question.strip()}\nAnswer:"
        rows.append(Row(prompt=prompt, options=options, answer=options.index(f" {answer}")))
    return rows


def _drawn(question: str, answer: str, answers: Sequence[str], seed: int) -> tuple[str, ...]:
    """The right answer among others, in an order that tells nothing."""
    chosen = {answer}
    turn = 0
    while len(chosen) < NUM_DRAWN_OPTIONS:
        chosen.add(answers[_hash(f"{seed}\0{turn}\0{question}") % len(answers)])
        turn += 1
    return tuple(f" {option}" for option in sorted(chosen, key=lambda option: _hash(f"{question}\0{option}")))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _load(task: Task, parts_dir: Path, report: Report) -> list[Row]:
    _check(task, parts_dir)
    import reasoning_gym

    wanted = task.train_rows + task.select_rows + task.report_rows
    report(f"Generating {task.name}.")
    generated = reasoning_gym.create_dataset(
        member_of(task), size=int(wanted * (1 + SPARE_FRAC)), seed=task.split_seed
    )
    pairs = [(str(item["question"]), item["answer"]) for item in generated]
    rows = make_rows(
        [(text, answer.strip()) for text, answer in pairs if isinstance(answer, str)], task.split_seed
    )
    if not rows:
        raise SpecError(
            f"Task {task.name!r} has no answers to choose from: choose another, such as {EXAMPLE}."
        )
    return rows


def _check(task: Task, parts_dir: Path) -> None:
    del parts_dir
    refuse_own_fields(task)
    name = member_of(task)
    if not name:
        raise SpecError(f"Task {task.name!r} lacks the name of a data set: write one such as {EXAMPLE}.")
    if find_spec("reasoning_gym") is None:
        raise SpecError(
            f"Task {task.name!r} needs reasoning-gym, which is not installed: install trialwright[reasoning]."
        )
    from reasoning_gym.factory import DATASETS

    if name not in DATASETS:
        raise unknown("task", task.name, [f"reasoning_gym:{known}" for known in DATASETS])


SOURCE = TaskSource(
    name="reasoning_gym:<set>",
    description="a procedural set of reasoning-gym, such as reasoning_gym:syllogism",
    licence="Apache-2.0, package reasoning-gym (optional: trialwright[reasoning])",
    load=_load,
    check=_check,
)
