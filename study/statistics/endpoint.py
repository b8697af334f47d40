"""One endpoint: paired differences, a registered part and a level become an estimate, its tests and a verdict."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from study.statistics.claims import Direction, Part
from study.statistics.contrast import MISSING_FRAC, Contrast, NotEvaluableError
from study.statistics.intervals import (
    Interval,
    bootstrap_t_interval,
    clopper_pearson,
    spread,
    t_interval,
    wilson,
)
from study.statistics.paired import binomial_p, effect_size, sign_flip_p, t_p, win_score
from study.statistics.power import (
    MOST_UNITS,
    noether_units,
    sd_upper,
    smallest_p,
    units_for_half_width,
    units_needed,
)
from study.statistics.results import PartResult, Thresholds, Verdict
from study.statistics.sequential import (
    betting_e_value,
    betting_interval,
    confidence_sequence,
    nominal_levels,
    t_mixture_log_e,
)
from study.statistics.verdicts import Reading, read, reason

LEAST_UNITS = 3
"""Fewer paired units have no spread worth a test."""
SKEWED = 1.0
"""Sample skewness beyond which the t-interval gives way to the bootstrap-t."""
LEAST_UNITS_WILSON = 20
"""Below it, a win probability has Clopper and Pearson's interval."""
LARGEST_LOG_E = 700.0
WIN_LEVEL = 0.95
"""Confidence of the win probability's interval, which describes."""
Test = Callable[["NDArray[np.float64]", float], float]
"""Two-sided p of values against a mean."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was registered of an endpoint's sample."""

    looks: tuple[int, ...]
    """Numbers of units at which it may be read; empty: once, at `num_planned`."""
    num_planned: int | None
    """None: whatever there is."""
    spending: str
    power: float


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Paired differences with what is claimed of them."""

    contrast: Contrast
    part: Part
    plan: Plan
    may_be_skewed: bool = False
    """Whether a skewed sample takes the bootstrap-t, which needs differences that hardly ever tie."""

    @property
    def sample(self) -> "NDArray[np.float64]":
        """Differences by unit."""
        return self.contrast.differences.to_numpy(dtype=float)

    @property
    def thresholds(self) -> Thresholds:
        """Margin, smallest effect and bound in the metric's own unit."""
        part = self.part
        scale = self.contrast.scale if part.relative else 1.0
        bound = part.equivalence if part.equivalence is not None else part.sesoi
        if part.direction is Direction.NONINFERIOR:
            bound = None
        return Thresholds(
            null=self.contrast.null,
            margin=part.margin * scale,
            sesoi=None if part.sesoi is None else part.sesoi * scale,
            equivalence=None if bound is None else bound * scale,
        )

    @property
    def looks(self) -> tuple[int, ...]:
        """The planned numbers of units, the last one included."""
        plan = self.plan
        if plan.looks:
            return plan.looks
        return (plan.num_planned,) if plan.num_planned is not None else ()

    @property
    def look(self) -> int | None:
        """Which planned look this is, from 0; None where it was not planned."""
        n = self.contrast.differences.size
        for index, planned in enumerate(self.looks):
            if (1 - MISSING_FRAC) * planned <= n <= planned:
                return index
        return None

    @property
    def is_unplanned(self) -> bool:
        """Whether the number of units is none that was registered, so that only anytime methods are valid."""
        return bool(self.looks) and self.look is None

    @property
    def edge(self) -> float:
        """What the test's null hypothesis says of the mean difference."""
        limits = self.thresholds
        sign = -1 if self.part.direction is Direction.NONINFERIOR else 1
        return limits.null + sign * limits.margin


def p_value(endpoint: Endpoint) -> float:
    """The p by which a claim is ranked among the others: valid at this look, the largest over anchors.

    Raises:
        NotEvaluableError: too few units, or a relative margin without a reference.
    """
    _check_units(endpoint)
    return max(_p_at_look(endpoint, series) for series in _all_series(endpoint))


def judge(endpoint: Endpoint, blank: PartResult, alpha: float) -> PartResult:
    """The whole result of an endpoint at level `alpha`.

    Args:
        endpoint: differences and what is claimed.
        blank: the result's names, filled here.
        alpha: two-sided level after correction for the other claims.

    Raises:
        NotEvaluableError: the smallest p that so many units can give exceeds `alpha`.
    """
    _check_units(endpoint)
    _check_attainable(endpoint, alpha)
    reading, level, kind = _reading(endpoint, alpha)
    verdict, grade = read(endpoint.part.direction, reading, endpoint.thresholds)
    p_t, p_flip = _largest_p(endpoint, t_p), _largest_p(endpoint, sign_flip_p)
    result = replace(
        _described(endpoint, blank),
        verdict=verdict,
        grade=grade,
        reason="",
        ci_low=_finite(reading.interval.low),
        ci_high=_finite(reading.interval.high),
        level=level,
        ci_kind=kind,
        p_t=p_t,
        p_signflip=p_flip,
        fragile=(p_t <= 1 - level) != (p_flip <= 1 - level),
    )
    if verdict is Verdict.INCONCLUSIVE:
        extra, half = _extra(endpoint, alpha)
        result = replace(result, extra=extra, half_sesoi_n=half)
    return replace(result, reason=reason(result))


def _described(endpoint: Endpoint, blank: PartResult) -> PartResult:
    """Estimate, sizes and units: all that does not depend on the level."""
    values, contrast, limits = endpoint.sample, endpoint.contrast, endpoint.thresholds
    wins = win_score(values - limits.null)
    ends, _ = _share(wins, values.size, WIN_LEVEL)
    return replace(
        blank,
        estimate=float(values.mean()),
        effect_size=_finite(effect_size(values - limits.null)),
        win_probability=wins / values.size,
        win_low=ends.low,
        win_high=ends.high,
        e_value=_e_value(endpoint),
        n=int(values.size),
        n_planned=endpoint.looks[-1] if endpoint.looks else None,
        n_unit=contrast.unit,
        look=None if endpoint.look is None or len(endpoint.looks) == 1 else endpoint.look + 1,
        thresholds=limits,
        units=tuple(str(unit) for unit in contrast.differences.index),
        differences=tuple(float(v) for v in values),
        a_values=_tuple(contrast.a_values),
        b_values=_tuple(contrast.b_values),
        notes=contrast.notes,
    )


def _check_units(endpoint: Endpoint) -> None:
    n = endpoint.sample.size
    if n < LEAST_UNITS:
        raise NotEvaluableError(
            f"{n} paired {endpoint.contrast.unit}s are too few, at least {LEAST_UNITS} are needed"
        )
    if not np.isfinite(endpoint.sample).all():
        raise NotEvaluableError("a paired difference is not a finite number")


def _check_attainable(endpoint: Endpoint, alpha: float) -> None:
    n = endpoint.sample.size
    if smallest_p(n) > alpha:
        raise NotEvaluableError(
            f"{n} paired {endpoint.contrast.unit}s cannot give a sign-flip p below {smallest_p(n):.3g}, and the level "
            f"after correction is {alpha:.3g}"
        )


def _all_series(endpoint: Endpoint) -> list["NDArray[np.float64]"]:
    """The differences, and those at other anchors, all of which must agree."""
    return [endpoint.sample, *(one.to_numpy(dtype=float) for one in endpoint.contrast.anchors)]


def _reading(endpoint: Endpoint, alpha: float) -> tuple[Reading, float, str]:
    """Intervals for the verdict, their level and their kind.

    Over anchors the interval reaches from the lowest end to the highest: what it excludes, every anchor excludes.
    """
    level_p, suffix = alpha, ""
    if len(endpoint.looks) > 1 and endpoint.look is not None:
        level_p = nominal_levels(endpoint.looks, alpha, endpoint.plan.spending)[endpoint.look]
        suffix = f" at look {endpoint.look + 1} of {len(endpoint.looks)}"
    interval, kind = _hull(endpoint, level_p)
    narrow, _ = _hull(endpoint, min(2 * level_p, 1.0))
    values = endpoint.sample
    wins = win_score(values - endpoint.contrast.null) / values.size
    reading = Reading(interval=interval, equivalence_interval=narrow, win_probability=wins)
    return reading, 1 - level_p, f"{kind}{suffix}"


def _hull(endpoint: Endpoint, alpha: float) -> tuple[Interval, str]:
    """The interval that holds those of all anchors, and the kind of the first."""
    found = [_interval(endpoint, series, alpha) for series in _all_series(endpoint)]
    ends = [interval for interval, _ in found]
    return Interval(low=min(e.low for e in ends), high=max(e.high for e in ends)), found[0][1]


def _interval(endpoint: Endpoint, values: "NDArray[np.float64]", alpha: float) -> tuple[Interval, str]:
    if not endpoint.is_unplanned:
        return _fixed(endpoint, values, 1 - alpha)
    if endpoint.contrast.binary:
        return betting_interval(values, alpha), "betting confidence sequence"
    return confidence_sequence(values, alpha), "t-mixture confidence sequence"


def _fixed(endpoint: Endpoint, values: "NDArray[np.float64]", level: float) -> tuple[Interval, str]:
    """The interval of a planned number of units."""
    unit = endpoint.contrast.unit
    if endpoint.contrast.binary:
        interval, name = _share(float(values.sum()), values.size, level)
        return interval, f"{name} over {unit}s"
    if endpoint.may_be_skewed and spread(values) > 0 and abs(float(stats.skew(values, bias=False))) > SKEWED:
        return bootstrap_t_interval(values, level), f"bootstrap-t over {unit}s"
    return t_interval(values, level), f"t over {unit}s"


def _share(hits: float, n: int, level: float) -> tuple[Interval, str]:
    """The interval of a share of `n`; half a hit is a tie."""
    if n >= LEAST_UNITS_WILSON:
        return wilson(hits, n, level), "Wilson"
    return clopper_pearson(hits, n, level), "Clopper-Pearson"


def _largest_p(endpoint: Endpoint, test: Test) -> float:
    return max(_fixed_p(endpoint, series, test) for series in _all_series(endpoint))


def _fixed_p(endpoint: Endpoint, values: "NDArray[np.float64]", test: Test) -> float:
    """Two-sided p against the margin; for a claim of equality the two one-sided tests' p."""
    if endpoint.contrast.binary:
        return binomial_p(float(values.sum()), values.size)
    if endpoint.part.direction is Direction.EQUIVALENT:
        return _tost_p(endpoint, values, test)
    return test(values, endpoint.edge)


def _tost_p(endpoint: Endpoint, values: "NDArray[np.float64]", test: Test) -> float:
    """The larger p of two one-sided tests, each half its two-sided p on the right side."""
    limits = endpoint.thresholds
    bound = limits.equivalence or 0.0
    ps = []
    for edge, sign in ((limits.null - bound, 1.0), (limits.null + bound, -1.0)):
        two_sided = test(values, edge)
        inside = sign * (values.mean() - edge) > 0
        ps.append(two_sided / 2 if inside else 1 - two_sided / 2)
    return float(max(ps))


def _p_at_look(endpoint: Endpoint, values: "NDArray[np.float64]") -> float:
    if endpoint.is_unplanned:
        return min(1.0, math.exp(-max(_log_e(endpoint, values), 0.0)))
    p = _fixed_p(endpoint, values, t_p)
    if len(endpoint.looks) > 1 and endpoint.look is not None:
        return _repeated_p(p, endpoint.looks, endpoint.look, endpoint.plan.spending)
    return p


_ALPHAS = tuple(float(a) for a in np.geomspace(1e-6, 0.5, 40))


@lru_cache(maxsize=64)
def _boundary(looks: tuple[int, ...], look: int, spending: str) -> tuple[float, ...]:
    """Nominal p at one look for every overall level in `_ALPHAS`."""
    return tuple(nominal_levels(looks, alpha, spending)[look] for alpha in _ALPHAS)


def _repeated_p(p: float, looks: tuple[int, ...], look: int, spending: str) -> float:
    """The overall level at which this look's boundary is just met (Jennison and Turnbull's repeated p)."""
    nominal = np.log(np.maximum(_boundary(looks, look, spending), 1e-300))
    found = np.interp(math.log(max(p, 1e-300)), nominal, np.log(_ALPHAS), right=0.0)
    return float(min(1.0, math.exp(found))) if p > math.exp(nominal[0]) else max(p, _ALPHAS[0])


def _log_e(endpoint: Endpoint, values: "NDArray[np.float64]") -> float:
    if endpoint.contrast.binary:
        return math.log(max(betting_e_value(values, endpoint.edge), 1e-300))
    return t_mixture_log_e(values, endpoint.edge)


def _e_value(endpoint: Endpoint) -> float | None:
    if endpoint.part.direction is Direction.EQUIVALENT:
        return None
    return math.exp(min(_log_e(endpoint, endpoint.sample), LARGEST_LOG_E))


def _extra(endpoint: Endpoint, alpha: float) -> tuple[int | None, int | None]:
    """Units still missing for the planned power at the registered effect, never at the observed one.

    Where that power was there and the estimate fell between the margin and the smallest effect of interest, the
    units missing for an interval of half the width of that effect. Never more than `MOST_UNITS`. Second, the number
    of units with such an interval.
    """
    values, limits, part = endpoint.sample, endpoint.thresholds, endpoint.part
    n, power = int(values.size), endpoint.plan.power
    if limits.sesoi is None:
        return None, None
    half = units_for_half_width(float(values.std(ddof=1)), limits.sesoi / 2, alpha)
    if endpoint.contrast.binary:
        needed = noether_units(min(0.5 + limits.sesoi, 0.99), alpha, power)
    else:
        effect, level, target = limits.sesoi - limits.margin, alpha, power
        if part.direction is Direction.NONINFERIOR:
            effect = limits.margin
        if part.direction is Direction.EQUIVALENT:
            effect, level, target = limits.equivalence or 0.0, 2 * alpha, (1 + power) / 2
        needed = units_needed(sd_upper(values), effect, level, target) if effect > 0 else None
    missing = [number - n for number in (needed or MOST_UNITS, half or MOST_UNITS) if number > n]
    return (missing[0] if missing else 1), half


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _tuple(series: pd.Series | None) -> tuple[float, ...]:
    return () if series is None else tuple(float(v) for v in series)
