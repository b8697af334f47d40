"""Tests and effect sizes over paired differences, one number per replicate or seed.

Every function takes differences that are oriented so that above `null` favours family a, and the value `null` of no
difference. Differences that are all equal are an answer, not an error: what each function says of them is in
its docstring.
"""

from functools import reduce
from math import ceil, copysign, floor, inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats
from statsmodels.stats.contingency_tables import mcnemar

from study.statistics.contrast import NotEvaluableError
from study.statistics.intervals import Interval, same, spread, unit_values

MOST_EXACT = 32
"""Units up to which every assignment of signs is counted."""
RANDOM_FLIPS = 100_000
"""Random assignments of signs beyond that, the observed one not counted."""
_FLIP_SEED = 20_261_122
_TIE = 1e-12
"""Numbers that agree to this share of their size are equal: the rest is rounding."""


def t_p(differences: ArrayLike, null: float = 0.0) -> float:
    """Two-sided p of the paired t test that the mean difference is `null`.

    Differences that are all equal have p 1 where they equal `null` and 0 elsewhere; a single one has p 1.

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = unit_values(differences)
    mean, sd = float(units.mean()), spread(units)
    if sd == 0.0:
        return 1.0 if same(mean, null) else 0.0
    t = sqrt(units.size) * (mean - null) / sd
    return 2.0 * float(special.stdtr(max(units.size - 1, 1), -abs(t)))


def sign_flip_p(differences: ArrayLike, null: float = 0.0) -> float:
    """Two-sided p of the sign-flip test that the differences are symmetric about `null`.

    The share of the 2^n assignments of signs to (difference - null) whose sum is at least as far from 0 as the observed
    one. Exact up to 32 units: the sums of either half of the units are listed, and pairs of them counted by
    bisection. Beyond, 100 000 random assignments with a fixed seed, and the observed one among them.

    Source: Fisher (1935), The Design of Experiments, section 21; random assignments: Phipson and Smyth (2010).

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = unit_values(differences)
    shifted = units - null
    shifted[np.abs(shifted) <= _TIE * max(abs(null), float(np.abs(units).max()))] = 0.0
    size = float(np.abs(shifted).sum())
    least = abs(float(shifted.sum())) - _TIE * size
    if least <= 0.0:
        return 1.0
    if shifted.size <= MOST_EXACT:
        return _share_of_all_signs(shifted, least)
    return _share_of_random_signs(shifted, least)


def effect_size(differences: ArrayLike, null: float = 0.0) -> float:
    """Cohen's d_z: (mean difference - null) over the standard deviation of the differences, no unit.

    Differences that are all equal give 0 where they equal `null`, and an infinity of their sign elsewhere. A single
    one gives NaN.

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = unit_values(differences)
    mean, sd = float(units.mean()), spread(units)
    if units.size == 1:
        return nan
    if sd == 0.0:
        return 0.0 if same(mean, null) else copysign(inf, mean - null)
    return (mean - null) / sd


def effect_size_interval(differences: ArrayLike, level: float, null: float = 0.0) -> Interval:
    """Exact interval of d_z for Gaussian differences, by inverting the noncentral t.

    Its ends are those true effects at which the observed t has (1 - level) / 2 of the probability beyond it. Without a
    finite effect size it is the whole line.

    Source: Steiger and Fouladi (1997), in What If There Were No Significance Tests?, chapter 9.

    Args:
        differences: one per unit.
        level: confidence in (0, 1).
        null: the value of no difference.

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = unit_values(differences)
    effect = effect_size(units, null)
    if not np.isfinite(effect):
        return Interval(-inf, inf)
    root = sqrt(units.size)
    t, df, tail = abs(effect) * root, units.size - 1, (1.0 - level) / 2.0
    low, high = (_noncentrality(t, df, probability) / root for probability in (1.0 - tail, tail))
    return Interval(low, high) if effect >= 0.0 else Interval(-high, -low)


def win_score(differences: ArrayLike, null: float = 0.0) -> float:
    """Wins of family a plus half its ties, out of as many as there are units.

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = unit_values(differences)
    return float((units > null).sum() + 0.5 * (units == null).sum())


def binomial_p(hits: float, n: int) -> float:
    """Two-sided exact p that a win is as likely as a loss.

    Ties are split evenly beforehand; where that leaves half a hit, it goes to the side that is behind, which can
    only raise p. Without trials p is 1.

    Args:
        hits: wins, a tie counting one half.
        n: units.
    """
    if not 0 <= hits <= n:
        raise ValueError(f"{hits!r} hits in {n} trials: a count lies between 0 and the number of trials.")
    if n == 0:
        return 1.0
    whole = floor(hits) if hits > n / 2 else ceil(hits)
    return float(stats.binomtest(whole, n, 0.5).pvalue)


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Two-sided exact p that an event, such as divergence, is as likely in family a as in family b.

    Args:
        only_a: pairs in which family a alone had it.
        only_b: pairs in which family b alone had it.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"Counts of pairs are not negative: {only_a!r}, {only_b!r}.")
    return float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)


def _sums_of_signs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of the values under each of their 2^n assignments of signs."""
    return reduce(lambda sums, value: np.concatenate([sums + value, sums - value]), values, np.zeros(1))


def _share_of_all_signs(shifted: NDArray[np.float64], least: float) -> float:
    """Share of all assignments whose |sum| is at least `least`, exact: a whole number over 2^n."""
    half = shifted.size // 2
    left, right = np.sort(_sums_of_signs(shifted[:half])), np.sort(_sums_of_signs(shifted[half:]))
    above = left.size - np.searchsorted(left, least - right, side="left")
    return 2.0 * float(above.sum()) / 2.0**shifted.size


def _share_of_random_signs(shifted: NDArray[np.float64], least: float) -> float:
    rng = np.random.default_rng(_FLIP_SEED)
    signs = rng.integers(2, size=(RANDOM_FLIPS, shifted.size), dtype=np.int8)
    sums = 2.0 * (signs @ shifted) - shifted.sum()
    return float(1 + (np.abs(sums) >= least).sum()) / (RANDOM_FLIPS + 1)


def _noncentrality(t: float, df: int, probability: float) -> float:
    """The noncentrality at which P(T <= t) is `probability`, for T with `df` degrees of freedom and t not negative."""

    def excess(noncentrality: float) -> float:
        return float(stats.nct.cdf(t, df, noncentrality)) - probability

    reach = 8.0 + abs(t)
    while excess(t - reach) < 0.0 or excess(t + reach) > 0.0:
        reach *= 2.0
        if reach > 1e6 * (1.0 + abs(t)):
            raise NotEvaluableError(f"the interval of an effect of t = {t:.3g} cannot be computed")
    return float(optimize.brentq(excess, t - reach, t + reach, xtol=1e-10))
