"""Claims files for the tests of what a study makes of them."""

import copy
from pathlib import Path
from typing import Any

import yaml

from study.preflight import with_claims
from study.spec import StudySpec, parse_spec

SHIFTED = {"a": "grsgd", "b": "rsgd", "at": {"lr": "b.lr = a.lr * sqrt(top_k)"}}


def claim(name: str, metric: str, compare: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A secondary claim of one part with whatever the metric needs beside."""
    written = {"id": name, "title": f"about {metric}", "role": "secondary", "metric": metric}
    written |= {"compare": copy.deepcopy(compare or SHIFTED), "direction": "less", "sesoi": 0.05}
    return written | changes


def study_with(folder: Path, *claims: dict[str, Any], spec: dict[str, Any], **changes: Any) -> StudySpec:
    """A study of `spec` with a claims file written into `folder`; nothing is laid out yet."""
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims_version": 1, "claims": list(claims), **changes}, sort_keys=False))
    return parse_spec({**spec, "claims": str(path)}, source="study")


def laid_out_study(folder: Path, *claims: dict[str, Any], spec: dict[str, Any], **changes: Any) -> StudySpec:
    """The same with its claims read."""
    return with_claims(study_with(folder, *claims, spec=spec, **changes))
