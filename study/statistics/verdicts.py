"""From an interval to a verdict.

The rules stand in one order, and the first that holds decides: reversed, equivalent, supported, refuted,
inconclusive. A broken rule of integrity comes before all of them. An estimate is read relative to the value of no
difference: above it favours family a.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from study.statistics.claims import Direction
from study.statistics.intervals import Interval
from study.statistics.results import Grade, PartResult, Thresholds, Verdict

WIN_PROBABILITY = 0.75
"""Probability of winning a pair from which an effect is meaningful (Bouthillier et al. 2021)."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """An estimate's two intervals, and how often family a wins a pair."""

    interval: Interval
    """At 1 - alpha."""
    equivalence_interval: Interval
    """At 1 - 2 alpha: two one-sided tests (Schuirmann 1987)."""
    win_probability: float


def read(direction: Direction, reading: Reading, thresholds: Thresholds) -> tuple[Verdict, Grade]:
    """Verdict and grade of one endpoint."""
    if direction is Direction.EQUIVALENT:
        return _equivalence(reading, thresholds)
    if direction is Direction.NONINFERIOR:
        return _noninferiority(reading, thresholds)
    return _superiority(reading, thresholds)


def _superiority(reading: Reading, thresholds: Thresholds) -> tuple[Verdict, Grade]:
    """A claim that family a is better by more than the margin."""
    low, high = reading.interval.low - thresholds.null, reading.interval.high - thresholds.null
    if high < 0:
        return Verdict.REFUTED, Grade.REVERSED
    if _within(reading.equivalence_interval, thresholds):
        return Verdict.EQUIVALENT, Grade.SMALLER_THAN_SESOI if low > 0 else Grade.NONE
    if low > thresholds.margin:
        large = thresholds.sesoi is not None and low > thresholds.sesoi
        meaningful = large or reading.win_probability >= WIN_PROBABILITY
        return Verdict.SUPPORTED, Grade.MEANINGFUL if meaningful else Grade.DETECTABLE
    return (Verdict.REFUTED if high < thresholds.margin else Verdict.INCONCLUSIVE), Grade.NONE


def _noninferiority(reading: Reading, thresholds: Thresholds) -> tuple[Verdict, Grade]:
    """A claim that family a is worse by less than the margin."""
    low, high = reading.interval.low - thresholds.null, reading.interval.high - thresholds.null
    if high < -thresholds.margin:
        return Verdict.REFUTED, Grade.REVERSED
    return (Verdict.SUPPORTED if low > -thresholds.margin else Verdict.INCONCLUSIVE), Grade.NONE


def _equivalence(reading: Reading, thresholds: Thresholds) -> tuple[Verdict, Grade]:
    """A claim that two families are equal."""
    if _within(reading.equivalence_interval, thresholds):
        return Verdict.EQUIVALENT, Grade.NONE
    low, high = reading.interval.low - thresholds.null, reading.interval.high - thresholds.null
    bound = thresholds.equivalence or 0.0
    return (Verdict.REFUTED if low > bound or high < -bound else Verdict.INCONCLUSIVE), Grade.NONE


def _within(interval: Interval, thresholds: Thresholds) -> bool:
    bound = thresholds.equivalence
    if bound is None:
        return False
    return -bound < interval.low - thresholds.null and interval.high - thresholds.null < bound


def all_of(parts: Sequence[tuple[Verdict, Grade]]) -> tuple[Verdict, Grade]:
    """The verdict of a claim whose every part must hold (intersection-union)."""
    verdicts = [verdict for verdict, _ in parts]
    if not parts or Verdict.NOT_EVALUABLE in verdicts:
        return Verdict.NOT_EVALUABLE, Grade.NONE
    if Verdict.REFUTED in verdicts:
        reversed_ = (Verdict.REFUTED, Grade.REVERSED) in parts
        return Verdict.REFUTED, Grade.REVERSED if reversed_ else Grade.NONE
    if Verdict.INCONCLUSIVE in verdicts:
        return Verdict.INCONCLUSIVE, Grade.NONE
    grades = [grade for _, grade in parts if grade is not Grade.NONE]
    if Verdict.EQUIVALENT in verdicts:
        smaller = Grade.SMALLER_THAN_SESOI in grades
        return Verdict.EQUIVALENT, Grade.SMALLER_THAN_SESOI if smaller else Grade.NONE
    if not grades:
        return Verdict.SUPPORTED, Grade.NONE
    return Verdict.SUPPORTED, Grade.DETECTABLE if Grade.DETECTABLE in grades else Grade.MEANINGFUL


_BEST_FIRST = (
    Verdict.SUPPORTED,
    Verdict.EQUIVALENT,
    Verdict.INCONCLUSIVE,
    Verdict.NOT_EVALUABLE,
    Verdict.REFUTED,
)


def any_of(workloads: Sequence[tuple[Verdict, Grade]]) -> tuple[Verdict, Grade]:
    """The verdict of a claim that must hold on one workload at least: the best one."""
    return min(workloads, key=lambda found: _BEST_FIRST.index(found[0]))


def reason(part: PartResult) -> str:
    """One sentence on why an evaluable endpoint has its verdict."""
    limits = part.thresholds
    if limits is None:
        return part.reason
    low, high = ("unbounded" if end is None else f"{end:.4g}" for end in (part.ci_low, part.ci_high))
    found = f"The interval from {low} to {high} {part.unit}"
    floor = -limits.margin if part.direction is Direction.NONINFERIOR else limits.margin
    edge = f"{limits.null + floor:.4g}"
    near = f"within {limits.equivalence or 0.0:.4g} of no difference"
    equality = part.direction is Direction.EQUIVALENT
    sentences = {
        Verdict.EQUIVALENT: f"Two one-sided tests place the difference {near}.",
        Verdict.SUPPORTED: f"{found} lies above {edge}.",
        Verdict.REFUTED: f"{found} is not {near}." if equality else f"{found} lies below {edge}.",
        Verdict.INCONCLUSIVE: f"{found} reaches beyond {near}." if equality else f"{found} holds {edge}.",
        Verdict.NOT_EVALUABLE: part.reason,
    }
    return sentences[part.verdict]
