"""The trial table and the curves as CSV and Parquet, and the report's numbers as JSON."""

import dataclasses
import io
import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.report.model import ReportModel

FORMULA = ("=", "+", "-", "@", "\t", "\n")
"""First characters that make a spreadsheet run a text cell as a formula."""


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


def to_json(model: ReportModel) -> bytes:
    """Everything that the report says, as one JSON document; numbers that are not finite become null."""
    document = {"format": "trialwright-report", "version": 1, **dataclasses.asdict(model)}
    return (json.dumps(_plain(document), ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _neutral(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(FORMULA) else text


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)
