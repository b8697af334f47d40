"""The studies that are run under load: two families, rungs, planted losses, as many trials as one asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from study.protocol import trial_counts
from study.spec import StudySpec, load_spec
from tests.end_to_end.command import make_place
from tests.faults.studies import STUDY_FILE

EVAL_EVERY, GRACE_STEPS = 4, 4
POINTS = 64
"""Configurations of a replicate of the design."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A study file, and what it asks for."""

    file: Path
    spec: StudySpec

    @property
    def name(self) -> str:
        """The study's."""
        return self.spec.name

    @property
    def num_trials(self) -> int:
        """All that it plans; exact, since it has no factor slices."""
        return sum(sum(families.values()) for families in trial_counts(self.spec).values())


def phases(search: int, replicates: int, seeds: int) -> dict[str, Any]:
    """Of a study with 2 x (search + 64 x replicates + seeds) trials."""
    sensitivity = {"replicates": replicates, "points": POINTS} if replicates else None
    return {
        "search": {"trials": search, "reduction": 2, "grace_steps": GRACE_STEPS},
        "sensitivity": sensitivity,
        "confirmation": {"seeds": seeds, "looks": [seeds], "default_seeds": 0, "perturbed_seeds": 0},
    }


def make_study_place(folder: Path) -> Path:
    """A folder with base and rows, for any number of study files."""
    folder.mkdir(parents=True)
    return make_place(folder)


def write_study(place: Path, name: str, *, seed: int, lanes: int, asks: Mapping[str, Any]) -> Written:
    """Write `<name>.yaml`.

    Args:
        place: made by `make_study_place`.
        name: of the study.
        seed: of the study.
        lanes: trials that train at once.
        asks: its phases.
    """
    text = Template(STUDY_FILE).substitute(
        seed=seed, packs=1, searched=1, seeds=1, base=place / "base", rows=place / "rows.jsonl"
    )
    document = yaml.safe_load(text) | {"name": name, "phases": dict(asks)}
    document["training"] |= {"eval_every": EVAL_EVERY, "checkpoint_every": document["training"]["steps"]}
    document["resources"] |= {"lanes": lanes}
    del document["claims"]
    file = place / f"{name}.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return Written(file=file, spec=load_spec(file))
