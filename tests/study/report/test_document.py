"""The JSON document: its documented form, its order, and numbers that any reader can read."""

import json
from dataclasses import fields, replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from study.report import ReportModel, build, document
from study.report.document import to_json
from study.report.schema import (
    ClaimEntry,
    DesignEntry,
    PartEntry,
    StabilityEntry,
    ThresholdsEntry,
    json_schema,
)
from study.statistics.claims import Design
from study.statistics.results import ClaimResult, PartResult, Stability, Thresholds
from tests.study.report import sample_report, synthetic, verdict_samples

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model() -> ReportModel:
    return sample_report.model()


def refuse(constant: str) -> None:
    raise AssertionError(constant)


def test_the_exported_schema_is_current():
    stored = json.loads((ROOT / "docs" / "report.schema.json").read_text())
    assert stored == json_schema(), "write it anew: make schema"
    jsonschema.Draft202012Validator.check_schema(stored)


def test_every_field_of_a_claim_is_described():
    definitions = json_schema()["$defs"]
    for name in (
        "ClaimEntry",
        "PartEntry",
        "ThresholdsEntry",
        "StabilityEntry",
        "ProvenanceEntry",
        "DesignEntry",
    ):
        for key, field in definitions[name]["properties"].items():
            assert field.get("description", ""), f"{name}.{key}"


def test_the_schema_knows_every_field_of_the_results():
    assert set(ClaimEntry.model_fields) == {field.name for field in fields(ClaimResult)}
    assert set(PartEntry.model_fields) == {field.name for field in fields(PartResult)}
    assert set(StabilityEntry.model_fields) == {field.name for field in fields(Stability)}
    assert set(ThresholdsEntry.model_fields) == {field.name for field in fields(Thresholds)}
    assert set(DesignEntry.model_fields) == {field.name for field in fields(Design)}


def test_a_document_with_every_verdict_keeps_the_schema(model: ReportModel):
    found = json.loads(to_json(model), parse_constant=refuse)
    jsonschema.validate(found, json_schema())
    assert list(found)[:5] == ["format", "version", "name", "state", "claims"]
    assert (found["format"], found["version"]) == ("trialwright-report", 2)
    assert [claim["verdict"] for claim in found["claims"]] == [
        str(c.verdict) for c in verdict_samples.claims()
    ]
    assert found["provenance"]["registered"] == verdict_samples.REGISTERED
    assert found["trials"]["confirmation"]["gradamw"] == {"finished": 29, "infra_failed": 1}


def test_numbers_keep_their_last_bit(model: ReportModel):
    part = verdict_samples.supported_meaningful().parts[0]
    found = json.loads(to_json(model))["claims"][1]["parts"][0]
    assert found["estimate"] == part.estimate
    assert tuple(found["differences"]) == part.differences
    assert found["thresholds"] == {"null": 0.0, "margin": 0.0, "sesoi": 0.01, "equivalence": 0.01}


def test_what_is_no_finite_number_becomes_null(model: ReportModel):
    assert model.analysis is not None
    part = replace(model.analysis.claims[0].parts[0], ci_high=float("inf"), e_value=float("nan"))
    claim = replace(model.analysis.claims[0], parts=(part,))
    changed = replace(model, analysis=replace(model.analysis, claims=(claim,)))
    (found,) = document(changed)["claims"][0]["parts"]
    assert (found["ci_high"], found["e_value"]) == (None, None)
    jsonschema.validate(document(changed), json_schema())


def test_numbers_of_numpy_are_numbers(model: ReportModel):
    found = document(
        replace(model, manifest={"count": np.int64(3), "share": np.float64("nan"), "yes": np.True_})
    )
    assert found["provenance"]["manifest"] == {"count": 3, "share": None, "yes": True}


def test_without_claims_the_document_says_so_and_keeps_the_schema(empty, partial):
    for taken in (empty, partial):
        found = json.loads(to_json(build(taken)), parse_constant=refuse)
        jsonschema.validate(found, json_schema())
        assert (found["claims"], found["provenance"]["registered"]) == ([], None)
    assert found["trials"] == {
        "search": {"rsgd": {"diverged": 1, "finished": 3}, "grsgd": {"finished": 3, "unfinished": 1}}
    }


def test_the_same_model_gives_the_same_bytes(model: ReportModel):
    assert to_json(model) == to_json(sample_report.modelled(sample_report.snapshot()))


def test_the_engines_own_verdicts_keep_the_schema():
    model = build(replace(sample_report.snapshot(), claims=synthetic.claim_set(seeds=6, replicates=2)))
    assert model.analysis is not None
    found = json.loads(to_json(model), parse_constant=refuse)
    jsonschema.validate(found, json_schema())
    assert len(found["claims"]) == 8
