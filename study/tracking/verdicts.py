"""Verdicts as MLflow carries them: tags and metrics on the runs of the study and of the claimed families.

They come from the study's own report, which is made from the ledger, so that they too can be shipped again at any
time. On a family's run stand the claims that are made of that family: there an estimate above no difference speaks
for it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ENDS = ("estimate", "ci_low", "ci_high")


@dataclass(frozen=True, kw_only=True)
class Carried:
    """What one run carries of the report."""

    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    sentences: Sequence[str] = ()
    """The verdicts on it in words, for its description; not yet made safe for Markdown."""


def carried_verdicts(claims: Sequence[Mapping[str, Any]]) -> Carried:
    """Tags `claim.<id>.…` and `verdicts`, metrics `claim.<id>.<metric>.…`, of claims as the report's JSON has them."""
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
            found = {f"{prefix}.{name}.{end}": part[end] for end in ENDS}
            metrics |= {key: float(number) for key, number in found.items() if number is not None}
    if claims:
        tags["verdicts"] = "; ".join(_short(claim) for claim in claims)
    return Carried(tags=tags, metrics=metrics, sentences=tuple(_sentence(claim) for claim in claims))


def _short(claim: Mapping[str, Any]) -> str:
    grade = f" ({claim['grade']})" if claim["grade"] else ""
    return f"{claim['id']} {claim['verdict']}{grade}"


def _sentence(claim: Mapping[str, Any]) -> str:
    """A claim in words, such as `C1, gradamw against adamw: “a title” is supported (meaningful).`."""
    against = f" against {claim['b']}" if claim["b"] else ""
    grade = f" ({claim['grade']})" if claim["grade"] else ""
    extra = claim.get("extra")
    more = f" {extra} more replicates or seeds would decide it." if extra else ""
    return f"{claim['id']}, {claim['a']}{against}: “{claim['title']}” is {claim['verdict']}{grade}.{more}"


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
