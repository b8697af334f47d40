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
