"""Dimensions: the way from the unit cube to values and back, and the refusals."""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from search_spaces import (
    Category,
    Dimension,
    Integer,
    LinearFloat,
    LogFloat,
    dimension_from_json,
    dimension_to_json,
)
from search_spaces.errors import SpecError

unit = st.floats(0, 1)
exponent = st.floats(-80, 80)
real = st.floats(-1e12, 1e12)


@st.composite
def log_floats(draw: st.DrawFn) -> LogFloat:
    low, high = sorted((10 ** draw(exponent), 10 ** draw(exponent)))
    assume(high > low * (1 + 1e-6))
    return LogFloat(low, high)


@st.composite
def linear_floats(draw: st.DrawFn) -> LinearFloat:
    low, high = sorted((draw(real), draw(real)))
    assume(high - low > 1e-6 * max(abs(low), abs(high)))
    return LinearFloat(low, high)


@st.composite
def integers(draw: st.DrawFn) -> Integer:
    low = draw(st.integers(-1000, 1000))
    return Integer(low, low + draw(st.integers(1, 10**8)))


categories = st.lists(
    st.one_of(st.integers(-50, 50), st.sampled_from(["a", "b", "none"]), st.floats(0.1, 0.9)),
    min_size=1,
    max_size=9,
    unique=True,
).map(lambda choices: Category(tuple(choices)))
dimensions = st.one_of(log_floats(), linear_floats(), integers(), categories)


@given(dimensions, unit)
def test_a_value_comes_back_exactly(dimension: Dimension, u: float):
    value = dimension.from_unit(u, {})
    assert dimension.from_unit(dimension.to_unit(value, {}), {}) == value


@given(st.one_of(log_floats(), linear_floats()), unit)
def test_a_real_coordinate_comes_back_to_ten_digits(dimension: LogFloat | LinearFloat, u: float):
    value = dimension.from_unit(u, {})
    assert dimension.low <= value <= dimension.high
    magnitude = max(abs(dimension.low), abs(dimension.high))
    narrowness = (
        1 / math.log(dimension.high / dimension.low)
        if isinstance(dimension, LogFloat)
        else magnitude / (dimension.high - dimension.low)
    )
    assert dimension.to_unit(value, {}) == pytest.approx(u, abs=2e-9 * max(narrowness, 1))


@given(dimensions, unit, unit)
def test_the_map_is_monotone(dimension: Dimension, u: float, v: float):
    low, high = sorted((u, v))
    a, b = dimension.from_unit(low, {}), dimension.from_unit(high, {})
    if isinstance(dimension, Category):
        assert dimension.choices.index(a) <= dimension.choices.index(b)
    else:
        assert a <= b


@given(dimensions)
def test_both_ends_are_reached(dimension: Dimension):
    ends = (dimension.from_unit(0.0, {}), dimension.from_unit(1.0, {}))
    if isinstance(dimension, Category):
        assert ends == (dimension.choices[0], dimension.choices[-1])
    else:
        assert ends == (dimension.low, dimension.high)


@given(dimensions)
def test_the_written_form_reads_back(dimension: Dimension):
    assert dimension_from_json(dimension_to_json(dimension)) == dimension


@pytest.mark.parametrize("u", [0.0, 0.1, 0.25, 0.5, 0.731, 0.999, 1.0])
def test_the_maps_are_scipys_quantile_functions(u: float):
    assert LogFloat(1e-5, 10.0).from_unit(u, {}) == pytest.approx(stats.loguniform(1e-5, 10).ppf(u), rel=1e-9)
    assert LinearFloat(-2.0, 6.0).from_unit(u, {}) == pytest.approx(stats.uniform(-2, 8).ppf(u), abs=1e-9)
    if 0 < u < 1:
        assert Integer(3, 13).from_unit(u, {}) == stats.randint(3, 14).ppf(u)


def test_cells_are_equal_and_values_map_to_their_middles():
    category = Category((2, 4, 8, 16))
    assert [category.from_unit((j + 0.5) / 8, {}) for j in range(8)] == [2, 2, 4, 4, 8, 8, 16, 16]
    assert [category.to_unit(choice, {}) for choice in category.choices] == [0.125, 0.375, 0.625, 0.875]
    assert [Integer(5, 9).to_unit(value, {}) for value in range(5, 10)] == pytest.approx(
        [0.1, 0.3, 0.5, 0.7, 0.9]
    )


def test_a_limit_leaves_out_what_exceeds_it():
    top_k = Category((2, 4, 8), at_most="num_experts")
    assert top_k.allowed({"num_experts": 4}) == (2, 4)
    assert [top_k.from_unit(u, {"num_experts": 4}) for u in (0.0, 0.49, 0.5, 1.0)] == [2, 2, 4, 4]
    assert top_k.to_unit(4, {"num_experts": 4}) == 0.75
    assert top_k.to_unit(4, {"num_experts": 16}) == 0.5
    with pytest.raises(SpecError, match=r"^8 is not one of \[2, 4\] \(at most num_experts = 4\)\.$"):
        top_k.to_unit(8, {"num_experts": 4})
    ranged = Integer(1, 100, at_most="num_experts")
    assert ranged.from_unit(1.0, {"num_experts": 4}) == 4
    with pytest.raises(SpecError, match=r"^5 is no whole number in \[1, 4\] \(at most num_experts = 4\)\.$"):
        ranged.to_unit(5, {"num_experts": 4})


def test_one_choice_is_a_fixed_value():
    assert {Category((7,)).from_unit(u, {}) for u in (0.0, 0.3, 1.0)} == {7}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            {"log": [1.0, 1e-3]},
            r"the range \[1\.0, 0\.001\] is upside down: write the smaller number first\.",
        ),
        ({"linear": [2, 2]}, r"the range \[2\.0, 2\.0\] is empty: write 2\.0 alone to fix the value\."),
        ({"log": [0, 1]}, r"the log range \[0\.0, 1\.0\] must lie above 0: raise its lower end\."),
        ({"log": [-1e-3, 1]}, r"must lie above 0"),
        ({"linear": [0, math.inf]}, r"is not finite: write two numbers"),
        ({"linear": [math.nan, 1]}, r"is not finite"),
        ({"int": [1.5, 4]}, r"the int range holds 1\.5, which is no whole number"),
        ({"int": [0, 10**9]}, r"has over 10\^9 values"),
        ({"int": [9, 1]}, r"upside down"),
        ({"log": [1, 2, 3]}, r"needs two numbers, the lower end and the upper end"),
        ({"log": ["1e-4", 1]}, r"needs two numbers"),
        ({"log": [True, 2]}, r"needs two numbers"),
        ({"log": 3}, r"\{log: 3\} needs a list: write \{log: \[low, high\]\}"),
        ({"lgo": [1, 2]}, r"is no range: write \{log: \[low, high\]\}"),
        ({"log": [1, 2], "int": [1, 2]}, r"is no range"),
        ({"log": [1, 2], "at_most": "rank"}, r"is no range"),
        ({"choices": [1], "at_most": 3}, r"is no range"),
        ({}, r"is no range"),
        (None, r"None is no range"),
        (True, r"True is no range"),
        ([], r"the list of choices is empty"),
        ([2, 2], r"the choices \[2, 2\] hold a value twice"),
        ([1, True], r"the choice True is neither a number nor text"),
        ([1, [2]], r"the choice \[2\] is neither a number nor text"),
        ([math.nan], r"the choice nan is not finite"),
        ({"choices": ["a"], "at_most": "rank"}, r"the choice 'a' is text, but it is limited by rank"),
    ],
)
def test_a_wrong_form_is_refused(written: Any, message: str):
    with pytest.raises(SpecError, match=message) as caught:
        dimension_from_json(written)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dimension", "value", "message"),
    [
        (LogFloat(1e-3, 1.0), 2.0, r"2\.0 is no number in \[0\.001, 1\.0\]"),
        (LogFloat(1e-3, 1.0), "0.1", r"'0\.1' is no number"),
        (LinearFloat(0.0, 1.0), math.nan, r"nan is no number"),
        (LinearFloat(0.0, 1.0), True, r"True is no number"),
        (Integer(1, 4), 2.5, r"2\.5 is no whole number in \[1, 4\]"),
        (Integer(1, 4), math.inf, r"inf is no whole number"),
        (Integer(1, 4), "2", r"'2' is no whole number"),
        (Category((4, 8)), 3, r"3 is not one of \[4, 8\]"),
    ],
)
def test_a_value_outside_is_refused(dimension: Dimension, value: Any, message: str):
    with pytest.raises(SpecError, match=message):
        dimension.to_unit(value, {})
