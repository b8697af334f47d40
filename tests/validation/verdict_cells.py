"""V4: the probability of every verdict at a true effect. Differences have standard deviation 1."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from study.statistics.claims import Direction
from study.statistics.intervals import Interval
from study.statistics.power import tost_power
from study.statistics.results import Grade, Thresholds, Verdict
from study.statistics.verdicts import Reading, read
from tests.validation.bands import Rate, around, at_most
from tests.validation.level_cells import ALPHA, engine_interval
from tests.validation.surface import Array, NoiseKind, draw_noise

BOUND = 0.5
"""Bound of equivalence and smallest effect of interest."""
MARGIN = 0.3
"""Margin of the claims that have one."""
SUPERIORITY = Thresholds(null=0.0, margin=0.0, sesoi=BOUND, equivalence=BOUND)
SUPERIORITY_ONLY = Thresholds(null=0.0, margin=0.0, sesoi=None, equivalence=None)
BEYOND_MARGIN = Thresholds(null=0.0, margin=MARGIN, sesoi=2 * BOUND, equivalence=None)
NOT_INFERIOR = Thresholds(null=0.0, margin=MARGIN, sesoi=MARGIN, equivalence=None)
SIZES = (10, 30)
SKEW_ERROR: Mapping[int, float] = {10: 0.14, 30: 0.10}
"""Error in either direction that is accepted for lognormal differences, by units; .025 would be the level."""


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """A true effect at which one verdict is an error."""

    what: str
    theta: float
    thresholds: Thresholds
    direction: Direction = Direction.GREATER
    verdict: Verdict
    level: float = ALPHA / 2
    """How often that verdict may be given."""


BOUNDARIES = (
    Boundary(what="false support, no effect", theta=0.0, thresholds=SUPERIORITY, verdict=Verdict.SUPPORTED),
    Boundary(what="false reversal, no effect", theta=0.0, thresholds=SUPERIORITY, verdict=Verdict.REFUTED),
    Boundary(
        what="false equivalence, effect at the bound",
        theta=BOUND,
        thresholds=SUPERIORITY,
        verdict=Verdict.EQUIVALENT,
        level=ALPHA,
    ),
    Boundary(
        what="false support, effect at the margin",
        theta=MARGIN,
        thresholds=BEYOND_MARGIN,
        verdict=Verdict.SUPPORTED,
    ),
    Boundary(
        what="false refutation, effect at the margin",
        theta=MARGIN,
        thresholds=BEYOND_MARGIN,
        verdict=Verdict.REFUTED,
    ),
    Boundary(
        what="false non-inferiority, loss at the margin",
        theta=-MARGIN,
        thresholds=NOT_INFERIOR,
        direction=Direction.NONINFERIOR,
        verdict=Verdict.SUPPORTED,
    ),
    Boundary(
        what="false equality, effect at the bound",
        theta=-BOUND,
        thresholds=SUPERIORITY,
        direction=Direction.EQUIVALENT,
        verdict=Verdict.EQUIVALENT,
        level=ALPHA,
    ),
    Boundary(
        what="false inequality, effect at the bound",
        theta=BOUND,
        thresholds=SUPERIORITY,
        direction=Direction.EQUIVALENT,
        verdict=Verdict.REFUTED,
    ),
)


def verdict_of(
    differences: Array,
    thresholds: Thresholds,
    direction: Direction,
    alpha: float = ALPHA,
    *,
    binary: bool = False,
    may_be_skewed: bool = False,
) -> tuple[Verdict, Grade]:
    """The verdict on one study's differences, by the engine's rules."""

    def interval(level: float) -> Interval:
        return engine_interval(differences, level, binary=binary, may_be_skewed=may_be_skewed)

    wide = interval(1 - alpha)
    reading = Reading(
        interval=wide,
        equivalence_interval=wide if thresholds.equivalence is None else interval(1 - 2 * alpha),
        win_probability=float((differences > 0).mean()),
    )
    return read(direction, reading, thresholds)


def verdict_shares(
    theta: float,
    n: int,
    *,
    num_studies: int,
    seed: int,
    thresholds: Thresholds = SUPERIORITY,
    direction: Direction = Direction.GREATER,
    kind: NoiseKind = "normal",
    may_be_skewed: bool = False,
) -> dict[Verdict, float]:
    """Share of each verdict among studies of n differences with mean theta and standard deviation 1."""
    rng = np.random.default_rng(seed)
    drawn = theta + draw_noise(kind, (num_studies, n), rng)
    found = [verdict_of(row, thresholds, direction, may_be_skewed=may_be_skewed)[0] for row in drawn]
    return {verdict: found.count(verdict) / num_studies for verdict in Verdict}


def verdict_rates(*, num_studies: int, seed: int, sigmas: float) -> list[Rate]:
    """V4: errors at every boundary are as rare as their level, and equivalence has the power that theory says."""
    rates = []
    for n in SIZES:
        for place, boundary in enumerate(BOUNDARIES):
            shares = verdict_shares(
                boundary.theta,
                n,
                num_studies=num_studies,
                seed=seed + 10 * n + place,
                thresholds=boundary.thresholds,
                direction=boundary.direction,
            )
            band = at_most(boundary.level, num_studies, sigmas)
            observed = shares[boundary.verdict]
            rates.append(_rate("normal differences", boundary.what, observed, band, num=num_studies, n=n))
        rates.append(_equivalence_power(n, num_studies=num_studies, seed=seed, sigmas=sigmas))
    return rates


def _equivalence_power(n: int, *, num_studies: int, seed: int, sigmas: float) -> Rate:
    bound = 2 * BOUND
    shares = verdict_shares(
        0.0,
        n,
        num_studies=num_studies,
        seed=seed + 10 * n + 9,
        thresholds=replace(SUPERIORITY, equivalence=bound),
        direction=Direction.EQUIVALENT,
    )
    band = around(tost_power(bound, 1.0, n, ALPHA), num_studies, sigmas)
    what = "power of equivalence, no effect, against theory"
    return _rate("normal differences", what, shares[Verdict.EQUIVALENT], band, num=num_studies, n=n)


def skewed_verdict_rates(*, num_studies: int, seed: int, sigmas: float) -> list[Rate]:
    """V4 under lognormal differences, where no interval keeps its level with few units."""
    rates = []
    for n in SIZES:
        for name, may_be_skewed in (("t", False), ("the tuned loss's rule", True)):
            shares = verdict_shares(
                0.0, n, num_studies=num_studies, seed=seed, kind="lognormal", may_be_skewed=may_be_skewed
            )
            band = at_most(SKEW_ERROR[n], num_studies, sigmas)
            note = f"skewed: at most {SKEW_ERROR[n]:.2f} in either direction"
            rates += [
                replace(
                    _rate(
                        "lognormal differences",
                        f"falsely {verdict}, {name}",
                        shares[verdict],
                        band,
                        num=num_studies,
                        n=n,
                    ),
                    note=note,
                )
                for verdict in (Verdict.SUPPORTED, Verdict.REFUTED)
            ]
    return rates


def _rate(scenario: str, what: str, observed: float, band: tuple[float, float], *, num: int, n: int) -> Rate:
    return Rate(
        cell="V4", scenario=scenario, what=what, observed=observed, low=band[0], high=band[1], num=num, n=n
    )


def support_power(theta: float, n: int) -> float:
    """Probability that the 95 % t-interval of n standard normal differences lies above 0, by the noncentral t."""
    critical = special.stdtrit(n - 1, 1 - ALPHA / 2)
    return float(1 - special.nctdtr(n - 1, theta * np.sqrt(n), critical))
