"""A table from a CSV or Parquet file that anything may have written, read without a loss and within bounds."""

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

import pandas as pd
import pyarrow as pa

from search_spaces.errors import SpecError, cut
from study.spec_file import read_regular

TEXT = ("trial", "phase", "slice", "workload", "family", "outcome", "reason")
"""Columns of a CSV file that are text, even where they look like numbers or like nothing."""
WHOLE = ("replicate", "point", "seed")
"""Columns of whole numbers, which a float would round."""
MISSING = ["", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None", "<NA>"]
"""Cells of a column of numbers that hold no number."""
MAX_BYTES = 200_000_000
"""Largest table, as a CSV file or unfolded; a million trials take no more."""
MAX_ROWS, MAX_COLUMNS = 2_000_000, 1_000
MAX_LINE_CHARS = 1_000_000
_BATCH_ROWS = 1_000


def read_table(path: Path) -> pd.DataFrame:
    """A table from a file.

    In a CSV file, text stays as written (a family may be called `nan`), whole numbers stay text until they are
    checked, and other numbers are read to their last bit. Every row has as many cells as the header.

    Raises:
        SpecError: there is no such file, it is neither CSV nor Parquet, it is not what its name says, or it is larger
            than any table of trials.
    """
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SpecError(f"'{path}' is no table that can be read: name a file that ends in .csv or .parquet.")
    kind = path.suffix.lower().removeprefix(".")
    try:
        read_regular(path, 1)
        if path.stat().st_size > MAX_BYTES:
            raise SpecError(f"'{path}' is larger than {MAX_BYTES:,} bytes, too large for a table: split it.")
        return reader(path)
    except UnicodeDecodeError as error:
        cause = f"byte 0x{error.object[error.start]:02x} is no UTF-8"
        raise SpecError(f"'{path}' is no {kind} table ({cause}): save it as UTF-8.") from None
    except (ValueError, pa.ArrowException, NotImplementedError, KeyError, TypeError) as error:
        raise _no_table(path, kind, error) from None
    except OSError as error:
        if error.strerror is None:  # what reads Parquet calls damage so
            raise _no_table(path, kind, error) from None
        raise SpecError(
            f"'{path}' cannot be read ({error.strerror}): name a .csv or .parquet file."
        ) from None


def _no_table(path: Path, kind: str, error: Exception) -> SpecError:
    why = " ".join(str(error).split()).rstrip(".")[:200]
    return SpecError(f"'{path}' is no {kind} table ({why}): check how it was written.")


def _read_csv(path: Path) -> pd.DataFrame:
    names = _checked_header(path)
    words = [name for name in names if name in {*TEXT, *WHOLE} or name.startswith("param.")]
    frame = pd.read_csv(
        path,
        encoding="utf-8-sig",
        dtype={name: str for name in words if not name.startswith("param.")},
        keep_default_na=False,
        na_values={name: [""] if name in words else MISSING for name in names},
        float_precision="round_trip",
        low_memory=False,
        index_col=False,
    )
    for name in TEXT:
        if name in names:
            frame[name] = frame[name].fillna("")
    return frame


def _checked_header(path: Path) -> list[str]:
    """The names of a CSV file's columns, after every row was seen to have a cell for each.

    Raises:
        SpecError: with the line that is wrong.
        UnicodeDecodeError: it is no UTF-8.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(_lines(file, path), strict=True)
        try:
            header = next(rows, [])
            _check_names(header, path)
            for number, row in enumerate(rows, start=1):
                if row and len(row) != len(header):
                    raise SpecError(
                        f"'{path}', line {rows.line_num}: the row has {len(row)} cells, but the header has "
                        f"{len(header)}: correct it, or quote its commas."
                    )
                _check_size(number, path)
        except csv.Error as error:
            raise SpecError(
                f"'{path}', line {rows.line_num}: the row is no CSV ({error}): correct its quotes."
            ) from None
    return header


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Lines of a file, none of which is longer than a row can be."""
    number = 0
    while line := file.readline(MAX_LINE_CHARS + 1):
        number += 1
        if len(line) > MAX_LINE_CHARS:
            raise SpecError(
                f"'{path}', line {number}: it is longer than {MAX_LINE_CHARS:,} characters: shorten it."
            )
        if "\0" in line:
            raise SpecError(
                f"'{path}', line {number}: it holds a NUL byte, so it is no text: write the file anew."
            )
        yield line


def _check_names(names: Iterable[str], path: Path) -> None:
    """Refuse columns of which one would hide another."""
    listed = [name for name in names if name]
    if not listed:
        raise SpecError(f"'{path}' is no csv table (its first line names no column): write a header.")
    if len(listed) == 1 and any(sign in listed[0] for sign in ";\t|"):
        raise SpecError(
            f"'{path}', line 1: the header {cut(repr(listed[0]))} has no comma: separate cells by commas."
        )
    number = next((name for name in listed if _is_number(name)), None)
    if number is not None:
        raise SpecError(
            f"'{path}', line 1: the header holds the number {number[:60]}: write the columns' names there."
        )
    if len(listed) > MAX_COLUMNS:
        raise SpecError(
            f"'{path}' has more than {MAX_COLUMNS:,} columns, too many for a table: leave some out."
        )
    twice = next((name for place, name in enumerate(listed) if name in listed[:place]), None)
    if twice is not None:
        raise SpecError(f"'{path}' has two columns {cut(repr(twice))}: rename or remove one.")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _check_size(num_rows: int, path: Path) -> None:
    if num_rows > MAX_ROWS:
        raise SpecError(f"'{path}' has more than {MAX_ROWS:,} rows, too many for a table: split it.")


def _read_parquet(path: Path) -> pd.DataFrame:
    from pyarrow import parquet

    with path.open("rb") as file:
        source = parquet.ParquetFile(file)
        if not source.schema_arrow.names:
            raise SpecError(f"'{path}' has no columns, so nothing stands in it: check how it was written.")
        _check_names(source.schema_arrow.names, path)
        _check_size(source.metadata.num_rows, path)
        for field in source.schema_arrow:
            if pa.types.is_nested(field.type) or isinstance(field.type, pa.BaseExtensionType):
                raise SpecError(
                    f"'{path}' has {field.type} in column {cut(repr(field.name))}, but a cell holds one number or "
                    "text: write it so."
                )
        batches, left = [], MAX_BYTES
        for batch in source.iter_batches(batch_size=_BATCH_ROWS):
            batch.validate(full=True)  # text that is no UTF-8 would be noticed by whoever looks at it
            left -= batch.nbytes
            if left < 0:
                raise SpecError(
                    f"'{path}' unfolds to more than {MAX_BYTES:,} bytes, too large for a table: split it."
                )
            batches.append(batch)
        frame: pd.DataFrame = pa.Table.from_batches(batches, source.schema_arrow).to_pandas()
        return frame
