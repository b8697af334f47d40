"""Corrections for several claims in one file: Holm, Benjamini-Hochberg and e-BH."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class HolmStep:
    """What Holm's procedure says of one hypothesis."""

    level: float
    """The level at which it was tested, and at which its interval stands."""
    adjusted_p: float
    rejected: bool


def holm_levels(p_values: Sequence[float | None], alpha: float) -> tuple[HolmStep, ...]:
    """Holm's step-down procedure, which keeps the probability of any false rejection at alpha.

    The j-th smallest of m p-values is tested at alpha / (m - j + 1); the first that fails stops the procedure, and
    all the rest stand at its level. A claim that cannot be evaluated has no p: it counts in m as a p of 1.

    Source: Holm (1979), Scandinavian Journal of Statistics 6.

    Args:
        p_values: None or NaN where there is none.
        alpha: familywise level.

    Returns:
        One step per p-value, in the order given.
    """
    if not p_values:
        return ()
    p = _known(p_values)
    steps: dict[int, HolmStep] = {}
    level, adjusted, going = alpha, 0.0, True
    for position, index in enumerate(np.argsort(p, kind="stable")):
        remaining = p.size - position
        adjusted = max(adjusted, min(1.0, remaining * float(p[index])))
        if going:
            level = alpha / remaining
            going = bool(p[index] <= level)
        steps[int(index)] = HolmStep(level, adjusted, going)
    return tuple(steps[index] for index in range(p.size))


def benjamini_hochberg(p_values: Sequence[float | None]) -> tuple[float, ...]:
    """Adjusted p-values whose comparison with q keeps the expected share of false rejections at q.

    Source: Benjamini and Hochberg (1995), Journal of the Royal Statistical Society B 57.

    Args:
        p_values: None or NaN where there is none, which counts as 1.

    Returns:
        One adjusted p per p-value, in the order given.
    """
    if not p_values:
        return ()
    return tuple(float(p) for p in stats.false_discovery_control(_known(p_values), method="bh"))


def e_bh(e_values: Sequence[float | None], alpha: float) -> tuple[bool, ...]:
    """Which hypotheses e-BH rejects: the k largest, for the largest k whose k-th e-value is at least m / (k alpha).

    Keeps the expected share of false rejections at alpha, however the e-values depend on each other.

    Source: Wang and Ramdas (2022), Journal of the Royal Statistical Society B 84.

    Args:
        e_values: None or NaN where there is none, which counts as 0.
        alpha: level.

    Returns:
        One decision per e-value, in the order given.
    """
    e = np.array([0.0 if value is None or isnan(value) else value for value in e_values], dtype=np.float64)
    ranked = np.sort(e)[::-1]
    passing = np.flatnonzero(ranked * np.arange(1, e.size + 1) >= e.size / alpha)
    if passing.size == 0:
        return (False,) * e.size
    return tuple(bool(value >= ranked[passing[-1]]) for value in e)


def _known(p_values: Sequence[float | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([1.0 if p is None or isnan(p) else p for p in p_values], dtype=np.float64)
