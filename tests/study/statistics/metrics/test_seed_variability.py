"""Variability between seeds."""

import numpy as np
import pandas as pd
import pingouin
import pytest

from study.statistics.contrast import NotEvaluableError
from study.statistics.metrics.seed_variability import SEED_ABS_DEV, seed_abs_dev
from tests.study.statistics.metrics.tables import confirmation, question, trials


def test_deviations_are_from_the_median():
    found = seed_abs_dev(trials(confirmation("a", [1.0, 2.0, 4.0, 1.5, 2.5])).frame)
    assert found.tolist() == [1.0, 0.0, 2.0, 0.5, 0.5]


def test_steadier_family_is_above_zero_and_paired_by_seed():
    data = trials(confirmation("a", [1.9, 2.0, 2.1]), confirmation("b", [1.0, 2.0, 4.0]))
    found = SEED_ABS_DEV.contrast(data, question("seed_abs_dev"))
    np.testing.assert_allclose(found.differences, [0.9, 0.0, 1.9])
    assert found.unit == "seed"
    assert found.scale == pytest.approx(1.0)


def test_deviations_are_those_of_the_brown_forsythe_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(2, 0.1, 20), rng.normal(2, 0.2, 20)
    z_a, z_b = (seed_abs_dev(trials(confirmation("a", losses)).frame).to_numpy() for losses in (a, b))
    long = pd.DataFrame({"y": np.r_[a, b], "g": ["a"] * 20 + ["b"] * 20})
    oracle = pingouin.homoscedasticity(long, dv="y", group="g", method="levene", center="median")
    between = 40 / 2 * (z_a.mean() - z_b.mean()) ** 2 / 2
    within = (z_a.var() * 20 + z_b.var() * 20) / 38
    assert between / within == pytest.approx(oracle["W"].iloc[0])


def test_under_matched_hyperparameters_family_b_is_read_from_the_claims_slice():
    data = trials(
        confirmation("a", [2.0, 2.1, 2.2]),
        confirmation("b", [2.0, 2.2, 2.4], slice="H11"),
        confirmation("b", [1.0, 2.0, 4.0]),
    )
    found = SEED_ABS_DEV.contrast(data, question("seed_abs_dev", at=dict, claim="H11"))
    np.testing.assert_allclose(found.differences, [0.1, 0.0, 0.1])


def test_unpaired_seeds_are_not_evaluable():
    data = trials(confirmation("a", [1.0, 2.0]), confirmation("b", [1.0, 2.0], seed=7))
    with pytest.raises(NotEvaluableError, match="unpaired families are not compared"):
        SEED_ABS_DEV.contrast(data, question("seed_abs_dev"))
