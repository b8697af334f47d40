"""V7 to V9: the analyses that look right are shown to be wrong, and what the engine does instead to be right."""

from tests.validation.bands import FAST_SIGMAS
from tests.validation.traps import anchor_rates, design_rates, grid_rates, search_rates, sensitivity_rates


def missed(rates):
    return [str(rate) for rate in rates if not rate.passed]


def test_search_trials_mislead_but_for_an_audit():
    assert missed(search_rates(num_studies=400, seed=31, sigmas=FAST_SIGMAS)) == []


def test_sensitivity_above_the_best_sees_noise_where_width_and_area_see_what_is_there():
    assert missed(sensitivity_rates(num_studies=300, seed=32, sigmas=FAST_SIGMAS)) == []


def test_runs_are_no_independent_units_but_replicates_are():
    assert missed(design_rates(num_studies=400, seed=33, sigmas=FAST_SIGMAS)) == []


def test_a_grid_without_random_offsets_takes_another_learning_rate_for_another_width():
    assert missed(grid_rates(num_studies=300, seed=34, sigmas=FAST_SIGMAS)) == []


def test_one_cliff_around_two_tuned_learning_rates_is_not_two_when_all_anchors_must_agree():
    assert missed(anchor_rates(num_studies=300, seed=35, sigmas=FAST_SIGMAS)) == []
