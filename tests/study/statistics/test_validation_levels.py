"""V1, V2: every testable metric keeps its level under a true null, and the intervals cover where families differ.

Bands are four binomial standard deviations wide; `make validate` runs the same cells with more studies and three.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from study.statistics.claims import Direction, Part
from study.statistics.contrast import Contrast
from study.statistics.endpoint import Endpoint, Plan, judge
from study.statistics.metrics import METRICS
from study.statistics.results import PartResult, Verdict
from tests.validation.bands import FAST_SIGMAS
from tests.validation.level_cells import coverage_rates, engine_interval, level_rates, sample
from tests.validation.scenarios import ASKED, COVERED, LAYOUT, NULLS, SAME
from tests.validation.surface import draw_noise

pytestmark = pytest.mark.slow
STUDIES = 400
FEWER = 200
"""Where every study takes a contrast of its own."""
WHOLE = tuple(name for name, asked in ASKED.items() if asked.whole)
HEAVY = next(scenario for scenario in NULLS if "t5" in scenario.name)
SINGLE = tuple(name for name, asked in ASKED.items() if not asked.whole)


def assert_in_bands(rates):
    assert rates
    missed = [str(rate) for rate in rates if not rate.passed]
    assert missed == []


def test_every_testable_metric_is_asked():
    assert set(ASKED) == set(METRICS)


@pytest.mark.parametrize("scenario", NULLS, ids=lambda scenario: scenario.name)
def test_tests_keep_their_level(scenario):
    metrics = [name for name in WHOLE if name in scenario.metrics]
    assert_in_bands(level_rates(scenario, num_studies=STUDIES, seed=11, sigmas=FAST_SIGMAS, metrics=metrics))


@pytest.mark.parametrize("metric", SINGLE)
def test_tests_of_metrics_that_look_across_replicates_keep_their_level(metric):
    assert_in_bands(level_rates(SAME, num_studies=FEWER, seed=12, sigmas=FAST_SIGMAS, metrics=[metric]))


def test_the_variability_between_seeds_keeps_its_level_under_heavy_tails():
    rates = level_rates(HEAVY, num_studies=FEWER, seed=13, sigmas=FAST_SIGMAS, metrics=["seed_abs_dev"])
    assert_in_bands(rates)


@pytest.mark.parametrize("scenario", COVERED, ids=lambda scenario: scenario.name)
def test_intervals_hold_the_true_difference(scenario):
    metrics = [name for name in WHOLE if name in scenario.metrics]
    assert_in_bands(coverage_rates(scenario, num_studies=250, seed=14, sigmas=FAST_SIGMAS, metrics=metrics))


def test_the_truth_of_a_null_is_no_difference_and_that_of_a_wider_basin_favours_it():
    for scenario in NULLS:
        if scenario.name != "unequal noise":
            assert {scenario.truth(ASKED[name]) for name in scenario.metrics} == {0.0}
    for scenario in COVERED:
        assert all(scenario.truth(ASKED[name]) > 0 for name in scenario.metrics)


@pytest.mark.parametrize("metric", WHOLE)
def test_many_studies_measured_as_one_table_give_the_numbers_of_each_study(metric):
    layout = replace(LAYOUT, replicates=3, seeds=4)
    scenario = COVERED[0]
    asked = ASKED[metric]
    at_once = sample(scenario, asked, num_studies=4, layout=layout, seed=3)
    one_by_one = sample(scenario, replace(asked, whole=False), num_studies=4, layout=layout, seed=3)
    assert at_once.differences.shape == one_by_one.differences.shape
    assert np.allclose(at_once.differences, one_by_one.differences, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
@pytest.mark.parametrize("n", [8, 25])
def test_the_validated_interval_is_that_of_the_engine(kind, n):
    rng = np.random.default_rng(15)
    part = Part(metric="tuned_loss", direction=Direction.LESS, sesoi=0.5)
    plan = Plan(looks=(), num_planned=None, spending="obf", power=0.8)
    blank = PartResult(
        metric="tuned_loss",
        title="",
        unit="nats",
        direction=Direction.LESS,
        factor="",
        workload="",
        a="a",
        b="b",
        verdict=Verdict.NOT_EVALUABLE,
    )
    for row in draw_noise(kind, (20, n), rng):
        for binary, may_be_skewed in ((False, False), (False, True), (True, False)):
            values = (np.sign(row) + 1) / 2 if binary else row
            null = 0.5 if binary else 0.0
            contrast = Contrast(differences=pd.Series(values), unit="seed", null=null, binary=binary)
            endpoint = Endpoint(contrast=contrast, part=part, plan=plan, may_be_skewed=may_be_skewed)
            found = judge(endpoint, blank, 0.05)
            ours = engine_interval(values - null, 0.95, binary=binary, may_be_skewed=may_be_skewed)
            assert (found.ci_low, found.ci_high) == pytest.approx((ours.low + null, ours.high + null))
