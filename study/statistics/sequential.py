"""Reading results before all units are in: registered looks, and evidence that is valid at any time.

Looks: an alpha-spending function says how much of alpha each look may use, and `nominal_levels` turns that into the
level of the paired t test at each look. Any time: the t-mixture e-process for Gaussian differences, and betting for
scores in [0, 1].
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from math import ceil, e, inf, log, log1p, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import interpolate, optimize, special, stats

from search_spaces.errors import SpecError, unknown
from study.statistics.contrast import NotEvaluableError
from study.statistics.intervals import Interval, same, spread, unit_values

SPENDING = ("obf", "pocock")
"""Known ways of spending alpha: like O'Brien and Fleming, little at first; like Pocock, evenly."""

_Floats = NDArray[np.float64]
_Curve = Callable[[_Floats], _Floats]
_NODES, _WEIGHTS = (
    array / scale for array, scale in zip(np.polynomial.legendre.leggauss(16), (1.0, 2.0), strict=True)
)
_UNIT_NODES = (_NODES + 1.0) / 2.0
_REACH = 12.0
"""How far a conditional probability is tabulated, on the scale of `_normalised`."""
_STEP, _FINE_STEP = 0.3, 0.06
"""Of that table, relative to the standard deviation between looks; finer for looks one unit apart, after which the
probability has kinks."""

_LEAST_SHARE = 1e-60
"""Stands for a probability of 0, whose quantile is infinite."""
_STEPS = 2000
"""Steps of the grid on which a mean in [0, 1] is sought."""
_MOST_BET = 0.5
"""Share of the capital that one bet may lose."""


def spending(kind: str, fraction: float, alpha: float) -> float:
    """Probability of a false rejection that may be used up once `fraction` of the units are in.

    `obf`: 2 - 2 Phi(z_{alpha/2} / sqrt(fraction)). `pocock`: alpha log(1 + (e - 1) fraction).

    Source: Lan and DeMets (1983), Biometrika 70.

    Args:
        kind: one of `SPENDING`.
        fraction: of the units at the last look, in [0, 1].
        alpha: two-sided level of all looks together.

    Raises:
        SpecError: the kind is unknown.
    """
    if kind not in SPENDING:
        raise unknown("spending", kind, SPENDING)
    if not fraction > 0.0:
        return 0.0
    if kind == "obf":
        return 2.0 * float(stats.norm.sf(stats.norm.isf(alpha / 2.0) / sqrt(fraction)))
    return alpha * log1p((e - 1.0) * fraction)


@lru_cache(maxsize=1024)
def nominal_levels(looks: tuple[int, ...], alpha: float, kind: str = "obf") -> tuple[float, ...]:
    """Two-sided level of the paired t test at each look, so that all looks together have level alpha.

    Exact for Gaussian differences of any spread. By invariance the t statistics at successive looks form a Markov
    chain, and given a later t the unit vector of all differences is uniform on a slice of a sphere; so the
    probability of having passed the earlier looks is carried forward by quadrature. The usual recursion on the
    normal scale would have level .051 to .054 for .05 with five to thirty units.

    Source: Lan and DeMets (1983); Armitage, McPherson and Rowe (1969) for the recursion.

    Args:
        looks: numbers of units at the looks, ascending, the first at least 2.
        alpha: two-sided level of all looks together, in (0, 1).
        kind: one of `SPENDING`.

    Returns:
        One nominal p per look.

    Raises:
        SpecError: the looks do not ascend, the first comes before two units, or the kind is unknown.
    """
    if not looks or looks[0] < 2 or any(later <= earlier for earlier, later in pairwise(looks)):  # noqa: PLR2004
        raise SpecError(
            f"Looks at {', '.join(map(str, looks)) or 'no units'} cannot be read: name ascending numbers of units "
            "from 2 on."
        )
    spent = [0.0, *(spending(kind, look / looks[-1], alpha) for look in looks)]
    levels: list[float] = []
    passed: _Curve = np.ones_like
    for index, n in enumerate(looks):
        if index:
            passed = _passed(passed, looks[index - 1], n, levels[-1])
        levels.append(_level(passed, n, spent[index + 1] - spent[index]))
    return tuple(levels)


def _normalised(t: _Floats, df: int) -> _Floats:
    """A t statistic on a scale where it is close to normal, whatever its degrees of freedom."""
    scaled: _Floats = np.sqrt(df * np.log1p(t * t / df))
    return scaled


def _level(passed: _Curve, n: int, spend: float) -> float:
    """The nominal level at which crossing now, after not having crossed before, has probability `spend`."""

    def excess(log_level: float) -> float:
        level = float(np.exp(log_level))
        t = -special.stdtrit(n - 1, level / 2.0 * _UNIT_NODES)
        return level * float(_WEIGHTS @ passed(_normalised(t, n - 1))) - spend

    if excess(0.0) <= 0.0:
        return 1.0
    if spend <= 0.0 or excess(log(spend)) >= 0.0:
        return max(spend, 0.0)
    return float(np.exp(optimize.brentq(excess, log(spend), 0.0, xtol=1e-10)))


def _passed(before: _Curve, m: int, n: int, level: float) -> _Curve:
    """Probability of not having crossed up to the look at m units, given t at n units.

    Shapes: Y values of t at n units, B shares of spread, C directions. With x the unit vector of all n
    differences, a is its coordinate along the first m, w the square of what else they have; c says where x lies
    between the first m and the rest, and `share` how much of the remaining spread the first m have.
    """
    df, apart = n - 1, n - m > 1
    step = (_STEP if apart else _FINE_STEP) * sqrt((n - m) / n)
    grid = np.linspace(0.0, _REACH, 1 + ceil(_REACH / step))
    stretch = np.expm1(grid**2 / df)  # t^2 / df at n units, shape Y
    inside = 1.0 / (1.0 + stretch)
    share = special.betaincinv((m - 1) / 2.0, (n - m - 1) / 2.0, _UNIT_NODES) if apart else np.ones(1)
    weights = _WEIGHTS if apart else np.ones(1)
    p = np.sqrt(m / n * stretch * inside)[:, None]  # shape Y1
    q = np.sqrt((n - m) / n * inside)[:, None]
    left = (m - 1) / (m - 1 + special.stdtrit(m - 1, level / 2.0) ** 2) if level > 0.0 else 0.0
    room = (1.0 - left) * inside[:, None] * share  # shape YB
    bend = left * q * q + room
    reach = np.sqrt(np.maximum(room * (bend - left * p * p), 0.0))
    low, high = (_share_below((-left * p * q + sign * reach) / bend, df - 1) for sign in (-1.0, 1.0))
    span = (high - low)[..., None]  # shape YB1
    tau = special.stdtrit(df - 1, np.maximum(low[..., None] + span * _UNIT_NODES, _LEAST_SHARE))  # shape YBC
    across = (df - 1) / (df - 1 + tau * tau)  # 1 - c^2
    a = p[..., None] + q[..., None] * tau * np.sqrt(across / (df - 1))
    w = (inside[:, None] * share)[..., None] * across
    kept = before(np.sqrt((m - 1) * np.log1p(a * a / w)))
    table = np.einsum("ybc,b,c->y", kept * span, weights, _WEIGHTS)
    spline = (interpolate.CubicSpline if apart else interpolate.PchipInterpolator)(grid, table)
    return lambda v: np.clip(spline(np.minimum(v, _REACH)), 0.0, 1.0)


def _share_below(c: _Floats, df: int) -> _Floats:
    """P(C <= c) for one coordinate C of a uniform unit vector with df + 1 coordinates."""
    c = np.clip(c, -1.0, 1.0)
    with np.errstate(divide="ignore"):
        share: _Floats = special.stdtr(df, c * sqrt(df) / np.sqrt(1.0 - c * c))
    return share


def t_mixture_log_e(differences: ArrayLike, null: float = 0.0, g: float = 1.0) -> float:
    """Logarithm of the t-mixture e-value against a mean of `null`: evidence that may be read after every unit.

    The ratio of the marginal likelihood under effects d ~ N(0, g) to that under d = 0, the spread integrated out of
    both; rejecting at e >= 1/alpha keeps level alpha however often one looks, for Gaussian differences. Differences
    that are all equal but not to `null` give its finite limit, (n - 1)/2 log(1 + n g); a single one gives 0.

    Source: Wang and Ramdas (2023), arXiv 2310.03722.

    Args:
        differences: one per unit.
        null: the value tested.
        g: variance of the effect d under the alternative, in squared standard deviations.

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = unit_values(differences)
    n, mean, sd = units.size, float(units.mean()), spread(units)
    if n == 1:
        return 0.0
    if sd == 0.0:
        return -0.5 * log1p(n * g) if same(mean, null) else 0.5 * (n - 1) * log1p(n * g)
    u = n * (mean - null) ** 2 / ((n - 1) * sd**2)
    return -0.5 * log1p(n * g) + 0.5 * n * (log1p(u) - log1p(u / (1.0 + n * g)))


def confidence_sequence(differences: ArrayLike, alpha: float, g: float = 1.0) -> Interval:
    """The means whose t-mixture e-value is below 1/alpha: an interval that may be read after every unit.

    In the differences' unit. The whole line while there are too few units; a point where they are all equal and there
    are enough.

    Args:
        differences: one per unit.
        alpha: 1 minus the confidence, in (0, 1).
        g: as in `t_mixture_log_e`.

    Raises:
        NotEvaluableError: there are no units, or one is not finite.
    """
    units = unit_values(differences)
    n, mean, sd = units.size, float(units.mean()), spread(units)
    ratio = ((1.0 + n * g) / alpha**2) ** (1.0 / n)
    if ratio >= 1.0 + n * g:
        return Interval(-inf, inf)
    half = sd / sqrt(n) * sqrt((n - 1) * (ratio - 1.0) / (1.0 - ratio / (1.0 + n * g)))
    return Interval(mean - half, mean + half)


def betting_interval(values: ArrayLike, alpha: float) -> Interval:
    """The means against which betting on the values has never won 1/alpha: valid after every unit, in [0, 1].

    Hedged capital with predictable plug-in bets, on a grid of 2000 steps whose ends are moved one step outwards.
    Assumes nothing but that every value lies in [0, 1] and has the same mean given those before it.

    Source: Waudby-Smith and Ramdas (2023), Journal of the Royal Statistical Society B 86, theorem 3.

    Args:
        values: scores in [0, 1], in the order of the units.
        alpha: 1 minus the confidence, in (0, 1).

    Raises:
        NotEvaluableError: there are no values, or one is not in [0, 1].
    """
    scores = _scores(values)
    means = np.linspace(0.0, 1.0, _STEPS + 1)
    most = _log_capital(scores, means, alpha).max(axis=0)
    alive = np.flatnonzero(most < log(1.0 / alpha))
    if alive.size == 0:
        alive = np.array([int(np.argmin(most))])
    return Interval(float(means[max(alive[0] - 1, 0)]), float(means[min(alive[-1] + 1, _STEPS)]))


def betting_e_value(values: ArrayLike, null: float, alpha: float = 0.05) -> float:
    """What one unit of money, bet on the values against a mean of `null`, has become: an e-value, valid at any time.

    Args:
        values: scores in [0, 1], in the order of the units.
        null: mean tested, in [0, 1].
        alpha: level for which the size of the bets is tuned; the e-value is valid for every level.

    Raises:
        NotEvaluableError: there are no values, or one is not in [0, 1].
    """
    return float(np.exp(_log_capital(_scores(values), np.array([null]), alpha)[-1, 0]))


def _scores(values: ArrayLike) -> _Floats:
    scores = unit_values(values)
    if scores.min() < 0.0 or scores.max() > 1.0:
        raise NotEvaluableError("a bet needs scores between 0 and 1, and some lie beyond")
    return scores


def _log_capital(scores: _Floats, means: _Floats, alpha: float) -> _Floats:
    """Logarithm of the hedged capital after each score against each mean, of shape (scores, means)."""
    n = scores.size
    count = np.arange(1, n + 1)
    average = (0.5 + np.cumsum(scores)) / (count + 1)
    variance = (0.25 + np.cumsum((scores - average) ** 2)) / (count + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    bet = np.sqrt(2.0 * log(2.0 / alpha) / (before * count * np.log1p(count)))[:, None]
    gain = scores[:, None] - means
    with np.errstate(divide="ignore"):
        up, down = np.minimum(bet, _MOST_BET / means), np.minimum(bet, _MOST_BET / (1.0 - means))
    capital = np.maximum(np.cumsum(np.log1p(up * gain), axis=0), np.cumsum(np.log1p(-down * gain), axis=0))
    hedged: _Floats = capital + log(0.5)
    return hedged
