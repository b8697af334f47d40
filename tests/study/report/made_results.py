"""Results made by hand: the numbers of a part follow from its differences by scipy."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from study.statistics.claims import Direction, Role
from study.statistics.results import ClaimResult, Grade, PartResult, Thresholds, Verdict

WORKLOADS = ("vader_movie", "vader_nyt")
LEVEL = 0.99
"""Of the primary claims, after correction."""
ALPHA = 0.01


def spread(mean: float, sd: float, n: int, seed: int = 0) -> tuple[float, ...]:
    """`n` numbers whose mean and standard deviation are exactly these."""
    draws = np.random.default_rng(seed).normal(size=n)
    scaled = mean + sd * (draws - draws.mean()) / draws.std(ddof=1)
    return tuple(float(value) for value in scaled)


def part(
    metric: str,
    title: str,
    unit: str,
    differences: Sequence[float],
    *,
    verdict: Verdict,
    thresholds: Thresholds,
    direction: Direction = Direction.GREATER,
    a: str = "gradamw",
    b: str = "adamw",
    base: float | None = None,
    better: str = "less",
    n_unit: str = "replicate",
    level: float = LEVEL,
    **more: Any,
) -> PartResult:
    """One endpoint: estimate, t-interval, p-values, effect size, win probability and e-value from its differences."""
    x = np.asarray(differences, dtype=float)
    n, mean, sd = x.size, float(x.mean()), float(x.std(ddof=1))
    sign = -1 if direction is Direction.NONINFERIOR else 1
    against = thresholds.null + sign * thresholds.margin
    interval = stats.t.interval(level, n - 1, loc=mean, scale=sd / math.sqrt(n))
    wins = float((x > thresholds.null).sum() + 0.5 * (x == thresholds.null).sum())
    wilson = stats.binomtest(round(wins), n).proportion_ci(0.95, method="wilson")
    t = (mean - against) / (sd / math.sqrt(n))
    b_values = () if base is None else spread(base, sd, n, seed=99)
    turned = x if better == "greater" else -x
    fields: dict[str, Any] = {
        "metric": metric,
        "title": title,
        "unit": unit,
        "direction": direction,
        "factor": "",
        "workload": WORKLOADS[0],
        "a": a,
        "b": b,
        "verdict": verdict,
        "estimate": mean,
        "ci_low": float(interval[0]),
        "ci_high": float(interval[1]),
        "level": level,
        "ci_kind": f"t over {n_unit}s",
        "p_t": float(2 * stats.t.sf(abs(t), n - 1)),
        "p_signflip": _signflip(x - against),
        "p_adjusted": min(1.0, 8 * float(2 * stats.t.sf(abs(t), n - 1))),
        "effect_size": mean / sd,
        "win_probability": wins / n,
        "win_low": float(wilson.low),
        "win_high": float(wilson.high),
        "e_value": _e_value(t, n),
        "n": n,
        "n_planned": n,
        "n_unit": n_unit,
        "thresholds": thresholds,
        "units": tuple(str(index) for index in range(n)),
        "differences": tuple(float(value) for value in x),
        "a_values": tuple(float(v + d) for v, d in zip(b_values, turned, strict=False)) if b_values else (),
        "b_values": b_values,
    }
    return PartResult(**(fields | more))


def _signflip(x: np.ndarray) -> float:
    """Two-sided p by all sign flips, or by 4,095 random ones and the identity."""
    rng = np.random.default_rng(1)
    n = x.size
    signs = (
        np.array(np.meshgrid(*[[-1, 1]] * n)).reshape(n, -1).T
        if n <= 10
        else np.vstack([np.ones(n), rng.choice([-1, 1], size=(4095, n))])
    )
    means = np.abs(signs @ x) / n
    return float(np.mean(means >= abs(x.mean()) - 1e-12))


def _e_value(t: float, n: int) -> float:
    """The t-mixture e-value with prior variance 1."""
    u = t**2 / (n - 1)
    return math.exp(-0.5 * math.log(1 + n) + n / 2 * (math.log(1 + u) - math.log(1 + u / (1 + n))))


def claim(
    id_: str, title: str, *parts: PartResult, verdict: Verdict, grade: Grade = Grade.NONE, **more: Any
) -> ClaimResult:
    """A claim result from its parts."""
    ps = [one.p_t for one in parts if one.p_t is not None]
    fields: dict[str, Any] = {
        "id": id_,
        "title": title,
        "role": Role.PRIMARY,
        "a": parts[0].a,
        "b": parts[0].b,
        "at": "",
        "workloads": "each",
        "verdict": verdict,
        "grade": grade,
        "extra": None,
        "reason": "",
        "p": max(ps) if ps else None,
        "p_adjusted": min(1.0, 8 * max(ps)) if ps else None,
        "alpha": ALPHA,
        "parts": parts,
    }
    return ClaimResult(**(fields | more))
