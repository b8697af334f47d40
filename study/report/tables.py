"""The trial table, the curves, the verdicts and the forecast as CSV and Parquet."""

import dataclasses
import io
import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import pandas as pd

from study.report.forecast import Forecast
from study.statistics.results import Analysis, ClaimResult, PartResult, Thresholds

FORMULA = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that make a spreadsheet run a text cell as a formula, the wide ones of East Asian fonts too."""
PER_UNIT = frozenset({"units", "differences", "a_values", "b_values"})
"""What an endpoint has of each paired unit: it is in `report.json`."""


def to_csv(frame: pd.DataFrame) -> bytes:
    """A table as UTF-8 CSV in which no text can run as a formula.

    A text cell or a column's name that begins like a formula gets a leading apostrophe, the spreadsheets' own
    mark of text; a carriage return, which would end the row, becomes a line feed, which is quoted. Numbers are
    written so that they read back the same.
    """
    safe = frame.copy()
    for name in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[name]):
            safe[name] = safe[name].map(_neutral)
    safe.columns = pd.Index([_neutral(str(name)) for name in safe.columns])
    return safe.to_csv(index=False, lineterminator="\n").encode()


def to_parquet(frame: pd.DataFrame) -> bytes:
    """A table as Parquet; a column that mixes text and numbers becomes text."""
    plain = frame.copy()
    for name in plain.columns:
        if plain[name].dtype == object:
            kinds = {type(v) for v in plain[name] if not _absent(v)}
            if len(kinds) > 1 and not kinds <= {int, float}:
                plain[name] = plain[name].map(lambda v: None if _absent(v) else str(v))
    buffer = io.BytesIO()
    plain.to_parquet(buffer, index=False)
    return buffer.getvalue()


def claims_frame(analysis: Analysis) -> pd.DataFrame:
    """One row a claim, with its verdict."""
    return _frame(ClaimResult, analysis.claims, leave_out={"parts"})


def parts_frame(analysis: Analysis) -> pd.DataFrame:
    """One row for each endpoint of each claim: the claim's id, the result, and its thresholds as `threshold.<name>`."""
    parts = [(claim.id, part) for claim in analysis.claims for part in claim.parts]
    frame = _frame(PartResult, [part for _, part in parts], leave_out=PER_UNIT | {"thresholds"})
    frame.insert(0, "claim", [claim for claim, _ in parts])
    for field in dataclasses.fields(Thresholds):
        values = [getattr(part.thresholds, field.name, None) for _, part in parts]
        frame[f"threshold.{field.name}"] = pd.Series(values, dtype="float64")
    return frame


def forecast_frame(forecast: Forecast) -> pd.DataFrame:
    """One row a phase: `predicted.<what>` and `actual.<what>`, times in seconds."""
    whens = ("predicted", "actual")
    rows = [
        {"phase": one.phase.value}
        | {
            f"{when}.{what}": figure
            for when in whens
            for what, figure in dataclasses.asdict(getattr(one, when)).items()
        }
        for one in forecast.phases
    ]
    return pd.DataFrame(rows).convert_dtypes(dtype_backend="numpy_nullable")


def _frame(kind: type[Any], results: Sequence[Any], *, leave_out: AbstractSet[str]) -> pd.DataFrame:
    """Plain columns of dataclasses: words as text, sentences joined, absent numbers empty."""
    names = [field.name for field in dataclasses.fields(kind) if field.name not in leave_out]
    columns = {name: [_cell(getattr(result, name)) for result in results] for name in names}
    return pd.DataFrame(columns, columns=pd.Index(names)).convert_dtypes(dtype_backend="numpy_nullable")


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _neutral(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(FORMULA) else text


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
