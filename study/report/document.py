"""The whole report as one JSON document, whose form `study.report.schema` describes."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from study.report.model import ReportModel
from study.report.schema import FORMAT, VERSION
from study.report.snapshot import TrialRow
from study.statistics.results import Analysis

ELSEWHERE = frozenset({"name", "state", "analysis", "trials", "manifest"})
"""Parts of the model that stand under another key, or in the tables of trials."""


def document(model: ReportModel) -> dict[str, Any]:
    """Everything that the report says, as plain data; what is no finite number is None.

    The claims come first, then the trials as counts, then where all of it comes from, then everything that
    describes. The trials themselves are in the CSV and Parquet tables.
    """
    found = model.analysis
    content = {
        "format": FORMAT,
        "version": VERSION,
        "name": model.name,
        "state": model.state,
        "claims": found.claims if found else [],
        "trials": found.trial_counts if found else _counts(model.trials),
        "provenance": _provenance(found) | {"manifest": model.manifest},
        "stability": found.stability if found else [],
        "notes": found.notes if found else [],
    }
    rest = [field.name for field in dataclasses.fields(model) if field.name not in ELSEWHERE]
    plain: dict[str, Any] = _plain(content | {name: getattr(model, name) for name in rest})
    return plain


def to_json(model: ReportModel) -> bytes:
    """The document as UTF-8 text; the same model gives the same bytes."""
    return (json.dumps(document(model), ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _provenance(found: Analysis | None) -> dict[str, Any]:
    if found is None:
        return {
            "registered": None,
            "amendments": [],
            "alpha": None,
            "workloads": [],
            "design": None,
            "num_duplicates": 0,
            "analysis": {},
        }
    asked = found.claim_set
    return {
        "registered": asked.registered or None,
        "amendments": asked.amendments,
        "alpha": asked.alpha,
        "workloads": asked.workloads,
        "design": asked.design,
        "num_duplicates": found.num_duplicates,
        "analysis": found.provenance,
    }


def _counts(rows: tuple[TrialRow, ...]) -> dict[str, dict[str, dict[str, int]]]:
    """Phase, family, outcome: number of trials."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows:
        outcomes = counts.setdefault(row.phase.value, {}).setdefault(row.family, {})
        outcome = row.outcome.value if row.outcome is not None else "unfinished"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return counts


def _plain(value: Any) -> Any:
    """Dataclasses, mappings, sequences and words as JSON knows them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    return _leaf(value.item() if isinstance(value, np.generic) else value)


def _leaf(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int) else str(value)
