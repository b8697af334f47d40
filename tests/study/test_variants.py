"""Variants: families with a setting fixed otherwise, compared like any family under a name of their own."""

from typing import Any

import jsonschema
import pytest

from search_spaces import FAMILIES, Category, LogFloat
from search_spaces.errors import SpecError
from study.protocol import (
    check_equal_budgets,
    confirmation_trials,
    default_params,
    search_trials,
    sensitivity_trials,
)
from study.spec import StudySpec, json_schema, parse_spec
from tests.study.study_files import with_change

VARIANTS = {
    "grsgd_zero": {"of": "grsgd", "gate_exponent": 0.0},
    "grsgd_faithful": {"of": "grsgd", "input_gradient": "faithful"},
}


def study(**changes: Any) -> StudySpec:
    whole = {"variants": VARIANTS, "families": ["grsgd", "rsgd", *VARIANTS], **changes}
    return parse_spec(with_change(**whole), "x")


def test_a_variant_is_its_family_but_for_what_it_fixes():
    spec = study()
    zero, faithful, whole = spec.family("grsgd_zero"), spec.family("grsgd_faithful"), spec.family("grsgd")
    assert whole is FAMILIES["grsgd"]
    assert (zero.name, zero.rule, zero.preconditioned) == ("grsgd_zero", whole.rule, whole.preconditioned)
    assert (zero.gate_exponent, faithful.gate_exponent) == (0.0, 0.5)
    assert zero.space == faithful.space == whole.space
    assert zero.defaults == whole.defaults
    assert spec.summary("grsgd_faithful") == "grsgd with input_gradient faithful"
    assert spec.summary("rsgd") == FAMILIES["rsgd"].summary


def test_a_variant_shares_its_familys_overrides_and_may_have_its_own():
    spaces = {
        "all": {"rank": 4},
        "grsgd": {"lr": {"log": [1e-3, 1e-1]}},
        "grsgd_zero": {"num_experts": [4, 8]},
    }
    spec = study(spaces=spaces)
    assert spec.space("grsgd_zero").dimensions["lr"] == LogFloat(1e-3, 1e-1)
    assert spec.space("grsgd_zero").dimensions["rank"] == Category((4,))
    assert spec.space("grsgd_zero").dimensions["num_experts"] == Category((4, 8))
    assert spec.space("grsgd").dimensions["num_experts"] == FAMILIES["grsgd"].space.dimensions["num_experts"]
    assert spec.space("rsgd").dimensions["lr"] == FAMILIES["rsgd"].space.dimensions["lr"]


def test_a_variant_meets_the_points_and_seeds_of_its_family():
    spec = study()
    best = default_params(spec)
    trials = [trial for name in spec.families for trial in search_trials(spec, name)]
    trials += sensitivity_trials(spec, best) + confirmation_trials(spec, best)
    found = {
        name: [(t.key.replace(f"/{name}/", "/"), t.seed, dict(t.params)) for t in trials if t.family == name]
        for name in ("grsgd", *VARIANTS)
    }
    assert found["grsgd_zero"] == found["grsgd_faithful"] == found["grsgd"]
    check_equal_budgets(spec, trials)


def test_a_study_with_variants_reads_back_as_the_same_study():
    spec = study()
    again = parse_spec(spec.canonical(), "x")
    assert again == spec.model_copy(update={"spaces": again.spaces})
    assert again.digest == spec.digest
    jsonschema.validate(spec.canonical(), json_schema())


def test_what_a_variant_fixes_is_in_the_digest_and_no_variants_are_not():
    changed = {**VARIANTS, "grsgd_zero": {"of": "grsgd", "gate_exponent": 0.25}}
    digests = {
        study().digest,
        study(variants=changed).digest,
        study(variants={}, families=["grsgd", "rsgd"]).digest,
    }
    assert len(digests) == 3
    plain = parse_spec(with_change(), "x")
    assert plain.digest == parse_spec(with_change(variants={}), "x").digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rsgd": {"of": "grsgd", "gate_exponent": 0}},
            "variants holds 'rsgd', but a variant has a name of its own",
        ),
        (
            {"all": {"of": "grsgd", "gate_exponent": 0}},
            "variants holds 'all', but a variant has a name of its own",
        ),
        (
            {"a/b": {"of": "grsgd", "gate_exponent": 0}},
            "variants holds 'a/b', but a variant has a name of its own",
        ),
        (
            {"z": {"of": "grsdg", "gate_exponent": 0}},
            "variants.z.of: Unknown family 'grsdg', did you mean 'grsgd'?",
        ),
        (
            {"z": {"of": "grsgd"}},
            "variants.z fixes nothing, but must differ from grsgd: write one of bias_correction, ",
        ),
        (
            {"z": {"of": "grsgd", "gate_exponent": 0}},
            "variants.z is not compared: add z to families, or remove it",
        ),
        ({"z": {"gate_exponent": 0}}, "variants.z.of is missing: add it"),
        (
            {"z": {"of": "grsgd", "gate_exponnet": 0}},
            "unknown key 'gate_exponnet' in variants.z, did you mean 'gate_exponent'? Known: bias_correction, ",
        ),
        (
            {"z": {"of": "grsgd", "gate_exponent": 2}},
            "variants.z.gate_exponent is 2, but must be less than or equal",
        ),
        ({"z": {"of": "grsgd", "input_gradient": "released"}}, "must be 'exact' or 'faithful'"),
        ({"z": 3}, "variants.z is 3, but must be a mapping of keys to values"),
    ],
)
def test_a_mistake_in_a_variant_is_one_sentence(change: dict[str, Any], message: str):
    with pytest.raises(SpecError) as caught:
        parse_spec(with_change(variants=change), "x")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_family_is_held_against_the_variants_too():
    with pytest.raises(SpecError, match=r"Unknown family 'grsgd_zer', did you mean 'grsgd_zero'\?"):
        study(families=["grsgd", "grsgd_zer", "grsgd_faithful"])


@pytest.mark.parametrize(
    "change",
    [
        {"families": ["grsgd", "rsdg"], "variants": {}},
        {"variants": {"rsgd": {"of": "grsgd", "gate_exponent": 0}}},
        {"variants": {"z": {"of": "grsdg", "gate_exponent": 0}}},
        {"variants": {"z": {"of": "grsgd", "gate_exponnet": 0}}},
        {"variants": {"z": {"gate_exponent": 0}}},
    ],
)
def test_an_editor_sees_the_mistakes_in_variants(change: dict[str, Any]):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(with_change(**change), json_schema())
