"""The search spaces, as declared and as drawn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.records import Param, Phase
from study.report.snapshot import TrialRow


@dataclass(frozen=True, kw_only=True)
class SpaceDimension:
    """One hyperparameter of one family."""

    family: str
    name: str
    declared: Any
    """As the study file writes it, such as `{"log": [1e-4, 1]}`; None where it is not declared."""
    sampled: tuple[Param, ...]
    """Distinct values if they are few choices, else the lowest and the highest, over search and design."""
    num_distinct: int


FEW = 8
"""Up to so many choices are listed one by one."""


def dimensions(
    families: Sequence[str],
    rows: Sequence[TrialRow],
    *,
    manifest: Mapping[str, Any],
    spec: Mapping[str, Any],
) -> tuple[SpaceDimension, ...]:
    """Every dimension of every family: what the manifest or the study file declares and what was drawn."""
    found: list[SpaceDimension] = []
    for family in families:
        declared = _declared(family, manifest, spec)
        drawn = [
            r
            for r in rows
            if r.family == family and r.phase in (Phase.SEARCH, Phase.SENSITIVITY) and r.params
        ]
        names = dict.fromkeys([*declared, *(name for r in drawn for name in r.params)])
        for name in names:
            values = sorted(
                {r.params[name] for r in drawn if name in r.params}, key=lambda v: (isinstance(v, str), v)
            )
            found.append(
                SpaceDimension(
                    family=family,
                    name=name,
                    declared=declared.get(name),
                    sampled=tuple(values) if _listable(values) else (values[0], values[-1]),
                    num_distinct=len(values),
                )
            )
    return tuple(found)


def _listable(values: Sequence[Param]) -> bool:
    """Whether values read better one by one than as a range."""
    return len(values) < 2 or (len(values) <= FEW and not any(isinstance(v, float) for v in values))  # noqa: PLR2004


def _declared(family: str, manifest: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's whole space, else the study file's overrides; `all` applies to every family."""
    space = (manifest.get("spaces") or {}).get(family)
    if space:
        return dict(space.get("dimensions", space))
    overrides = spec.get("spaces") or {}
    return {**(overrides.get("all") or {}), **(overrides.get(family) or {})}
