"""One test per state of the verdict, and the order in which the rules stand."""

import pytest

from study.statistics.claims import Direction
from study.statistics.intervals import Interval
from study.statistics.results import Grade, Thresholds, Verdict
from study.statistics.verdicts import Reading, all_of, any_of, read

SUPPORTED, REFUTED, EQUIVALENT = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.EQUIVALENT
INCONCLUSIVE, NOT_EVALUABLE = Verdict.INCONCLUSIVE, Verdict.NOT_EVALUABLE
NONE, MEANINGFUL, DETECTABLE = Grade.NONE, Grade.MEANINGFUL, Grade.DETECTABLE
REVERSED, SMALLER = Grade.REVERSED, Grade.SMALLER_THAN_SESOI


def limits(
    margin: float = 0.0, sesoi: float = 0.25, bound: float | None = 0.25, null: float = 0.0
) -> Thresholds:
    return Thresholds(null=null, margin=margin, sesoi=sesoi, equivalence=bound)


def reading(low: float, high: float, wins: float = 0.6, shrink: float = 0.8) -> Reading:
    """The interval, and the narrower one of two one-sided tests about the same middle."""
    middle, half = (low + high) / 2, shrink * (high - low) / 2
    narrow = Interval(low=middle - half, high=middle + half)
    return Reading(interval=Interval(low=low, high=high), equivalence_interval=narrow, win_probability=wins)


@pytest.mark.parametrize(
    ("low", "high", "wins", "expected"),
    [
        (0.30, 0.60, 0.6, (SUPPORTED, MEANINGFUL)),  # beyond the smallest effect of interest
        (0.10, 0.60, 0.6, (SUPPORTED, DETECTABLE)),
        (0.10, 0.60, 0.75, (SUPPORTED, MEANINGFUL)),  # wins three pairs of four
        (-0.60, -0.10, 0.3, (REFUTED, REVERSED)),
        (-0.20, 0.20, 0.5, (EQUIVALENT, NONE)),
        (0.05, 0.20, 0.6, (EQUIVALENT, SMALLER)),  # detectable, and smaller than what matters
        (-0.20, -0.05, 0.4, (REFUTED, REVERSED)),  # reversed stands before equivalent
        (-0.10, 0.60, 0.6, (INCONCLUSIVE, NONE)),
        (-0.28, 0.28, 0.5, (EQUIVALENT, NONE)),  # only the narrower interval must lie within
        (-0.32, 0.32, 0.5, (INCONCLUSIVE, NONE)),
    ],
)
def test_a_superiority_is_read_in_the_order_of_the_rules(low, high, wins, expected):
    assert read(Direction.GREATER, reading(low, high, wins), limits()) == expected


def test_an_effect_below_the_margin_is_refuted_without_being_reversed():
    thresholds = limits(margin=0.5, sesoi=0.8, bound=None)
    assert read(Direction.LESS, reading(0.1, 0.4), thresholds) == (REFUTED, NONE)
    assert read(Direction.LESS, reading(0.4, 0.6), thresholds) == (INCONCLUSIVE, NONE)
    assert read(Direction.LESS, reading(0.6, 0.7), thresholds) == (SUPPORTED, DETECTABLE)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.01, 0.10, (SUPPORTED, NONE)),
        (-0.03, 0.10, (INCONCLUSIVE, NONE)),
        (-0.10, -0.03, (REFUTED, REVERSED)),
        (-0.10, -0.01, (INCONCLUSIVE, NONE)),
    ],
)
def test_a_non_inferiority_is_held_against_minus_its_margin(low, high, expected):
    assert read(Direction.NONINFERIOR, reading(low, high), limits(margin=0.02, bound=None)) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.20, 0.20, (EQUIVALENT, NONE)),
        (0.30, 0.50, (REFUTED, NONE)),
        (-0.50, -0.30, (REFUTED, NONE)),
        (0.10, 0.40, (INCONCLUSIVE, NONE)),
    ],
)
def test_a_claim_of_equality_is_equivalent_or_refuted_on_either_side(low, high, expected):
    assert read(Direction.EQUIVALENT, reading(low, high), limits()) == expected


def test_a_probability_is_read_relative_to_one_half():
    thresholds = limits(null=0.5, sesoi=0.25, bound=None)
    assert read(Direction.GREATER, reading(0.55, 0.90, wins=0.7), thresholds) == (SUPPORTED, DETECTABLE)
    assert read(Direction.GREATER, reading(0.10, 0.45, wins=0.3), thresholds) == (REFUTED, REVERSED)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(SUPPORTED, MEANINGFUL), (SUPPORTED, NONE)], (SUPPORTED, MEANINGFUL)),
        ([(SUPPORTED, MEANINGFUL), (SUPPORTED, DETECTABLE)], (SUPPORTED, DETECTABLE)),
        ([(SUPPORTED, NONE)], (SUPPORTED, NONE)),
        ([(SUPPORTED, MEANINGFUL), (REFUTED, NONE)], (REFUTED, NONE)),
        ([(INCONCLUSIVE, NONE), (REFUTED, REVERSED)], (REFUTED, REVERSED)),
        ([(SUPPORTED, NONE), (EQUIVALENT, NONE)], (EQUIVALENT, NONE)),
        ([(SUPPORTED, NONE), (EQUIVALENT, SMALLER)], (EQUIVALENT, SMALLER)),
        ([(EQUIVALENT, NONE), (INCONCLUSIVE, NONE)], (INCONCLUSIVE, NONE)),
        ([(REFUTED, REVERSED), (NOT_EVALUABLE, NONE)], (NOT_EVALUABLE, NONE)),
        ([], (NOT_EVALUABLE, NONE)),
    ],
)
def test_a_claim_holds_when_every_part_holds(parts, expected):
    assert all_of(parts) == expected


def test_one_workload_suffices_where_the_claim_says_any():
    found = [(REFUTED, REVERSED), (INCONCLUSIVE, NONE), (SUPPORTED, DETECTABLE)]
    assert any_of(found) == (SUPPORTED, DETECTABLE)
    assert any_of(found[:2]) == (INCONCLUSIVE, NONE)
    assert any_of(found[:1]) == (REFUTED, REVERSED)
