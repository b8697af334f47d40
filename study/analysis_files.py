"""Tables of trials and curves from files that anything may have written, each checked under its file's name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from search_spaces.errors import SpecError, cut
from study.statistics.trials import read_trials
from study.table_files import WHOLE, read_table

OTHER_NUMBERS = ("attempts", "report_accuracy", "select_accuracy")
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
        _require_measurements(measured, curves)
        if "trial" in measured.columns:
            measured = measured.assign(trial=measured["trial"].astype(str))
        measured = _with_numbers(measured, [n for n in measured.columns if n != "trial"], curves)
        if "step" in measured.columns and measured["step"].isna().any():
            row = int(measured["step"].isna().to_numpy().argmax())
            raise SpecError(f"'{curves}', row {row + 1}: step is empty: write the step of each measurement.")
    read_trials(frame, None if curves is None else measured, source=f"'{trials}'")
    return Tables(trials=frame, curves=measured)


def _require_measurements(frame: pd.DataFrame, path: Path) -> None:
    for name in CURVES:
        if name not in frame.columns and not (name == "value" and "select_loss_nats" in frame.columns):
            raise SpecError(f"'{path}' has no column {name!r}, which every measurement needs: add it.")


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
            f"'{path}', row {row + 1}: {name} is {cut(str(column.iloc[row]))}, which is beyond 2^63 - 1: "
            "number seeds and replicates below it."
        )


def _too_large(value: object) -> bool:
    digits = str(value).strip().lstrip("+-")
    return digits.isdecimal() and (len(digits.lstrip("0")) > len(str(LARGEST)) or int(digits) > LARGEST)


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
            cell = cut(repr(frame[name].iloc[row]))
            raise SpecError(f"'{path}', row {row + 1}: {name} is {cell}, which is no number: correct it.")
        found[name] = numbers.astype("float64")
    return frame.assign(**found)
