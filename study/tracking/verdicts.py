"""Verdicts as MLflow carries them: tags and metrics on the runs of the study and of the claimed families.

They are read from the study's own `report.json`, which is made from the ledger, so that they too can be shipped
again at any time. On a family's run stand the claims that are made of that family: there an estimate above no
difference speaks for it.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPORT = "report.json"
FIGURES = ("estimate", "ci_low", "ci_high")


@dataclass(frozen=True, kw_only=True)
class RunVerdicts:
    """What one run carries of the claims."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """`claim.<id>.verdict`, `.grade`, `.title` and `.compared_with`."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """`claim.<id>.<metric>.estimate`, `.ci_low` and `.ci_high`, in the metric's unit."""


NO_VERDICTS = RunVerdicts()
Verdicts = Mapping[str, RunVerdicts]
"""Family, or the empty text for the study, to what its run carries."""


def read_verdicts(folder: Path) -> Verdicts:
    """The verdicts of the report in a folder; none where there is no report, or an unreadable one."""
    try:
        document = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        claims: list[Mapping[str, Any]] = document["claims"]
        families = dict.fromkeys(claim["a"] for claim in claims)
        return {"": _carried(claims)} | {
            family: _carried([claim for claim in claims if claim["a"] == family]) for family in families
        }
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _carried(claims: Sequence[Mapping[str, Any]]) -> RunVerdicts:
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}
    for claim in claims:
        prefix = f"claim.{claim['id']}"
        tags |= {
            f"{prefix}.verdict": str(claim["verdict"]),
            f"{prefix}.grade": str(claim["grade"]),
            f"{prefix}.title": str(claim["title"]),
            f"{prefix}.compared_with": str(claim["b"]),
        }
        for name, part in zip(_names(claim["parts"]), claim["parts"], strict=True):
            found = {f"{prefix}.{name}.{figure}": part[figure] for figure in FIGURES}
            metrics |= {key: float(number) for key, number in found.items() if number is not None}
    return RunVerdicts(tags=tags, metrics=metrics)


def _names(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each part: its metric, and what else is needed to tell it from the others of the claim."""
    names = [str(part["metric"]) for part in parts]
    for distinction in ("factor", "workload"):
        counts = Counter(names)
        names = [
            f"{name}.{part[distinction]}" if counts[name] > 1 and part[distinction] else name
            for name, part in zip(names, parts, strict=True)
        ]
    counts = Counter(names)
    return [f"{name}.{place}" if counts[name] > 1 else name for place, name in enumerate(names, start=1)]
