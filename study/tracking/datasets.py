"""The splits that a study trains, selects and reports on, as MLflow's dataset inputs.

MLflow shortens nothing and takes 36 characters for a digest: the SHA-256 of a split's rows is cut to that, and stands
whole in the dataset's profile. An older study's manifest has one over all three splits, which then stands for each.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.errors import SpecError
from study.ledger import StudyRecord

DIGEST_CHARS = 36
CONTEXTS: Mapping[str, str] = {"train": "training", "select": "validation", "report": "testing"}
"""Split → MLflow's word for what it is used for."""


@dataclass(frozen=True, kw_only=True)
class DatasetView:
    """One split."""

    name: str
    """Such as `vader_movie-train`."""
    digest: str
    context: str
    """One of `CONTEXTS`' words."""
    source: str
    """JSON: task, where the text comes from, its licence."""
    profile: str
    """JSON: rows, the whole SHA-256 of the split where it is known, and the one over all splits."""


def datasets(study: StudyRecord) -> list[DatasetView]:
    """The three splits of a study; none where its manifest names no data."""
    digest = str(study.manifest.get("data_digest") or "")
    own: Mapping[str, str] = study.manifest.get("split_digests") or {}
    task: Mapping[str, Any] = study.spec.get("task") or {}
    if not digest or "name" not in task:
        return []
    name = str(task["name"])
    source = {"task": name, "origin": origin(name), "split_seed": task.get("split_seed", 0)}
    if task.get("path"):
        source["path"] = str(task["path"])
    return [
        DatasetView(
            name=f"{name.replace(':', '-')}-{split}",
            digest=own.get(split, digest)[:DIGEST_CHARS],
            context=context,
            source=json.dumps(source, sort_keys=True),
            profile=json.dumps(
                {
                    "rows_at_most": task.get(f"{split}_rows"),
                    **({"sha256": own[split]} if split in own else {}),
                    "sha256_of_all_splits": digest,
                }
            ),
        )
        for split, context in CONTEXTS.items()
    ]


def origin(task: str) -> str:
    """Licence and origin of a task's text, in words; empty for a task that is no longer known."""
    from trainers.tasks import find_task

    try:
        return find_task(task).licence
    except SpecError:
        return ""
