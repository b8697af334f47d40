"""What docs/claims.md says holds."""

import re
from pathlib import Path

import pytest

from search_spaces.errors import SpecError
from study.claims import lock
from study.claims.file import ClaimsFile
from study.claims.parts import CompareSection, ConjunctiveClaim, PartSection, PlanSection
from study.statistics.metrics import METRICS
from tests.study.claims.claims_files import write

DOCS = (Path(__file__).parents[3] / "docs" / "claims.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"```yaml\n(.*?)```", DOCS, flags=re.DOTALL)[0]


def test_the_worked_example_can_be_locked(tmp_path):
    assert [claim.id for claim in lock(write(tmp_path, EXAMPLE)).file.claims] == ["robust", "stable"]


def test_the_refusal_that_it_quotes_is_the_one_that_is_given(tmp_path):
    quoted = " ".join(re.findall(r"^> (.*)$", DOCS, flags=re.MULTILINE))
    path = write(tmp_path, EXAMPLE.replace("replicates: 10", "replicates: 4"))
    with pytest.raises(SpecError) as refusal:
        lock(path)
    assert str(refusal.value).replace(str(path), "claims.yaml") == quoted


def test_every_key_is_documented():
    rows = set(re.findall(r"`([a-z_]+)`", DOCS)) | set(re.findall(r"`[a-z]+\.([a-z_]+)`", DOCS))
    for model in (ClaimsFile, ConjunctiveClaim, PartSection, CompareSection, PlanSection):
        assert set(model.model_fields) - {"a", "b"} <= rows, model.__name__


def test_the_table_of_metrics_is_that_of_the_engine():
    rows = re.findall(
        r"^\| `([a-z_]+)` \| (less|greater) \| (.*?) \| (\w+) \| ([^|]*)\|", DOCS, flags=re.MULTILINE
    )
    said = {
        name: (better, unit, phase, tuple(re.findall(r"\w+", needs)))
        for name, better, unit, phase, needs in rows
    }
    assert said == {
        metric.name: (metric.better, metric.unit, str(metric.phase), metric.needs)
        for metric in METRICS.values()
    }
