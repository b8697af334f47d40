"""What makes a claim meaningless, and how it is told."""
# ruff: noqa: E501 -- each mistake and its message share a line

import re
from typing import Any

import pytest

from search_spaces.errors import SpecError
from study.claims import ClaimsFile, parse_claims
from study.claims.rules import BOTH_WORDS, ONE_FAMILY, SEVERAL_PHASES, endpoints, space_of
from study.statistics.metrics import METRICS
from tests.study.claims.claims_files import EXAMPLE, MINIMAL, changed, load

RIVALS = {"a": "grsgd", "b": "rsgd"}
AT = {"lr": "b.lr = a.lr"}


def claims_of(*claims: Any, **file: Any) -> ClaimsFile:
    written = [
        {"id": f"C{number}", "title": "t", "compare": RIVALS, "metric": "tuned_loss", "direction": "less"}
        | claim
        for number, claim in enumerate(claims, start=1)
    ]
    return parse_claims({"claims_version": 1, "claims": written, **file}, source="claims.yaml")


def settings_for(metric):
    values = {"tau": 1.0, "factor": "rank", "k": 4, "decades": 0.5, "perturbation": "expert_dropped"}
    compare = {**RIVALS, "at": AT} if metric.name == "matched_loss" else RIVALS
    return {name: values[name] for name in metric.needs} | {"compare": compare}


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_metric_may_be_claimed_in_its_own_direction_and_unit(metric):
    claim = {"metric": metric.name, "direction": metric.better, "unit": metric.unit, "sesoi": 0.1}
    (endpoint,) = endpoints(claims_of(claim | settings_for(metric)))
    assert endpoint.metric is metric
    assert endpoint.phase == metric.phase
    assert endpoint.unit == ("seed" if metric.phase == "confirmation" else "replicate")


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_setting_that_a_metric_needs_is_asked_for(metric):
    claim = {"metric": metric.name, "direction": metric.better} | settings_for(metric)
    for name in metric.needs:
        with pytest.raises(
            SpecError, match=f"claims.yaml: claim C1: metric {metric.name} needs {name}: add it"
        ):
            claims_of({key: value for key, value in claim.items() if key != name})


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_the_wrong_direction_is_refused(metric):
    wrong = "less" if metric.better == "greater" else "greater"
    claim = {"metric": metric.name, "direction": wrong} | settings_for(metric)
    if metric.name in BOTH_WORDS:
        assert claims_of(claim).claims[0].parts[0].direction == wrong
        return
    words = f"direction is {wrong!r}, but of {metric.name} {metric.better} is better: write {metric.better}, noninferior or equivalent, or let a and b change places."
    with pytest.raises(SpecError, match=re.escape(words)):
        claims_of(claim)


@pytest.mark.parametrize("name", sorted(SEVERAL_PHASES))
def test_metrics_of_several_phases_are_read_where_they_say(name):
    metric = METRICS[name]
    assert metric.phase in SEVERAL_PHASES[name]
    for phase in SEVERAL_PHASES[name]:
        claim = {"metric": name, "direction": "less", "phase": phase} | settings_for(metric)
        assert endpoints(claims_of(claim))[0].phase == phase


@pytest.mark.parametrize("name", sorted(ONE_FAMILY))
def test_some_metrics_say_something_of_one_family(name):
    claim = {"metric": name, "direction": "equivalent", "factor": "rank", "compare": {"a": "grsgd"}}
    assert claims_of(claim).claim_set().claims[0].comparison.b == ""


CLAIM_MISTAKES = [
    ({"metric": "tuned_los"}, "Unknown metric 'tuned_los', did you mean 'tuned_loss'? Known: basin_area, "),
    ({"compare": None}, "has no compare, nor has one before it: write compare: {a: …, b: …}."),
    ({"compare": {"a": "grsdg", "b": "rsgd"}}, "claim C1: compare.a: Unknown family 'grsdg', did you mean 'grsgd'?"),
    ({"compare": {"a": "rsgd", "b": "rsgd"}}, "claim C1 compares rsgd with itself: name another b, or write at."),
    ({"compare": {"a": "rsgd"}}, "claim C1: metric tuned_loss compares two families, but compare has no b: write it."),
    ({"compare": {"a": "rsgd", "at": AT}}, "claim C1: compare.at says where b is trained, but there is no b: write it."),
    ({"compare": {**RIVALS, "at": {}}}, "claim C1, compare: at is {}, but must map hyperparameters of b to formulas"),
    ({"compare": {**RIVALS, "at": {"lr": "b.lr = a.lr *"}}}, "claim C1, compare: The formula 'b.lr = a.lr *' has the end at column 14"),
    ({"compare": {**RIVALS, "at": {"lr": 0.1}}}, 'claim C1, compare: at.lr is 0.1, but must be a formula in quotes: write "b.lr = 0.1".'),
    ({"compare": {"a": "sgd", "b": "rsgd", "at": AT}}, 'claim C1: rsgd has damping, which sgd has not: write at: {damping: "b.damping = <number>"} too.'),
    ({"compare": {"a": "sgd", "b": "rsgd", "at": {"lr": "b.lr = a.damping"}}}, "claim C1: compare.at reads damping of sgd: Unknown hyperparameter 'damping'"),
    ({"compare": {"a": "rsgd", "b": "sgd", "at": {"damping": "b.damping = 1"}}}, "claim C1: compare.at sets damping of sgd: Unknown hyperparameter 'damping'"),
    ({"k": 4}, "claim C1: metric tuned_loss has no use for k: remove it."),
    ({"of": "loss"}, "claim C1: metric tuned_loss has no use for of: remove it."),
    ({"metric": "factor_sd", "factor": "lr"}, "claim C1: factor is 'lr', but learning rates have metrics of their own: write lr_width or basin_area."),
    ({"metric": "factor_sd", "factor": "expert"}, "claim C1: factor of grsgd: Unknown hyperparameter 'expert', did you mean 'num_experts'?"),
    ({"metric": "factor_sd", "factor": "damping", "compare": {"a": "rsgd", "b": "sgd"}}, "claim C1: factor of sgd: Unknown hyperparameter 'damping'"),
    ({"metric": "steps_to_target", "tau": {"ref": "rsdg.confirmed"}}, "claim C1: tau.ref: Unknown family 'rsdg', did you mean 'rsgd'?"),
    ({"unit": "decades"}, "claim C1: unit is 'decades', but tuned_loss is in 'nats': write that or relative."),
    ({"metric": "factor_trend", "factor": "damping", "unit": "nats per doubling"}, "unit is 'nats per doubling', but factor_trend is in 'nats per decade': write that"),
    ({"metric": "factor_trend", "factor": "rank", "unit": "nats per decade"}, "unit is 'nats per decade', but factor_trend is in 'nats per doubling': write that"),
    ({"metric": "factor_trend", "factor": "rank", "unit": "relative", "compare": {"a": "rsgd"}}, "unit is 'relative', but there is no b to relate to: write 'nats per doubling'."),
    ({"metric": "win_probability", "direction": "greater", "unit": "relative"}, "unit is 'relative', but a probability is a fraction already: write 'fraction'."),
    ({"direction": "noninferior"}, "claim C1: direction noninferior needs the loss that is accepted: write a margin above 0."),
    ({"direction": "equivalent", "margin": 0.1}, "claim C1: margin is 0.1, but an equivalence has a bound instead: write it as equivalence."),
    ({"margin": 0.2, "sesoi": 0.1}, "claim C1: sesoi is 0.1, but the smallest effect of interest exceeds the margin of 0.2: raise it."),
    ({"phase": "sensitivity"}, "claim C1: phase is 'sensitivity', but tuned_loss is read in confirmation: write that."),
    ({"metric": "divergence_rate", "phase": "lr_slice"}, "phase is 'lr_slice', but divergence_rate is read in confirmation or sensitivity: write that."),
    ({"metric": "matched_loss"}, 'claim C1: matched_loss needs compare.at: write at: {lr: "b.lr = a.lr"} for equal learning rates.'),
    ({"metric": "basin_area", "direction": "greater", "compare": {**RIVALS, "at": AT}}, "claim C1: metric basin_area is read in lr_slice, where nothing is trained at transformed hyperparameters: remove compare.at, or"),
    ({"where": {"rank": [4, 8]}}, "claim C1: where chooses among trials whose hyperparameters vary, and in confirmation none do: remove it."),
    ({"metric": "space_score", "direction": "greater", "where": {"ranks": [4, 8]}}, "claim C1: where: Unknown hyperparameter 'ranks', did you mean 'rank'?"),
    ({"equivalence": {"lr_width": 0.1}}, "claim C1: equivalence: Unknown metric of this claim 'lr_width'. Known: tuned_loss."),
    ({"plan": {"sd": {"tuned_los": 0.1}}}, "claim C1: plan.sd: Unknown metric of this claim 'tuned_los', did you mean 'tuned_loss'?"),
    ({"plan": {"n_unit": "replicate"}}, "claim C1: plan.n_unit is 'replicate', but its metrics are counted in seeds: write seed."),
    ({"id": "rank"}, "claim rank has the name of a hyperparameter's slice: rename it."),
]  # fmt: skip


@pytest.mark.parametrize(("claim", "message"), CLAIM_MISTAKES)
def test_a_claim_without_a_meaning_is_refused(claim, message):
    with pytest.raises(SpecError, match=re.escape(message)) as mistake:
        claims_of(claim)
    assert str(mistake.value).startswith("claims.yaml: claim ")


FAMILY_MISTAKES = [
    ({"grsgd": {}}, "claim C1: compare.b: Unknown family of this file 'rsgd', did you mean 'grsgd'? Known: grsgd."),
    ({"rsgd": {"space": "sgd@1"}}, "family rsgd: space is 'sgd@1', but the space of rsgd is 'rsgd': correct it."),
    ({"rsgd": {"space": "rsgd@2"}}, "family rsgd: space is 'rsgd@2', but this Trialwright has version 1 of it: write 'rsgd@1'."),
    ({"mine": {"space": "rsgd@2"}}, "family mine: space is 'rsgd@2', but this Trialwright has version 1"),
    ({"rsgd": {"defaults": {"lrr": 1}}}, "family rsgd: defaults: Unknown hyperparameter 'lrr', did you mean 'lr'?"),
    ({"rsgd": {"inclusion_of": "sgd"}}, "family rsgd: inclusion_of: Unknown family 'sgd', did you mean 'rsgd'? Known: rsgd."),
    ({"rsgd": {"inclusion_of": "rsgd"}}, "family rsgd is said to contain itself: name the other one in inclusion_of."),
]  # fmt: skip


@pytest.mark.parametrize(("families", "message"), FAMILY_MISTAKES)
def test_a_family_without_a_meaning_is_refused(families, message):
    with pytest.raises(SpecError, match=re.escape(f"claims.yaml: {message}")):
        claims_of({}, families=families)


def test_two_claims_of_one_id_are_refused():
    with pytest.raises(SpecError, match=r"claims\.yaml: claim C1 stands twice: rename one\."):
        claims_of({}, {"id": "C1"})


def test_a_part_is_named_where_a_claim_has_several(tmp_path):
    text = changed(
        "metric: lr_width, tau", "metric: lr_width, unit: nats, tau", EXAMPLE.replace("unit: decades", "k: 1")
    )
    with pytest.raises(SpecError, match="claim C1, part 1: metric lr_width has no use for k: remove it"):
        load(tmp_path, text)


def test_families_that_are_not_ours_may_have_any_hyperparameter():
    families = {"lion": {}, "adam": {"defaults": {"beta": 0.9}}}
    compare = {"a": "lion", "b": "adam", "at": {"beta": "b.beta = a.momentum"}}
    file = claims_of(
        {"metric": "matched_loss", "compare": compare, "where": {"momentum": [0, 1]}}, families=families
    )
    assert space_of("lion", file) is None
    transform = file.claim_set().claims[0].comparison.at
    assert transform({"momentum": 0.5})["beta"] == 0.5


def test_a_variant_has_the_hyperparameters_of_the_space_that_it_names():
    families = {"grsgd_zero": {"space": "grsgd@1"}, "sgd": {}}
    compare = {"a": "grsgd_zero", "b": "sgd"}
    file = claims_of({"compare": compare}, families=families)
    assert "damping" in space_of("grsgd_zero", file).dimensions
    with pytest.raises(SpecError, match="where: Unknown hyperparameter 'momentum'"):
        claims_of(
            {
                "compare": compare,
                "metric": "space_score",
                "direction": "greater",
                "where": {"momentum": [0, 1]},
            },
            families=families,
        )


def test_families_without_a_section_are_those_of_trialwright(tmp_path):
    assert load(tmp_path, MINIMAL).families == {}
    with pytest.raises(SpecError, match=r"compare\.b: Unknown family 'lion'"):
        claims_of({"compare": {"a": "sgd", "b": "lion"}})
