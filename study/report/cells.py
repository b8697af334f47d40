"""A claim's numbers as the cells of a table, rounded as the report's sentences round them."""

from study.report import sentences
from study.report.words import MINUS, number
from study.statistics.results import ClaimResult, PartResult

DASH, INFINITY = "\u2013", "\u221e"
SMALLEST_P = 1e-4
"""Smaller p-values are not told apart."""


def estimate(part: PartResult) -> str:
    """The estimate in the unit of `unit`, or a dash."""
    return DASH if part.estimate is None else number(_factor(part) * part.estimate, sentences.places(part))


def interval(part: PartResult) -> str:
    """`[low, high]` in the unit of `unit`; an end that is not finite is open."""
    if part.estimate is None:
        return DASH
    low, high = (
        None if end is None else number(_factor(part) * end, sentences.places(part))
        for end in (part.ci_low, part.ci_high)
    )
    return f"[{low or f'{MINUS}{INFINITY}'}, {high or INFINITY}]"


def unit(part: PartResult) -> str:
    """The unit of estimate and interval: fractions are told in percent."""
    if part.unit != sentences.SHARE:
        return part.unit
    return "%" if part.metric == "win_probability" else "percentage points"


def p_value(p: float | None) -> str:
    """Two significant digits, and no more than the smallest that is told apart."""
    if p is None:
        return DASH
    if p < SMALLEST_P:
        return "< 0.0001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.2g}"  # noqa: PLR2004 - two digits either way


def e_value(value: float | None) -> str:
    """Two significant digits, whole from 10 on; beyond a million a power of ten."""
    if value is None:
        return DASH
    if value >= 1e6:  # noqa: PLR2004 - where digits stop to tell
        return f"{value:.1e}".replace("e+", "e")
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004 - two digits either way


def effect_size(part: PartResult) -> str:
    """d_z with two decimals."""
    return number(part.effect_size, 2)


def win_probability(part: PartResult) -> str:
    """Share of pairs that the claimed family wins, with its 95 % interval."""
    if part.win_probability is None:
        return DASH
    if part.win_low is None or part.win_high is None:
        return f"{part.win_probability:.2f}"
    return f"{part.win_probability:.2f} [{part.win_low:.2f}, {part.win_high:.2f}]"


def sample(part: PartResult) -> str:
    """`20 of 30 seeds`, or a dash where nothing could be paired."""
    return sentences.sample_words(part).removeprefix("n = ") if part.n_unit else DASH


def verdict(result: ClaimResult | PartResult) -> str:
    """The verdict with its grade."""
    return sentences.label(result.verdict, result.grade)


def _factor(part: PartResult) -> float:
    return sentences.POINTS if part.unit == sentences.SHARE else 1
