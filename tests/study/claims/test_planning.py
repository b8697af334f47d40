"""Designs that cannot decide their claims, and designs that just can."""
# ruff: noqa: E501 -- each mistake and its message share a line

import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from search_spaces.errors import SpecError
from study.claims import ClaimsFile, parse_claims
from study.claims.planning import check_plan, planned_level, planned_power, planned_units, planning_sd
from study.claims.rules import endpoints
from study.statistics.sequential import nominal_levels

DESIGN = {
    "pilot": {"seeds": 5, "sd": {"tuned_loss": 0.1, "lr_width": 0.2, "factor_trend": 0.1}},
    "sensitivity": {"replicates": 10, "points": 16, "lr_slice": {}, "factor_slices": ["rank"]},
    "confirmation": {"seeds_max": 30},
}
CLAIM = {
    "id": "C1",
    "title": "t",
    "compare": {"a": "grsgd", "b": "rsgd"},
    "metric": "tuned_loss",
    "direction": "less",
    "sesoi": 0.2,
}


def file_of(*changes: Any, design: Any = DESIGN, **file: Any) -> ClaimsFile:
    claims = [CLAIM | {"id": f"C{number}"} | change for number, change in enumerate(changes, start=1)]
    claims = [{key: value for key, value in claim.items() if value is not None} for claim in claims]
    return parse_claims(
        {"claims_version": 1, "design": design, "claims": claims, **file}, source="claims.yaml"
    )


def power_of(file, place=0):
    endpoint = endpoints(file)[place]
    return planned_power(endpoint, file, planning_sd(endpoint, file))


def test_a_design_that_can_decide_passes():
    check_plan(file_of({}, {"metric": "lr_width", "direction": "greater", "tau": 1.0, "sesoi": 0.5}))


def test_the_pilots_spread_is_taken_at_its_upper_80_percent_bound():
    file = file_of({})
    assert planning_sd(endpoints(file)[0], file) == pytest.approx(0.1 * 1.5576, rel=1e-4)
    ten = file_of({}, design={**DESIGN, "pilot": {"seeds": list(range(10)), "sd": {"tuned_loss": 0.1}}})
    assert planning_sd(endpoints(ten)[0], ten) == pytest.approx(0.1 * 1.2933, rel=1e-4)


def test_a_planned_spread_is_taken_as_it_is_and_before_the_pilots():
    for sd in (0.3, {"tuned_loss": 0.3}):
        file = file_of({"plan": {"sd": sd}})
        assert planning_sd(endpoints(file)[0], file) == 0.3


def test_power_is_that_of_a_simulated_t_test():
    file = file_of({"margin": 0.05, "plan": {"sd": 0.25}}, alpha=0.04)
    draws = np.random.default_rng(1).normal(0.2 - 0.05, 0.25, (4000, 30))
    rejected = np.mean(stats.ttest_1samp(draws, 0.0, axis=1).pvalue <= 0.04)
    assert power_of(file) == pytest.approx(rejected, abs=4 * np.sqrt(0.25 / 4000))


def test_the_power_of_a_non_inferiority_is_at_no_difference():
    superior = file_of({"sesoi": 0.1, "plan": {"sd": 0.2}})
    file = file_of({"direction": "noninferior", "margin": 0.1, "sesoi": None, "plan": {"sd": 0.2}})
    assert power_of(file) == power_of(superior)


def test_the_power_of_an_equivalence_is_that_of_two_one_sided_tests():
    """Margin half a standard deviation, 30 and 50 units: .69 and .93."""
    for n, expected in ((30, 0.69), (50, 0.93)):
        design = {"confirmation": {"seeds_max": n}}
        file = file_of({"direction": "equivalent", "sesoi": 0.1, "plan": {"sd": 0.2}}, design=design)
        assert power_of(file) == pytest.approx(expected, abs=0.01)


def test_the_last_look_has_what_the_earlier_ones_leave():
    looks = {**DESIGN, "confirmation": {"seeds_max": 30, "looks": [10, 20, 30]}}
    at_looks = file_of({"plan": {"sd": 0.35}}, design=looks)
    once = file_of({"plan": {"sd": 0.35}}, alpha=nominal_levels((10, 20, 30), 0.05, "obf")[-1])
    assert power_of(at_looks) == pytest.approx(power_of(once), abs=1e-9)


def test_the_power_for_a_win_probability_needs_no_spread():
    """At n = 30 and level .05, 21 wins reject; with P(win) = .75 that has probability .803."""
    file = file_of({"metric": "win_probability", "direction": "greater", "sesoi": 0.25})
    assert power_of(file) == pytest.approx(float(stats.binom.sf(20, 30, 0.75)), abs=1e-12)
    check_plan(file)
    inferior = file_of({"metric": "win_probability", "direction": "noninferior", "margin": 0.25})
    assert power_of(inferior) == pytest.approx(float(stats.binom.sf(12, 30, 0.5)), abs=1e-12)
    equal = file_of({"metric": "win_probability", "direction": "equivalent", "sesoi": 0.25})
    assert 0.4 < power_of(equal) < 1


def test_the_level_is_shared_among_the_claims_of_a_role_and_among_workloads_that_suffice_alone():
    secondary = {"role": "secondary"}
    file = file_of({}, {}, {"workloads": "any"}, secondary, secondary, workloads=["x", "y"])
    levels = [planned_level(endpoint, file) for endpoint in endpoints(file)]
    assert levels == pytest.approx([0.05 / 3, 0.05 / 3, 0.05 / 6, 0.025, 0.025])


def test_the_units_are_those_of_the_phase():
    file = file_of(
        {},
        {"metric": "lr_width", "direction": "greater", "tau": 1.0},
        {"metric": "divergence_rate", "phase": "confirmation"},
    )
    assert [planned_units(endpoint, file) for endpoint in endpoints(file)] == [30, 10, 30]


def test_exploratory_claims_need_no_plan():
    check_plan(file_of({"role": "exploratory", "sesoi": None}, design={}))
    check_plan(file_of({"sesoi": None}, design={}), exempt=frozenset({"C1"}))


def test_an_underpowered_claim_may_be_accepted():
    weak = {"sesoi": 0.01}
    with pytest.raises(SpecError, match=r"below 0\.8"):
        check_plan(file_of(weak))
    check_plan(file_of(weak | {"underpowered": "accepted"}))
    check_plan(file_of({"metric": "seed_abs_dev", "underpowered": "accepted"}))


def with_design(**changes: Any) -> dict[str, Any]:
    return {"design": {**DESIGN, **changes}}


REFUSALS = [
    ([{"sesoi": None}], {}, "claim C1: tuned_loss has no smallest effect of interest, without which nothing can be planned: write sesoi."),
    ([{"direction": "equivalent", "sesoi": None}], {}, "claim C1: tuned_loss has no bound within which differences count as none: write equivalence."),
    ([{}], with_design(confirmation=None), "claim C1: tuned_loss is decided over seeds, and nothing says how many: write design.confirmation.seeds_max."),
    ([{}], with_design(confirmation={}), "nothing says how many: write design.confirmation.seeds_max."),
    ([{"metric": "divergence_rate"}], with_design(sensitivity={}), "divergence_rate is decided over replicates, and nothing says how many: write design.sensitivity.replicates."),
    ([{"metric": "basin_area", "direction": "greater"}], with_design(sensitivity={"replicates": 10}), "basin_area reads the learning-rate slice, which is not planned: write design.sensitivity.lr_slice."),
    ([{"metric": "factor_trend", "factor": "top_k"}], {}, "factor_trend reads the slice of top_k, which is not planned: add it to design.sensitivity.factor_slices."),
    ([{"metric": "tuning_curve", "k": 32}], {}, "claim C1: k is 32, but design.sensitivity.points is 16: lower k."),
    ([{}], with_design(confirmation={"seeds_max": 5}), "claim C1: 5 seeds give no p below 2^(1-5) = 0.062, above the level of 0.05 after correction: plan 6 or more in design.confirmation, or make fewer claims primary."),
    ([{}] * 5, with_design(confirmation={"seeds_max": 30, "looks": [7, 30]}), "claim C1: at the first look, 7 seeds give no p below 2^(1-7) = 0.016, above the level of 0.01 after correction: plan 8 or more"),
    ([{"role": "secondary", "metric": "divergence_rate"}], with_design(sensitivity={"replicates": 4}), "4 replicates give no p below 2^(1-4) = 0.12, above the level of 0.05 after correction: plan 6 or more in design.sensitivity.replicates, or make fewer claims secondary."),
    ([{"metric": "seed_abs_dev"}], {}, "claim C1: the power for seed_abs_dev is unknown: write the spread that the pilot gave as design.pilot.sd.seed_abs_dev or as plan.sd, or `underpowered: accepted`."),
    ([{}], with_design(pilot=None), "the power for tuned_loss is unknown: write the spread"),
    ([{"plan": {"sd": 1}}], {}, "claim C1: the planned power for tuned_loss is 0.19 with 30 seeds, below 0.8: raise design.confirmation or the smallest effect of interest, or write `underpowered: accepted`."),
    ([{"metric": "win_probability", "direction": "greater", "sesoi": 0.6}], {}, "margin or sesoi leads beyond a probability of 1.1: keep them below 0.5."),
    ([{}], with_design(search={"seeds": [1, 2]}, sensitivity={"seeds": [2]}), "seed 2 stands in design.search and in design.sensitivity, but tests need seeds that nothing has used: replace it."),
    ([{}], with_design(pilot={"seeds": [1, 9], "sd": {"tuned_loss": 0.01}}, confirmation={"seeds": list(range(9, 39))}), "seed 9 stands in design.pilot and in design.confirmation"),
    ([{"compare": {"a": "gsgd", "b": "sgd"}}], {"families": {"gsgd": {"inclusion_of": "sgd"}, "sgd": {}}}, None),
    ([{"metric": "lr_width", "tau": 1.0, "direction": "greater", "sesoi": 0.5}], {"families": {"grsgd": {"inclusion_of": "rsgd"}, "rsgd": {}}},
     "family grsgd contains rsgd, but no claim checks that it does not lose to it when both are tuned: add one with compare: {a: grsgd, b: rsgd}, metric: tuned_loss, direction: noninferior."),
]  # fmt: skip


@pytest.mark.parametrize(("claims", "file", "message"), REFUSALS)
def test_a_design_that_cannot_decide_is_refused(claims, file, message):
    found = file_of(*claims, **file)
    if message is None:
        check_plan(found)
        return
    with pytest.raises(SpecError, match=re.escape(message)):
        check_plan(found)


def test_pilot_and_search_may_share_seeds():
    check_plan(
        file_of(
            {}, **with_design(pilot={"seeds": [1, 2], "sd": {"tuned_loss": 0.01}}, search={"seeds": [1, 2]})
        )
    )


@pytest.mark.parametrize(("num_claims", "least"), [(1, 6), (3, 7), (5, 8), (10, 9), (20, 10)])
def test_the_least_number_of_seeds_grows_with_the_number_of_primary_claims(num_claims, least):
    """2^(1-n) <= alpha / m, worked out by hand."""
    claims = [{"underpowered": "accepted"}] * num_claims
    check_plan(file_of(*claims, design={"confirmation": {"seeds_max": least}}))
    with pytest.raises(SpecError, match=f"plan {least} or more"):
        check_plan(file_of(*claims, design={"confirmation": {"seeds_max": least - 1}}))
