"""Designs in the unit cube, slices through a space, and the seeds that pair families.

Everything here is a pure function of its arguments: the same study file gives the same trials on every
machine. The Sobol' points are scipy's, scrambled by a random linear matrix and a digital shift (Matoušek
1998).
"""

import hashlib
import json
import math
from typing import TYPE_CHECKING

from search_spaces.dimensions import Category, Dimension, Integer, Param

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

_MAX_LEVELS = 5


def derived_seed(*parts: str | int) -> int:
    """A seed in [0, 2^63) that depends on every part and its order, by SHA-256 of their JSON list.

    Families are paired by leaving the family out of the parts.
    """
    digest = hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def sobol_points(num_points: int, num_dimensions: int, seed: int) -> "NDArray[np.float64]":
    """A scrambled Sobol' net in the unit cube, shape (num_points, num_dimensions).

    A power of two gives a whole net: every dimension has one point in each of num_points equal cells. Any
    other number gives the first points of the next larger net. The first point is never dropped, or it would
    be no net.
    """
    from scipy.stats import qmc

    sampler = qmc.Sobol(num_dimensions, scramble=True, rng=seed)
    net: NDArray[np.float64] = sampler.random_base2(max(num_points - 1, 0).bit_length())
    return net[:num_points]


def random_points(num_points: int, num_dimensions: int, seed: int) -> "NDArray[np.float64]":
    """Independent uniform points in the unit cube, shape (num_points, num_dimensions)."""
    import numpy as np

    return np.random.default_rng(seed).random((num_points, num_dimensions))


def slice_offset(seed: int) -> float:
    """Where in its step a slice's grid starts, uniform in [0, 1): drawn per replicate, shared by families.

    A fixed grid makes two families that differ by a shift of the learning rate alone look different.
    """
    return (derived_seed("slice_offset", seed) >> 10) / 2**53


def slice_length(low: float, high: float, step_decades: float) -> int:
    """Points of `lr_slice`: the window's decades over the step, rounded up."""
    decades = math.log10(high / low)
    return max(1, math.ceil(decades / step_decades - 1e-9))


def lr_slice(low: float, high: float, step_decades: float, offset_frac: float) -> list[float]:
    """Learning rates over the window [low, high), one per step of `step_decades`, ascending.

    The grid starts `offset_frac` of a step above `low`. The number of points does not depend on the offset; a
    window that is no whole number of steps is widened upwards to one.
    """
    num_points = slice_length(low, high, step_decades)
    exponents = [math.log10(low) + step_decades * (offset_frac + j) for j in range(num_points)]
    return [float(f"{10**exponent:.10g}") for exponent in exponents]


def factor_levels(dimension: Dimension, params: "Mapping[str, Param]") -> list[Param | None]:
    """Where a factor slice looks at one dimension: every choice of a list, at most five values of a range.

    `params` are the hyperparameters that stay. A level that they rule out (a top_k above their num_experts)
    is None, so that the index of a level is the same for every family.
    """
    if isinstance(dimension, Category):
        allowed = dimension.allowed(params)
        return [choice if choice in allowed else None for choice in dimension.choices]
    if isinstance(dimension, Integer):
        num_values = dimension.high - dimension.low + 1
        num_levels = min(num_values, _MAX_LEVELS)
        steps = [round(j * (num_values - 1) / max(num_levels - 1, 1)) for j in range(num_levels)]
        return [v if v in dimension.allowed(params) else None for v in (dimension.low + s for s in steps)]
    return [dimension.from_unit(j / (_MAX_LEVELS - 1), params) for j in range(_MAX_LEVELS)]
