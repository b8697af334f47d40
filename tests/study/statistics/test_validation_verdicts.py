"""V4, V5: verdicts are wrong no more often than they may be, alone and in a file of ten claims."""

from dataclasses import replace

import pytest

from study.statistics.analysis import analyze
from study.statistics.claims import Role
from study.statistics.multiplicity import holm_levels
from study.statistics.power import paired_power
from study.statistics.results import Verdict
from tests.validation.bands import FAST_SIGMAS, around
from tests.validation.claim_sets import claim_set
from tests.validation.familywise import FAMILY, familywise_hits, familywise_rates
from tests.validation.scenarios import LAYOUT, SAME
from tests.validation.tables import trials_of
from tests.validation.verdict_cells import (
    SUPERIORITY_ONLY,
    skewed_verdict_rates,
    support_power,
    verdict_rates,
    verdict_shares,
)


def missed(rates):
    return [str(rate) for rate in rates if not rate.passed]


def test_wrong_verdicts_at_every_boundary_are_as_rare_as_their_level():
    assert missed(verdict_rates(num_studies=300, seed=21, sigmas=FAST_SIGMAS)) == []


def test_under_skewed_differences_wrong_verdicts_stay_within_the_documented_limit():
    assert missed(skewed_verdict_rates(num_studies=300, seed=22, sigmas=FAST_SIGMAS)) == []


@pytest.mark.parametrize(("theta", "n"), [(0.5, 30), (0.8, 20)])
def test_support_is_as_likely_as_the_noncentral_t_says(theta, n):
    shares = verdict_shares(theta, n, num_studies=400, seed=23, thresholds=SUPERIORITY_ONLY)
    low, high = around(support_power(theta, n), 400, FAST_SIGMAS)
    assert low <= shares[Verdict.SUPPORTED] <= high
    assert support_power(theta, n) == pytest.approx(paired_power(theta, 1.0, n, 0.05), abs=1e-4)


def test_a_larger_effect_is_supported_more_often_and_called_equivalent_less_often():
    shares = [verdict_shares(theta, 30, num_studies=200, seed=24) for theta in (0.0, 0.4, 0.8)]
    supported = [one[Verdict.SUPPORTED] for one in shares]
    equivalent = [one[Verdict.EQUIVALENT] for one in shares]
    assert supported == sorted(supported)
    assert equivalent == sorted(equivalent, reverse=True)
    assert all(sum(one.values()) == pytest.approx(1.0) for one in shares)


def test_ten_null_claims_in_one_file_rarely_give_any_finding():
    assert missed(familywise_rates(familywise_hits(num_studies=150, seed=25), sigmas=FAST_SIGMAS)) == []


def test_the_engine_itself_corrects_ten_primary_claims_as_the_familywise_cell_does():
    claims = claim_set(FAMILY)
    primary = replace(claims, claims=tuple(replace(claim, role=Role.PRIMARY) for claim in claims.claims))
    for seed in (101, 102):
        found = analyze(trials_of((SAME.a, SAME.b), LAYOUT, seed=seed), primary).claims
        steps = holm_levels([claim.p for claim in found], 0.05)
        assert [claim.alpha for claim in found] == [step.level for step in steps]
        assert [claim.p_adjusted for claim in found] == [step.adjusted_p for step in steps]
        assert min(claim.alpha for claim in found) == pytest.approx(0.05 / len(FAMILY))
