"""Fixed splits: which rows train, which compare configurations, which only the report sees.

A row's place is decided by the SHA-256 of its prompt and the split seed, so it does not depend on the order
of a file. A prompt that occurs more than once counts once, and one that occurs with different answers not
at all. Where a data set keeps rows for testing itself, the report's rows come from those.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_spaces.errors import SpecError
from trainers.tasks.rows import Row
from trainers.workload import Task


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The three disjoint splits of a task."""

    train: tuple[Row, ...]
    select: tuple[Row, ...]
    """Rows on which configurations are compared and trials are stopped."""
    report: tuple[Row, ...]
    """Rows that only the report and the statistics see."""
    digest: str
    """SHA-256 over all rows and their places."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The options when they are the same for every row, else None."""
        options = {row.options for split in (self.train, self.select, self.report) for row in split}
        return next(iter(options)) if len(options) == 1 else None

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 over the rows of each split, by the split's name."""
        splits = {"train": self.train, "select": self.select, "report": self.report}
        return {name: _sha256(json.dumps([_plain(row) for row in rows])) for name, rows in splits.items()}

    @property
    def label_counts(self) -> Mapping[str, Mapping[str, int]]:
        """How often each answer is right, by split."""
        splits = {"train": self.train, "select": self.select, "report": self.report}
        return {name: Counter(row.options[row.answer] for row in rows) for name, rows in splits.items()}


def majority_frac(rows: Sequence[Row]) -> float:
    """Accuracy of always giving the commonest answer: what a model must beat."""
    counts = Counter(row.options[row.answer] for row in rows)
    return max(counts.values()) / len(rows)


def make_splits(rows: Sequence[Row], task: Task) -> Splits:
    """Divide the rows of a task.

    Raises:
        SpecError: there are too few distinct rows.
    """
    distinct = _distinct(rows)
    ordered = sorted(distinct.items(), key=lambda item: _sha256(f"{task.split_seed}\0{item[0]}"))
    held_out = [row for _, row in ordered if row.held_out]
    own = [row for _, row in ordered if not row.held_out]
    if held_out:
        _require(len(held_out), task.report_rows, task, "report_rows")
        _require(len(own), task.train_rows + task.select_rows, task, "train_rows and select_rows")
        report = held_out[: task.report_rows]
    else:
        wanted = task.train_rows + task.select_rows + task.report_rows
        _require(len(own), wanted, task, "train_rows, select_rows and report_rows")
        report, own = own[: task.report_rows], own[task.report_rows :]
    select, train = own[: task.select_rows], own[task.select_rows :][: task.train_rows]
    digest = _sha256(json.dumps([[_plain(row) for row in split] for split in (train, select, report)]))
    return Splits(train=tuple(train), select=tuple(select), report=tuple(report), digest=digest)


def _distinct(rows: Sequence[Row]) -> dict[str, Row]:
    """One row for each prompt, whatever the rows' order."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[" ".join(row.prompt.casefold().split())].append(row)
    return {key: kept for key, group in groups.items() if (kept := _one_of(group)) is not None}


def _one_of(group: Sequence[Row]) -> Row | None:
    """The row that stands for rows with the same prompt, or None when their answers differ.

    A held-out row goes before others, so that no prompt of the test set is trained on.
    """
    for options in {row.options for row in group}:
        if len({row.answer for row in group if row.options == options}) > 1:
            return None
    return min(group, key=lambda row: (not row.held_out, row.prompt, row.options))


def _require(available: int, wanted: int, task: Task, fields: str) -> None:
    if available < wanted:
        raise SpecError(
            f"Task {task.name!r} has {available:,} distinct rows where task.{fields} ask for {wanted:,}: "
            "lower them."
        )


def _plain(row: Row) -> list[object]:
    return [row.prompt, list(row.options), row.answer]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
