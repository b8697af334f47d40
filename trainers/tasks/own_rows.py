"""The user's own rows: a CSV, JSONL or Parquet file, a prompt template and an answer column."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter

from search_spaces.errors import SpecError
from trainers.part_files import Report
from trainers.tasks.rows import Row, TaskSource
from trainers.tasks.splits import make_splits
from trainers.workload import Task

Record = Mapping[str, str]
"""The columns of one row, as text."""

MOST_CHARS = 500_000_000
"""Text that a Parquet file may unfold to; a few bytes of one can stand for any amount."""
BATCH_ROWS = 64
"""Rows that are unfolded at a time."""

MAX_FOUND_OPTIONS = 50
"""More distinct answers than this are free text, not options."""


def load_own_rows(task: Task) -> list[Row]:
    """Rows of the task's file.

    Raises:
        SpecError: a missing field, file or column, or a row that cannot be read; the message names the line.
    """
    path, prompt, answer = _fields(task)
    records = list(_read(path))
    if not records:
        raise SpecError(f"task.path {str(path)!r} holds no rows: add some, or name another file.")
    first = records[0][1]
    for column in _columns_of(prompt, "task.prompt"):
        _require_column(column, "task.prompt", first, path)
    columns = [column for option in task.options or () for column in _columns_of(option, "task.options")]
    for column in columns:
        _require_column(column, "task.options", first, path)
    _require_column(answer, "task.answer", first, path)
    found = () if task.options else _found_options(records, answer, path)
    rows = []
    for line, record in records:
        options = found or [_fill(option, record).strip() for option in task.options or ()]
        where = f"{path.name} line {line}"
        rows.append(_row(_fill(prompt, record).rstrip(), options, record[answer].strip(), where))
    if not columns:
        _require_every_label(rows, options, path)
    return rows


def _fields(task: Task) -> tuple[Path, str, str]:
    if task.path is None or task.prompt is None or task.answer is None:
        missing = next(field for field in ("path", "prompt", "answer") if getattr(task, field) is None)
        raise SpecError(
            f"Task 'rows' lacks task.{missing}: give the file, a prompt template and the answer's column."
        )
    try:
        path = Path(task.path).expanduser()
        is_there = path.is_file()
    except (OSError, RuntimeError):  # no file can have this name, or its user is not known
        is_there = False
    if not is_there:
        raise SpecError(f"task.path {task.path!r} is no file: check the path.")
    return path, task.prompt, task.answer


def _row(prompt: str, options: Sequence[str], answer: str, where: str) -> Row:
    """One row, checked; `where` names its file and line."""
    if not prompt:
        raise SpecError(f"{where}: the prompt is empty, fill its columns or remove the row.")
    if "" in options:
        raise SpecError(f"{where}: one of the options is empty, fill it or remove the row.")
    if len(set(options)) < len(options):
        raise SpecError(f"{where}: two of the options {', '.join(options)} are the same, correct them.")
    if answer not in options:
        raise SpecError(
            f"{where}: the answer {answer!r} is none of the options {', '.join(options)}: "
            "correct the row or task.options."
        )
    return Row(prompt=prompt, options=tuple(f" {option}" for option in options), answer=options.index(answer))


def _fill(template: str, record: Record) -> str:
    """Put columns in a template; a name in braces is a column and nothing else."""
    pieces = Formatter().parse(template)
    return "".join(
        literal + (record[column] if column is not None else "") for literal, column, _, _ in pieces
    )


def _columns_of(template: str, field: str) -> list[str]:
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise SpecError(
            f"{field} {template!r} is no template ({error}): write columns in braces, like {{text}}."
        ) from error
    return [column for _, column, _, _ in pieces if column is not None]


def _require_column(column: str, field: str, record: Record, path: Path) -> None:
    if column not in record:
        raise SpecError(
            f"{field} names column {column!r}, which {path.name} does not have: "
            f"its columns are {', '.join(record)}."
        )


def _found_options(records: Sequence[tuple[int, Record]], answer: str, path: Path) -> tuple[str, ...]:
    found = sorted({record[answer].strip() for _, record in records})
    if len(found) > MAX_FOUND_OPTIONS:
        raise SpecError(
            f"Column {answer!r} of {path.name} holds {len(found)} different answers, too many to be options: "
            "write task.options, where {column} stands for a column's text."
        )
    if "" in found:
        line = next(line for line, record in records if not record[answer].strip())
        raise SpecError(f"{path.name} line {line}: column {answer!r} is empty, fill it or remove the row.")
    return tuple(found)


def _require_every_label(rows: Sequence[Row], options: Sequence[str], path: Path) -> None:
    """Options that are the same in all rows must each be right somewhere, and there must be two of them."""
    if len(set(options)) < 2:  # noqa: PLR2004 (a choice)
        raise SpecError(
            f"{path.name} has one answer only, {', '.join(options)!r}: a task needs two or more options."
        )
    seen = {row.answer for row in rows}
    for index, option in enumerate(options):
        if index not in seen:
            raise SpecError(
                f"{path.name} has no row with the answer {option!r}: "
                "add some, or leave it out of task.options."
            )


def _read(path: Path) -> Iterator[tuple[int, Record]]:
    """Records with the line (in Parquet, the row) each stands in."""
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SpecError(
            f"task.path {str(path)!r} has the ending {path.suffix!r}: write it as .csv, .jsonl or .parquet."
        )
    try:
        yield from reader(path)
    except UnicodeDecodeError as error:
        raise SpecError(f"{path.name} is not in UTF-8 (byte {error.start:,}): save it in UTF-8.") from error
    except OSError as error:
        raise SpecError(
            f"task.path {str(path)!r} cannot be read ({error.strerror or error}): check the file."
        ) from error


def _read_csv(path: Path) -> Iterator[tuple[int, Record]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for record in reader:
                if None in record or None in record.values():
                    num = len(reader.fieldnames or ())
                    raise SpecError(
                        f"{path.name} line {reader.line_num}: the row does not have the {num} columns "
                        "of the header, correct it or quote its commas."
                    )
                yield reader.line_num, record
        except csv.Error as error:
            raise SpecError(
                f"{path.name} line {reader.reader.line_num}: not readable as CSV ({error}), correct it."
            ) from error


def _read_jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    columns: set[str] | None = None
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                cause = "nested too deep" if isinstance(error, RecursionError) else error
                raise SpecError(
                    f"{path.name} line {line}: not readable as JSON ({cause}), correct it."
                ) from error
            if not isinstance(record, dict):
                raise SpecError(f"{path.name} line {line}: not a JSON object, write one object a line.")
            columns = columns or set(record)
            if missing := columns - set(record):
                raise SpecError(
                    f"{path.name} line {line}: lacks {min(missing)!r}, which the first row has: add it."
                )
            yield line, {key: _text(value) for key, value in record.items()}


def _read_parquet(path: Path) -> Iterator[tuple[int, Record]]:
    import pyarrow as pa
    from pyarrow import parquet

    before, left = 0, MOST_CHARS
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for number, record in enumerate(batch.to_pylist(), start=before + 1):
                    texts = {key: _text(value) for key, value in record.items()}
                    left -= sum(map(len, texts.values()))
                    if left < 0:
                        raise SpecError(
                            f"{path.name} row {number}: the rows so far hold more than {MOST_CHARS:,} characters, "
                            "more than a task can use: shorten the file."
                        )
                    yield number, texts
                before += len(batch)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SpecError(f"task.path {str(path)!r} is not readable as Parquet: write it again.") from error


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _load(task: Task, parts_dir: Path, report: Report) -> list[Row]:
    del parts_dir, report
    return load_own_rows(task)


def _check(task: Task, parts_dir: Path) -> None:
    """Read the whole file and divide it: what is wrong shows before anything starts."""
    del parts_dir
    make_splits(load_own_rows(task), task)


SOURCE = TaskSource(
    name="rows",
    description="a CSV, JSONL or Parquet file of your own with a prompt template",
    licence="yours",
    load=_load,
    check=_check,
)
