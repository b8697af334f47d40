"""Claims files: what they become, and in which words a mistake is told."""
# ruff: noqa: E501 -- each mistake and its message share a line

import json
import math
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces.errors import SpecError
from study.claims import CLAIMS_TEMPLATE, json_schema, load_claims, parse_claims
from study.claims.file import read_claims
from study.records import Phase
from study.statistics.claims import Comparison, Design, Direction, Part, Range, Role, Tau
from study.statistics.metrics import METRICS, Metric
from tests.study.claims.claims_files import EXAMPLE, MINIMAL, SHA, changed, load, write

ROOT = Path(__file__).parents[3]


def test_the_specifications_example_becomes_what_the_engine_reads(tmp_path):
    claim_set = load(tmp_path, EXAMPLE).claim_set()
    assert [claim.id for claim in claim_set.claims] == ["C1", "C2", "C3", "C4", "C5"]
    first = claim_set.claims[0]
    assert first.role is Role.PRIMARY
    assert first.comparison == Comparison(a="gradamw", b="adamw")
    assert first.parts == (
        Part(
            metric="lr_width",
            direction=Direction.GREATER,
            margin=0.0,
            sesoi=0.25,
            equivalence=0.25,
            tau=Tau(ref="adamw", within=0.05),
        ),
        Part(metric="tuned_loss", direction=Direction.NONINFERIOR, margin=0.02, sesoi=0.02, relative=True),
    )
    assert claim_set.claims[1].parts[0].factor == "num_experts"
    assert claim_set.claims[4].role is Role.SECONDARY
    assert claim_set.claims[4].parts[0].k == 4
    assert {claim.comparison for claim in claim_set.claims} == {first.comparison}
    assert claim_set.design == Design(seeds_max=30, looks=(10, 20, 30), spending="obf", replicates=10)
    assert claim_set.workloads == ("tiny-moe-lm", "moe-cls")
    assert claim_set.study == "moe-lora-riemannian"
    assert claim_set.registered == {"sha256": SHA, "at": "2026-11-22T16:00:00Z", "commit": "9a1bfcb"}


def test_what_a_file_leaves_out_has_the_documented_values(tmp_path):
    claim_set = load(tmp_path, MINIMAL).claim_set()
    (claim,) = claim_set.claims
    assert (claim.role, claim.workloads, claim.power, claim.underpowered) == (
        Role.PRIMARY,
        "each",
        0.8,
        False,
    )
    assert claim.parts == (Part(metric="tuned_loss", direction=Direction.LESS, sesoi=0.1),)
    assert (claim_set.alpha, claim_set.workloads, claim_set.registered) == (0.05, (), {})


def test_every_setting_of_a_part_reaches_the_engine(tmp_path):
    text = """
    claims_version: 1
    claims:
      - id: A
        title: a
        compare: {a: grsgd, b: rsgd, at: {lr: "b.lr = a.lr * sqrt(top_k)"}}
        metric: matched_loss
        direction: equivalent
        equivalence: {matched_loss: 0.1}
        phase: sensitivity
        where: {router_lr: [1e-4, 1e-2], rank: {min: 8}, top_k: {max: 4}}
        workloads: aggregate(iqm)
        underpowered: accepted
      - {id: B, title: b, compare: {a: grsgd, b: rsgd}, metric: steps_to_target, tau: 1.5, direction: less, workloads: any}
      - {id: C, title: c, metric: misspecification_cost, decades: 0.5, direction: less, role: exploratory}
      - {id: D, title: d, metric: perturbation_drop, perturbation: weights_4bit, of: accuracy, unit: fraction, direction: less}
      - {id: E, title: e, metric: usable_mass, tau: {ref: rsgd}, direction: greater, workloads: aggregate}
    """
    a, b, c, d, e = load(tmp_path, text).claim_set().claims
    assert a.comparison.at_text == "b.lr = a.lr * sqrt(top_k)"
    assert a.comparison.at is not None
    assert a.comparison.at({"lr": 0.1, "top_k": 4}) == {"lr": 0.2, "top_k": 4}
    assert a.parts[0].where == {
        "router_lr": Range(low=1e-4, high=1e-2),
        "rank": Range(low=8, high=math.inf),
        "top_k": Range(low=-math.inf, high=4),
    }
    assert (a.parts[0].phase, a.parts[0].equivalence) == (Phase.SENSITIVITY, 0.1)
    assert [claim.workloads for claim in (a, b, c, e)] == ["aggregate", "any", "each", "aggregate"]
    assert (a.underpowered, b.underpowered) == (True, False)
    assert (b.parts[0].tau, e.parts[0].tau) == (Tau(value=1.5), Tau(ref="rsgd"))
    assert c.parts[0].decades == 0.5
    assert (d.parts[0].perturbation, d.parts[0].of) == ("weights_4bit", "accuracy")


def test_compare_is_inherited_from_the_claim_before_and_replaced_whole(tmp_path):
    text = MINIMAL + """\
  - {id: C2, title: b, metric: tuned_loss, direction: less}
  - {id: C3, title: c, compare: {a: grsgd, b: rsgd, at: {lr: "b.lr = a.lr"}}, metric: tuned_loss, direction: less}
  - {id: C4, title: d, compare: {a: adamw, b: sgd}, metric: tuned_loss, direction: less}
"""  # fmt: skip
    claims = load(tmp_path, text).claim_set().claims
    assert [claim.comparison.a for claim in claims] == ["grsgd", "grsgd", "grsgd", "adamw"]
    assert [claim.comparison.at_text for claim in claims] == ["", "", "b.lr = a.lr", ""]


def test_one_number_bounds_the_equivalence_of_every_part_but_non_inferiorities(tmp_path):
    text = changed(
        "    metric: tuned_loss\n    direction: less\n    sesoi: 0.1\n    plan: {sd: 0.1}\n",
        """    equivalence: 0.3
    all_of:
      - {metric: tuned_loss, direction: less}
      - {metric: seed_abs_dev, direction: less, equivalence: 0.2}
      - {metric: space_score, direction: noninferior, margin: 0.1}
""",
    )
    (claim,) = load(tmp_path, text).claim_set().claims
    assert [part.equivalence for part in claim.parts] == [0.3, 0.2, None]


def test_claims_amended_after_data_are_exploratory(tmp_path):
    records = f"""
amendments:
  - {{at: "2026-12-01", reason: wrong factor, after_data: true, claims: {{C1: {SHA}}}, previous: {SHA}, sha256: {SHA}, seal: {SHA}}}
  - {{at: "2026-12-02", reason: typing, after_data: false, claims: {{C2: {SHA}}}, previous: {SHA}, sha256: {SHA}, seal: {SHA}}}
  - {{at: "2026-12-03", reason: again, after_data: true, claims: {{C1: {SHA}}}, previous: {SHA}, sha256: {SHA}, seal: {SHA}}}
"""
    text = MINIMAL + "  - {id: C2, title: b, metric: tuned_loss, direction: less}\n" + records
    claim_set = load(tmp_path, text).claim_set()
    assert [claim.role for claim in claim_set.claims] == [Role.EXPLORATORY, Role.PRIMARY]
    assert claim_set.claims[0].amended == "2026-12-01: wrong factor; 2026-12-03: again"
    assert [dict(one)["claims"] for one in claim_set.amendments] == ["C1", "C2", "C1"]
    assert [one["after_data"] for one in claim_set.amendments] == ["true", "false", "true"]


def test_the_template_is_a_claims_file_that_can_be_locked(tmp_path):
    from study.claims import lock

    assert lock(write(tmp_path, CLAIMS_TEMPLATE)).action == "locked"


def test_the_metrics_may_be_given():
    written = {
        "claims_version": 1,
        "claims": [{"id": "C", "title": "c", "compare": {"a": "sgd", "b": "rsgd"}}],
    }
    written["claims"][0] |= {"metric": "mine", "direction": "greater"}
    mine = Metric(
        name="mine",
        title="",
        unit="m",
        better="greater",
        phase="sensitivity",
        formula="",
        source="",
        contrast=print,
    )
    assert parse_claims(written, source="x", metrics={"mine": mine}).claims[0].id == "C"
    with pytest.raises(SpecError, match="x: claim C: Unknown metric 'mine'"):
        parse_claims(written, source="x", metrics=METRICS)


def test_a_missing_file_names_the_way_to_one(tmp_path):
    with pytest.raises(
        SpecError, match=r"does not exist: check the name, or write one by `trialwright claims init`\."
    ):
        load_claims(tmp_path / "none.yaml")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 99) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["id", "metric", "all_of", "tau", "where", "compare", "a", "x"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(key=st.sampled_from(["claims", "families", "design", "registered", "amendments"]), value=PLAIN)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_plain_data_raises_anything_but_a_spec_error(key, value):
    written = {"claims_version": 1, "claims": [{"id": "C", "title": "t"}], key: value}
    with pytest.raises(SpecError):
        parse_claims(written, source="claims.yaml")


@given(
    change=st.dictionaries(
        st.sampled_from(["metric", "tau", "where", "compare", "unit", "k", "of", "phase"]), PLAIN
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_no_claim_raises_anything_but_a_spec_error(change):
    claim = {
        "id": "C",
        "title": "t",
        "compare": {"a": "sgd", "b": "rsgd"},
        "metric": "tuned_loss",
        "direction": "less",
    }
    try:
        file = parse_claims({"claims_version": 1, "claims": [claim | change]}, source="claims.yaml")
    except SpecError:
        return
    assert file.claim_set().claims[0].id == "C"


def test_the_json_schema_accepts_the_examples_and_refuses_typing_errors(tmp_path):
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for text in (MINIMAL, EXAMPLE, CLAIMS_TEMPLATE, MINIMAL.replace("sesoi: 0.1", "tau: 3.5")):
        jsonschema.validate(read_claims(write(tmp_path, text)), schema)
    for old, new in (("sesoi", "seosi"), ("direction: less", "direction: les"), ("a: grsgd, ", "")):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(read_claims(write(tmp_path, MINIMAL.replace(old, new))), schema)


def test_the_committed_json_schema_is_current():
    committed = json.loads((ROOT / "docs" / "claims.schema.json").read_text(encoding="utf-8"))
    assert committed == json_schema(), "write it anew: make schema"
