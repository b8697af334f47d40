"""Designs: nets, slices, levels and seeds."""

import hashlib
import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import qmc

from search_spaces import (
    Category,
    Dimension,
    Integer,
    LogFloat,
    Param,
    derived_seed,
    factor_levels,
    lr_slice,
    random_points,
    slice_length,
    slice_offset,
    sobol_points,
)


def test_sobol_points_are_scipys():
    expected = qmc.Sobol(7, scramble=True, rng=11).random(16)
    np.testing.assert_array_equal(sobol_points(16, 7, 11), expected)


@pytest.mark.parametrize("num_points", [1, 2, 3, 8, 13, 16])
def test_any_number_of_points_is_the_start_of_a_net(num_points: int):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = sobol_points(num_points, 5, 3)
    assert points.shape == (num_points, 5)
    np.testing.assert_array_equal(points, qmc.Sobol(5, scramble=True, rng=3).random(16)[:num_points])


@pytest.mark.parametrize("seed", range(5))
def test_a_net_fills_every_cell_once(seed: int):
    points = sobol_points(16, 7, seed)
    for column in points.T:
        assert sorted((column * 16).astype(int)) == list(range(16))
    for power in range(
        5
    ):  # the first two coordinates are a (0, 4, 2)-net: every box of volume 1/16 holds one
        boxes = np.stack([points[:, 0] * 2**power, points[:, 1] * 2 ** (4 - power)]).astype(int)
        assert len({tuple(box) for box in boxes.T}) == 16


def test_replicates_differ_and_each_is_uniform():
    first = np.array([sobol_points(8, 3, derived_seed(1, "design", r))[0] for r in range(200)])
    for column in first.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3


def test_random_points_are_reproducible_and_uniform():
    points = random_points(500, 2, 5)
    np.testing.assert_array_equal(points, random_points(500, 2, 5))
    assert stats.kstest(points.ravel(), "uniform").pvalue > 1e-3


def test_a_seed_is_the_head_of_a_sha256():
    digest = hashlib.sha256(b'[7,"search",0,3]').hexdigest()
    assert derived_seed(7, "search", 0, 3) == int(digest[:16], 16) // 2
    assert derived_seed(7, "search", 0, 3) < 2**63


def test_seeds_tell_every_part_and_order_apart():
    paths = [(1, 23), (12, 3), (123,), ("123",), (3, 12), ("1", 23), (), (1, 2, 3), ("1,23",)]
    assert len({derived_seed(*path) for path in paths}) == len(paths)
    grid = itertools.product(range(20), ["search", "sensitivity"], range(10), range(16))
    assert len({derived_seed(*path) for path in grid}) == 20 * 2 * 10 * 16


def test_offsets_are_uniform():
    offsets = [slice_offset(derived_seed("offsets", r)) for r in range(500)]
    assert 0 <= min(offsets) < max(offsets) < 1
    assert stats.kstest(offsets, "uniform").pvalue > 1e-3


@given(
    low=st.floats(1e-9, 1e-2),
    decades=st.floats(0.1, 8),
    step=st.sampled_from([0.25, 0.3, 0.5, 1.0]),
    offset=st.floats(0, 1, exclude_max=True),
)
def test_a_slice_has_one_point_in_every_step(low: float, decades: float, step: float, offset: float):
    high = low * 10**decades
    rates = lr_slice(low, high, step, offset)
    assert len(rates) == slice_length(low, high, step)
    assert len(rates) - 1 <= decades / step + 1e-9 <= len(rates) + 2e-9
    for j, rate in enumerate(rates):
        assert math.log10(rate / low) == pytest.approx(step * (j + offset), abs=1e-8)


def test_a_slice_by_hand():
    assert lr_slice(1e-4, 1e-1, 1.0, 0.0) == [1e-4, 1e-3, 1e-2]
    assert lr_slice(1e-4, 1e-1, 1.0, 0.5) == pytest.approx([10**-3.5, 10**-2.5, 10**-1.5])
    assert len(lr_slice(1e-5, 10.0, 0.5, 0.999)) == 12


def test_random_offsets_make_the_measured_width_unbiased():
    # a basin of 2.37 decades in a window of 6: step x (points inside) has that mean, Cochran 1977 ch. 8
    low, high = 10**-3.611, 10**-1.241
    widths = [
        0.5 * sum(low <= rate < high for rate in lr_slice(1e-6, 1.0, 0.5, slice_offset(r)))
        for r in range(4000)
    ]
    standard_error = np.std(widths) / math.sqrt(len(widths))
    assert np.mean(widths) == pytest.approx(2.37, abs=4 * standard_error)


@pytest.mark.parametrize(
    ("dimension", "params", "levels"),
    [
        (Category((2, 4, 8)), {}, [2, 4, 8]),
        (Category((2, 4, 8), at_most="num_experts"), {"num_experts": 4}, [2, 4, None]),
        (Integer(1, 3), {}, [1, 2, 3]),
        (Integer(1, 9), {}, [1, 3, 5, 7, 9]),
        (Integer(1, 9, at_most="num_experts"), {"num_experts": 4}, [1, 3, None, None, None]),
        (LogFloat(1e-8, 1e-4), {}, [1e-8, 1e-7, 1e-6, 1e-5, 1e-4]),
    ],
)
def test_levels_keep_their_index(dimension: Dimension, params: dict[str, Param], levels: list[Param | None]):
    assert factor_levels(dimension, params) == levels
