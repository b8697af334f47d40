"""Confidence intervals over independent units: replicates or paired seeds.

The t interval is the default. The bootstrap-t replaces it where the units are skewed; percentile and BCa bootstraps
are absent on purpose, since with 5 to 20 units they cover too rarely.
"""

from dataclasses import dataclass
from math import ceil, floor, inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from study.statistics.contrast import NotEvaluableError

_SAME = 1e-12
"""Numbers that agree to this share of their size are equal: the rest is rounding."""
_TAIL_DRAWS = 20
"""Bootstrap draws that either tail must hold for its quantile to be worth reading."""
_MOST_DRAWS = 100_000


@dataclass(frozen=True)
class Interval:
    """A closed interval; an end may be infinite."""

    low: float
    high: float


def unit_values(values: ArrayLike) -> NDArray[np.float64]:
    """One finite number per unit, as an array of shape (units,).

    Raises:
        NotEvaluableError: there is no unit, or a number is not finite.
    """
    units = np.asarray(values, dtype=np.float64).ravel()
    if units.size == 0:
        raise NotEvaluableError("there are no units to compare")
    if not np.isfinite(units).all():
        raise NotEvaluableError(
            f"{int((~np.isfinite(units)).sum())} of {units.size} units have no finite value"
        )
    return units


def spread(values: ArrayLike) -> float:
    """Standard deviation with n - 1, in the values' unit; exactly 0 where they differ by rounding alone.

    One value has no spread: infinity, so that nothing can be concluded from it.
    """
    units = unit_values(values)
    if units.size == 1:
        return inf
    if np.ptp(units) <= _SAME * np.abs(units).max():
        return 0.0
    return float(units.std(ddof=1))


def same(a: float, b: float) -> bool:
    """Whether two numbers differ by rounding alone."""
    return abs(a - b) <= _SAME * max(abs(a), abs(b))


def t_interval(values: ArrayLike, level: float) -> Interval:
    """Student's interval of the mean, in the values' unit.

    One unit, or a level of 1, gives the whole line; units that are all equal give a point.

    Args:
        values: one number per unit.
        level: confidence in (0, 1].

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = unit_values(values)
    mean, sd = float(units.mean()), spread(units)
    if sd == 0.0:
        return Interval(mean, mean)
    if units.size == 1:
        return Interval(-inf, inf)
    half = float(stats.t.isf(_tail(level), units.size - 1)) * sd / sqrt(units.size)
    return Interval(mean - half, mean + half)


def bootstrap_t_interval(values: ArrayLike, level: float, seed: int = 0, resamples: int = 2000) -> Interval:
    """Studentised bootstrap interval of the mean, in the values' unit: follows the skew of the units.

    A resample without spread has an infinite t, and the quantiles are rounded outwards, so that with very few units an
    end is infinite rather than wrong. The number of resamples grows with the level, so that either tail
    holds 20 of them, up to 100 000 in all.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 12.5.

    Args:
        values: one number per unit.
        level: confidence in (0, 1].
        seed: of the resampling.
        resamples: least number of them.

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = unit_values(values)
    n, mean, sd = units.size, float(units.mean()), spread(units)
    tail = _tail(level)
    if sd == 0.0:
        return Interval(mean, mean)
    if n == 1 or tail == 0.0:
        return Interval(-inf, inf)
    draws = min(max(resamples, ceil(_TAIL_DRAWS / tail)), _MOST_DRAWS)
    drawn = units[np.random.default_rng(seed).integers(n, size=(draws, n))]
    shift, error = drawn.mean(axis=1) - mean, drawn.std(axis=1, ddof=1) / sqrt(n)
    shift[np.abs(shift) <= _SAME * sd] = 0.0
    error[np.ptp(drawn, axis=1) == 0.0] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(shift == 0.0, 0.0, shift / error)
    low = float(np.quantile(t, tail, method="lower"))
    high = float(np.quantile(t, 1.0 - tail, method="higher"))
    scale = sd / sqrt(n)
    return Interval(mean - high * scale, mean - low * scale)


def wilson(hits: float, n: int, level: float) -> Interval:
    """Wilson's score interval of a probability.

    Args:
        hits: successes, a tie counting one half.
        n: trials.
        level: confidence in (0, 1].

    Raises:
        NotEvaluableError: there are no trials.
    """
    _check_count(hits, n)
    if level >= 1.0:
        return Interval(0.0, 1.0)
    low, high = proportion_confint(hits, n, alpha=1.0 - level, method="wilson")
    return Interval(max(0.0, float(low)), min(1.0, float(high)))


def clopper_pearson(hits: float, n: int, level: float) -> Interval:
    """Clopper and Pearson's exact interval of a probability; it never covers less than its level.

    With half a hit left over from ties, the interval covers both ways of breaking that tie.

    Args:
        hits: successes, a tie counting one half.
        n: trials.
        level: confidence in (0, 1].

    Raises:
        NotEvaluableError: there are no trials.
    """
    _check_count(hits, n)
    if level >= 1.0:
        return Interval(0.0, 1.0)
    low = proportion_confint(floor(hits), n, alpha=1.0 - level, method="beta")[0]
    high = proportion_confint(ceil(hits), n, alpha=1.0 - level, method="beta")[1]
    return Interval(float(low), float(high))


def newcombe(hits_a: int, n_a: int, hits_b: int, n_b: int, level: float) -> Interval:
    """Newcombe's interval of the difference of two independent probabilities, a minus b.

    Source: Newcombe (1998), Statistics in Medicine 17, method 10.

    Raises:
        NotEvaluableError: one side has no trials.
    """
    _check_count(hits_a, n_a)
    _check_count(hits_b, n_b)
    if level >= 1.0:
        return Interval(-1.0, 1.0)
    low, high = confint_proportions_2indep(
        hits_a, n_a, hits_b, n_b, method="newcomb", compare="diff", alpha=1.0 - level
    )
    return Interval(max(-1.0, float(low)), min(1.0, float(high)))


def max_t_bands(
    matrix: ArrayLike, level: float, seed: int = 0, resamples: int = 2000
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bands that hold the means of all columns at once, such as the points of a curve.

    The largest |t| over the columns is bootstrapped by flipping the signs of whole centred units, which keeps the
    dependence between columns and never leaves a column without spread, as drawing few units again would. The
    bands are nowhere narrower than the pointwise t interval. A column whose units are all equal gets a band without
    width; with one unit the bands are infinite.

    Source: Westfall and Young (1993), Resampling-Based Multiple Testing; signs: Liu (1988), Annals of Statistics 16.

    Args:
        matrix: finite numbers of shape (units, points).
        level: joint confidence in (0, 1].
        seed: of the flips.
        resamples: least number of them; it grows with the level as in `bootstrap_t_interval`.

    Returns:
        Lower and upper ends, of shape (points,) each, in the matrix's unit.

    Raises:
        NotEvaluableError: there are no units, or a number is not finite.
    """
    units = np.atleast_2d(np.asarray(matrix, dtype=np.float64))
    unit_values(units)
    n, tail = len(units), _tail(level)
    mean = units.mean(axis=0)
    if n == 1 or tail == 0.0:
        return np.full_like(mean, -inf), np.full_like(mean, inf)
    sd = np.array([spread(column) for column in units.T])
    half = np.zeros_like(mean)
    if (sd > 0.0).any():
        draws = min(max(resamples, ceil(_TAIL_DRAWS / tail)), _MOST_DRAWS)
        largest = _largest_t((units - mean)[:, sd > 0.0], draws, seed)
        joint = float(np.quantile(largest, level, method="higher"))
        half = max(joint, float(stats.t.isf(tail, n - 1))) * sd / sqrt(n)
    return mean - half, mean + half


def _largest_t(centred: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Largest |t| over the columns of (units, points) under random signs of the units, of shape (draws,)."""
    n = len(centred)
    signs = np.random.default_rng(seed).integers(2, size=(draws, n)) * 2.0 - 1.0
    mean = signs @ centred / n
    squares = (centred**2).sum(axis=0)
    variance = np.maximum(squares - n * mean**2, _SAME * squares) / (n - 1)
    largest: NDArray[np.float64] = np.abs(mean / np.sqrt(variance / n)).max(axis=1)
    return largest


def _tail(level: float) -> float:
    if not 0.0 < level <= 1.0:
        raise ValueError(f"A confidence level lies in (0, 1], not at {level!r}.")
    return (1.0 - level) / 2.0


def _check_count(hits: float, n: int) -> None:
    if n < 1:
        raise NotEvaluableError("there are no trials to count")
    if not 0 <= hits <= n:
        raise ValueError(f"{hits!r} hits in {n} trials: a count lies between 0 and the number of trials.")
