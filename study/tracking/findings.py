"""What the study's report found, as MLflow's runs carry it: tuned results, usable widths, verdicts.

They are read from the `report.json` that lies in an attached folder, so that MLflow and the report never differ.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from study.tracking.verdicts import Carried, carried_verdicts

REPORT = "report.json"
NEAR = 1.05
"""Where no claim names a target: this multiple of the lowest tuned loss."""
NOTHING = Carried()
Findings = Mapping[str, Carried]
"""Family, or the empty text for the study, to what its run carries."""
_WIDTH = "lr_width_decades"


def read_findings(folder: Path) -> Findings:
    """What the report in a folder found; nothing where there is no report, or an unreadable one."""
    try:
        document = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        return findings(document)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def findings(document: Mapping[str, Any]) -> Findings:
    """What a report's JSON document says of the study and of each family.

    Raises:
        LookupError: it lacks a part that every report has.
    """
    claims: Sequence[Mapping[str, Any]] = document["claims"]
    tuned = {one["family"]: one for one in document.get("tuned", ())}
    widths = _claimed_widths(claims) or _drawn_widths(document, tuned)
    families = dict.fromkeys([*tuned, *widths, *(claim["a"] for claim in claims)])
    found = {"": carried_verdicts(claims)}
    for family in families:
        verdicts = carried_verdicts([claim for claim in claims if claim["a"] == family])
        width = widths.get(family, NOTHING)
        found[family] = replace(
            verdicts,
            tags={**verdicts.tags, **width.tags},
            metrics={**verdicts.metrics, **_tuned(tuned.get(family, {})), **width.metrics},
        )
    return found


def _tuned(result: Mapping[str, Any]) -> dict[str, float]:
    loss = _with_interval("tuned_report_loss_nats", result.get("loss"))
    return loss | _with_interval("tuned_report_accuracy", result.get("accuracy"))


def _with_interval(name: str, estimate: Mapping[str, Any] | None) -> dict[str, float]:
    if not estimate:
        return {}
    interval = estimate.get("interval") or {}
    ends = {f"{name}_{end}": interval[end] for end in ("low", "high") if interval.get(end) is not None}
    return {name: float(estimate["mean"])} | {key: float(number) for key, number in ends.items()}


def _claimed_widths(claims: Sequence[Mapping[str, Any]]) -> dict[str, Carried]:
    """Family → width at the target of the first claim that asks for its width."""
    found: dict[str, Carried] = {}
    for claim, part in ((one, part) for one in claims for part in one["parts"]):
        if part["metric"] != "lr_width":
            continue
        for side in ("a", "b"):
            values = [float(value) for value in part[f"{side}_values"] if value is not None]
            if part[side] and values:
                found.setdefault(part[side], _width_of_seeds(values, f"the target of claim {claim['id']}"))
    return found


def _width_of_seeds(values: Sequence[float], target: str) -> Carried:
    metrics = {_WIDTH: sum(values) / len(values)}
    if len(values) > 1:
        from study.statistics.intervals import t_interval

        interval = t_interval(values, 0.95)
        metrics |= {f"{_WIDTH}_low": interval.low, f"{_WIDTH}_high": interval.high}
    return Carried(metrics=metrics, tags={"lr_width_target": target})


def _drawn_widths(document: Mapping[str, Any], tuned: Mapping[str, Mapping[str, Any]]) -> dict[str, Carried]:
    """Family → width of the mean curve of its learning-rate slice, without an interval."""
    losses = [one["loss"]["mean"] for one in tuned.values() if one.get("loss")]
    if not losses:
        return {}
    target = NEAR * min(losses)
    told = {"lr_width_target": f"{target:.4g} nats, 5 % above the lowest tuned loss"}
    curves = {one["family"]: one["mean"] for one in document.get("lr_curves", ()) if one["mean"]}
    return {
        family: Carried(metrics={_WIDTH: width_below(_line(points), target)}, tags=told)
        for family, points in curves.items()
    }


def _line(points: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    return [(float(point["x"]), float(point["y"]["mean"])) for point in points]


def width_below(line: Sequence[tuple[float, float]], level: float) -> float:
    """Length of the stretches on which a line through points, ascending in x, is at or below a level."""
    return sum(_pieces(line, level))


def _pieces(line: Sequence[tuple[float, float]], level: float) -> Iterator[float]:
    for (x0, y0), (x1, y1) in pairwise(line):
        low, high = min(y0, y1), max(y0, y1)
        if high <= level:
            yield x1 - x0
        elif low <= level:
            yield (x1 - x0) * (level - low) / (high - low)
