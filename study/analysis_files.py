"""Tables of trials and curves from files that anything may have written: CSV and Parquet, read without a loss."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from search_spaces.errors import SpecError
from study.statistics.trials import read_trials

TEXT = ("trial", "phase", "slice", "workload", "family", "outcome", "reason")
"""Columns of a CSV file that are text, even where they look like numbers or like nothing."""
WHOLE = ("replicate", "point", "seed")
"""Columns of whole numbers, which a float would round."""
OTHER_NUMBERS = ("attempts", "report_accuracy", "select_accuracy")
MISSING = ["", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None", "<NA>"]
"""Cells of a column of numbers that hold no number."""
LARGEST = 2**63 - 1
EXACT = 2**53
"""Beyond it, a float no longer tells neighbouring whole numbers apart."""
CURVES = ("trial", "step", "value")


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """What was read for an analysis."""

    trials: pd.DataFrame
    """One row a trial, as in the file."""
    curves: pd.DataFrame
    """One row a measurement: `trial`, `step` and `value` or `select_loss_nats`; empty without a file."""


def read_tables(trials: Path, curves: Path | None = None) -> Tables:
    """A trial table with its optional curves, each checked under its file's name.

    Args:
        trials: a CSV or Parquet file, one row a trial.
        curves: a CSV or Parquet file, one row a measurement.

    Raises:
        SpecError: a file cannot be read, is no table, or breaks a rule of its table.
    """
    frame = read_table(trials)
    for name in WHOLE:
        if name in frame.columns:
            _refuse_inexact(frame[name], name, trials)
    others = [name for name in frame.columns if name in OTHER_NUMBERS or _is_perturbed_score(str(name))]
    frame = _with_numbers(frame, others, trials)
    measured = pd.DataFrame(columns=pd.Index(CURVES)) if curves is None else read_table(curves)
    if curves is not None:
        if "trial" in measured.columns:
            measured = measured.assign(trial=measured["trial"].astype(str))
        measured = _with_numbers(measured, [n for n in measured.columns if n != "trial"], curves)
        if "step" in measured.columns and measured["step"].isna().any():
            row = int(measured["step"].isna().to_numpy().argmax())
            raise SpecError(f"'{curves}', row {row + 1}: step is empty: write the step of each measurement.")
    read_trials(frame, None if curves is None else measured, source=f"'{trials}'")
    return Tables(trials=frame, curves=measured)


def read_table(path: Path) -> pd.DataFrame:
    """A table from a file.

    In a CSV file, text stays as written (a family may be called `nan`), whole numbers stay text until they are
    checked, and other numbers are read to their last bit.

    Raises:
        SpecError: there is no such file, it is neither CSV nor Parquet, or it is not what its name says.
    """
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SpecError(f"'{path}' is no table that can be read: name a file that ends in .csv or .parquet.")
    try:
        return reader(path)
    except OSError as error:
        why = error.strerror or "it is not a regular file"
        raise SpecError(f"'{path}' cannot be read ({why}): name a .csv or .parquet file.") from None
    except (ValueError, pa.ArrowException) as error:
        why = " ".join(str(error).split()).rstrip(".")[:200]
        kind = path.suffix.lower().removeprefix(".")
        raise SpecError(f"'{path}' is no {kind} table ({why}): check how it was written.") from None


def _read_csv(path: Path) -> pd.DataFrame:
    head = pd.read_csv(path, nrows=0, encoding="utf-8-sig")
    names = [str(name) for name in head.columns]
    words = [name for name in names if name in {*TEXT, *WHOLE} or name.startswith("param.")]
    frame = pd.read_csv(
        path,
        encoding="utf-8-sig",
        dtype={name: str for name in words if not name.startswith("param.")},
        keep_default_na=False,
        na_values={name: [""] if name in words else MISSING for name in names},
        float_precision="round_trip",
        low_memory=False,
    )
    for name in TEXT:
        if name in names:
            frame[name] = frame[name].fillna("")
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    with path.open("rb") as file:
        return pd.read_parquet(file)


def _refuse_inexact(column: pd.Series, name: str, path: Path) -> None:
    """Whole numbers that do not fit 64 bits, or that a float has rounded."""
    if pd.api.types.is_float_dtype(column):
        if (column.abs() > EXACT).any():
            raise SpecError(
                f"'{path}' keeps {name} as floating-point numbers beyond 2^53, which are no longer exact: "
                "write them as integers."
            )
        return
    beyond = column.map(_too_large).astype(bool)
    if beyond.any():
        row = int(beyond.to_numpy().argmax())
        raise SpecError(
            f"'{path}', row {row + 1}: {name} is {column.iloc[row]}, which is beyond 2^63 - 1: "
            "number seeds and replicates below it."
        )


def _too_large(value: object) -> bool:
    digits = str(value).strip().lstrip("+-")
    return digits.isdecimal() and int(digits) > LARGEST


def _is_perturbed_score(name: str) -> bool:
    return name.startswith("perturbed.") and name.endswith((".loss", ".accuracy"))


def _with_numbers(frame: pd.DataFrame, names: Iterable[str], path: Path) -> pd.DataFrame:
    """The table with columns that must hold numbers as float64; an empty cell is NaN."""
    found = {}
    for name in names:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        wrong = numbers.isna() & frame[name].notna()
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise SpecError(
                f"'{path}', row {row + 1}: {name} is {frame[name].iloc[row]!r}, which is no number: correct it."
            )
        found[name] = numbers.astype("float64")
    return frame.assign(**found)
