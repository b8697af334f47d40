"""How many units a question needs, and what a number of units can show.

Sizes are planned from the spread of a pilot and the smallest effect of interest, never from an observed effect.
"""

from collections.abc import Callable
from math import ceil, log2, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from study.statistics.contrast import NotEvaluableError
from study.statistics.intervals import spread, unit_values

MOST_UNITS = 10_000
"""Beyond this many units a question counts as out of reach."""
_NUM_NODES = 200
_EVEN = 0.5
"""Win probability of two equal families."""


def smallest_p(n: int) -> float:
    """The smallest two-sided p that n paired units can attain in a sign-flip test: 2^(1 - n), at most 1."""
    return min(1.0, 2.0 ** (1 - n))


def units_for(p_level: float) -> int:
    """The least number of paired units whose smallest attainable p is at most `p_level`, a level in (0, 1]."""
    if not 0.0 < p_level <= 1.0:
        raise ValueError(f"A level of p lies in (0, 1], not at {p_level!r}.")
    n = max(1, ceil(1.0 - log2(p_level)))
    return n if smallest_p(n) <= p_level else n + 1


def sd_upper(values: ArrayLike, level: float = 0.8) -> float:
    """Upper confidence bound of the standard deviation of Gaussian units, in the values' unit.

    The standard deviation times sqrt((n - 1) / chi-square quantile of 1 - level): 1.56 at n = 5, 1.29 at n = 10.

    Raises:
        NotEvaluableError: there are fewer than two units, or one is not finite.
    """
    units = unit_values(values)
    if units.size == 1:
        raise NotEvaluableError("one unit has no spread to plan with")
    df = units.size - 1
    return spread(units) * sqrt(df / float(stats.chi2.ppf(1.0 - level, df)))


def units_needed(sd: float, effect: float, alpha: float, power: float) -> int | None:
    """The least n with sd (t_{1 - alpha/2, n-1} + t_{power, n-1}) / sqrt(n) <= effect; None beyond 10 000.

    Args:
        sd: spread of the paired differences.
        effect: the effect to be found, in the same unit; without one above 0 nothing suffices.
        alpha: two-sided level.
        power: probability of finding it, above 1/2.
    """
    if not effect > 0.0:
        return None

    def enough(n: int) -> bool:
        quantiles = float(stats.t.isf(alpha / 2.0, n - 1) + stats.t.ppf(power, n - 1))
        return sd * quantiles / sqrt(n) <= effect

    return _least(enough)


def units_for_half_width(sd: float, half_width: float, alpha: float) -> int | None:
    """The least n whose t interval at level 1 - alpha reaches no further than `half_width`; None beyond 10 000.

    Args:
        sd: spread of the paired differences.
        half_width: half the interval's length, in the same unit.
        alpha: two-sided level.
    """
    if not half_width > 0.0:
        return None
    return _least(lambda n: sd * float(stats.t.isf(alpha / 2.0, n - 1)) / sqrt(n) <= half_width)


def noether_units(gamma: float, alpha: float, power: float) -> int | None:
    """Pairs that show a win probability of `gamma` to be above 1/2; None where gamma is not, or beyond 10 000.

    Source: Noether (1987), Journal of the American Statistical Association 82; Bouthillier et al. (2021).

    Args:
        gamma: probability that family a wins a pair.
        alpha: one-sided level.
        power: probability of showing it.
    """
    if not gamma > _EVEN:
        return None
    quantiles = float(stats.norm.isf(alpha) + stats.norm.ppf(power))
    n = ceil((quantiles / (sqrt(6.0) * (gamma - _EVEN))) ** 2)
    return n if n <= MOST_UNITS else None


def paired_power(effect: float, sd: float, n: int, alpha: float) -> float:
    """Power of the two-sided paired t test at a true mean difference of `effect`, by the noncentral t.

    Args:
        effect: true mean difference.
        sd: its spread, in the same unit; without any, every effect but 0 is found.
        n: units; a single one finds nothing.
        alpha: two-sided level.
    """
    if n < 2:  # noqa: PLR2004
        return 0.0
    if sd == 0.0:
        return 0.0 if effect == 0.0 else 1.0
    critical, shift = float(stats.t.isf(alpha / 2.0, n - 1)), abs(effect) / sd * sqrt(n)
    upper = float(stats.nct.sf(critical, n - 1, shift))
    lower = float(stats.nct.sf(critical, n - 1, -shift))  # the mirror image of a tail that scipy has as NaN
    return min(1.0, upper + lower)


def tost_power(bound: float, sd: float, n: int, alpha: float) -> float:
    """Probability that two one-sided t tests show |mean difference| < bound when there is no difference at all.

    Exact for Gaussian differences: given the spread s, both tests reject where |mean| is below
    bound - t_{1-alpha} s / sqrt(n); the mean over the distribution of s is taken by quadrature.

    Source: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15; Phillips (1990), same journal 18.

    Args:
        bound: of equivalence, above 0.
        sd: true spread of the differences, in the same unit.
        n: units.
        alpha: level of each one-sided test; the interval at level 1 - 2 alpha lies within the bounds.
    """
    if n < 2 or not bound > 0.0:  # noqa: PLR2004
        return 0.0
    if sd == 0.0:
        return 1.0
    standard = bound * sqrt(n) / sd
    critical = float(stats.t.isf(alpha, n - 1))
    # Only a relative spread below standard / critical can show equivalence; integrate its quantiles up to there.
    reach = float(special.gammainc((n - 1) / 2.0, (n - 1) / 2.0 * (standard / critical) ** 2))
    nodes, weights = np.polynomial.legendre.leggauss(_NUM_NODES)
    quantiles = reach * (nodes + 1.0) / 2.0
    relative = np.sqrt(special.gammaincinv((n - 1) / 2.0, quantiles) * 2.0 / (n - 1))
    inside = 2.0 * special.ndtr(standard - critical * relative) - 1.0
    return float(reach * (weights @ inside) / 2.0)


def _least(enough: Callable[[int], bool]) -> int | None:
    """The least n from 2 to 10 000 that is enough, where every larger one is enough too."""
    if not enough(MOST_UNITS):
        return None
    low, high = 1, MOST_UNITS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
