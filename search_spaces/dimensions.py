"""The dimensions of a search space: how one coordinate of the unit cube becomes a value, and back.

Every dimension maps a coordinate in [0, 1] to a value by its inverse distribution function, so that one
design in the unit cube serves families whose ranges differ. A discrete dimension cuts [0, 1] into cells of
equal width and maps a value back to the middle of its cell. Real values are kept to 10 significant digits:
that is far finer than any study can tell apart, it makes the way back exact, and a value reads the same
wherever it is printed.

The written form of a dimension, as in a study file: `{log: [low, high]}`, `{linear: [low, high]}`,
`{int: [low, high]}`, a list of choices, or a single fixed value.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.errors import SpecError

Param = float | int | str
"""One hyperparameter value."""

_SIGNIFICANT_DIGITS = 10
_MAX_CELLS = 10**9


@dataclass(frozen=True)
class LogFloat:
    """A positive real number, uniform in its logarithm."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse a range that is upside down, empty, or not above zero."""
        _check_range(self.low, self.high)
        if self.low <= 0:
            raise SpecError(f"the log range [{self.low}, {self.high}] must lie above 0: raise its lower end.")

    def from_unit(self, u: float, params: Mapping[str, Param]) -> float:
        """The value at quantile `u`."""
        del params
        ratio = math.log(self.high) - math.log(self.low)
        exact = math.exp(math.log(self.low) + u * ratio)
        return _between(float(f"{exact:.{_SIGNIFICANT_DIGITS}g}"), self, u)

    def to_unit(self, value: Param, params: Mapping[str, Param]) -> float:
        """The quantile of `value`; SpecError when it is out of range."""
        del params
        number = _number_within(value, self)
        return _clip_unit(math.log(number / self.low) / (math.log(self.high) - math.log(self.low)))


@dataclass(frozen=True)
class LinearFloat:
    """A real number, uniform over its range."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse a range that is upside down or empty."""
        _check_range(self.low, self.high)

    def from_unit(self, u: float, params: Mapping[str, Param]) -> float:
        """The value at quantile `u`."""
        del params
        magnitude = math.floor(math.log10(max(abs(self.low), abs(self.high))))
        exact = self.low * (1 - u) + self.high * u
        return _between(round(exact, _SIGNIFICANT_DIGITS - 1 - magnitude), self, u)

    def to_unit(self, value: Param, params: Mapping[str, Param]) -> float:
        """The quantile of `value`; SpecError when it is out of range."""
        del params
        number = _number_within(value, self)
        return _clip_unit((number - self.low) / (self.high - self.low))


@dataclass(frozen=True)
class Integer:
    """A whole number, each as likely as the next, both ends included."""

    low: int
    high: int
    at_most: str | None = None
    """An earlier dimension whose value this one may not exceed."""

    def __post_init__(self) -> None:
        """Refuse a range that is upside down, not whole, or too wide to be told apart in the unit cube."""
        for end in (self.low, self.high):
            if isinstance(end, bool) or not isinstance(end, int):
                raise SpecError(
                    f"the int range holds {end!r}, which is no whole number: write whole numbers."
                )
        _check_range(self.low, self.high)
        if self.high - self.low >= _MAX_CELLS:
            raise SpecError(f"the int range [{self.low}, {self.high}] has over 10^9 values: use a log range.")

    def allowed(self, params: Mapping[str, Param]) -> range:
        """The values that `params` leave open."""
        limit = _limit(self.at_most, params)
        return range(
            self.low, min(self.high, math.floor(limit)) + 1 if math.isfinite(limit) else self.high + 1
        )

    def from_unit(self, u: float, params: Mapping[str, Param]) -> int:
        """The value whose cell holds `u`."""
        values = self.allowed(params)
        return values[_cell(u, len(values))]

    def to_unit(self, value: Param, params: Mapping[str, Param]) -> float:
        """The middle of the cell of `value`; SpecError when it is not allowed."""
        values = self.allowed(params)
        whole = not isinstance(value, str) and float(value).is_integer()
        if not whole or int(value) not in values:
            raise SpecError(
                f"{value!r} is no whole number in {_range_text(values)}{_why(self.at_most, params)}."
            )
        return (values.index(int(value)) + 0.5) / len(values)


@dataclass(frozen=True)
class Category:
    """One of several values, each as likely as the next; with one choice, a fixed value."""

    choices: tuple[Param, ...]
    at_most: str | None = None
    """An earlier dimension whose value this one may not exceed."""

    def __post_init__(self) -> None:
        """Refuse no choices, a choice twice, a choice that is no number or text, and text under a limit."""
        if not self.choices:
            raise SpecError("the list of choices is empty: write at least one value.")
        for choice in self.choices:
            if isinstance(choice, bool) or not isinstance(choice, int | float | str):
                raise SpecError(f"the choice {choice!r} is neither a number nor text: replace it.")
            if isinstance(choice, float) and not math.isfinite(choice):
                raise SpecError(f"the choice {choice!r} is not finite: replace it by a number.")
            if isinstance(choice, str) and self.at_most is not None:
                raise SpecError(
                    f"the choice {choice!r} is text, but it is limited by {self.at_most}: use a number."
                )
        if len(set(self.choices)) < len(self.choices):
            raise SpecError(f"the choices {list(self.choices)} hold a value twice: write each once.")

    def allowed(self, params: Mapping[str, Param]) -> tuple[Param, ...]:
        """The choices that `params` leave open, in their order."""
        if self.at_most is None:
            return self.choices
        limit = _limit(self.at_most, params)
        return tuple(choice for choice in self.choices if float(choice) <= limit)

    def from_unit(self, u: float, params: Mapping[str, Param]) -> Param:
        """The choice whose cell holds `u`."""
        choices = self.allowed(params)
        return choices[_cell(u, len(choices))]

    def to_unit(self, value: Param, params: Mapping[str, Param]) -> float:
        """The middle of the cell of `value`; SpecError when it is not allowed."""
        choices = self.allowed(params)
        if value not in choices:
            raise SpecError(f"{value!r} is not one of {list(choices)}{_why(self.at_most, params)}.")
        return (choices.index(value) + 0.5) / len(choices)


Dimension = LogFloat | LinearFloat | Integer | Category


def dimension_to_json(dimension: Dimension) -> Any:
    """The written form of a dimension; `dimension_from_json` reads it back."""
    match dimension:
        case LogFloat(low, high):
            return {"log": [low, high]}
        case LinearFloat(low, high):
            return {"linear": [low, high]}
        case Integer(low, high, at_most):
            limit = {} if at_most is None else {"at_most": at_most}
            return {"int": [low, high], **limit}
        case Category(choices, None):
            return list(choices) if len(choices) > 1 else choices[0]
        case Category(choices, at_most):
            return {"choices": list(choices), "at_most": at_most}


def dimension_from_json(written: Any) -> Dimension:
    """Read the written form of a dimension.

    Raises:
        SpecError: the form is none of those that the module describes, or its values break a rule.
    """
    if isinstance(written, list | tuple):
        return Category(tuple(written))
    if isinstance(written, int | float | str) and not isinstance(written, bool):
        return Category((written,))
    if not isinstance(written, Mapping):
        raise SpecError(f"{written!r} is no range: {_FORMS}.")
    kinds = [key for key in written if key in {"log", "linear", "int", "choices"}]
    extra = sorted(str(key) for key in written if key not in {*kinds, "at_most"})
    at_most = written.get("at_most")
    if (
        len(kinds) != 1
        or extra
        or (at_most is not None and (not isinstance(at_most, str) or kinds[0] in _REAL))
    ):
        raise SpecError(f"{dict(written)} is no range: {_FORMS}.")
    return _read_kind(kinds[0], written[kinds[0]], at_most)


_FORMS = (
    "write {log: [low, high]}, {linear: [low, high]}, {int: [low, high]}, a list of choices, or one value"
)
_REAL = {"log", "linear"}


def _read_kind(kind: str, values: Any, at_most: str | None) -> Dimension:
    if not isinstance(values, list | tuple):
        raise SpecError(f"{{{kind}: {values!r}}} needs a list: {_FORMS}.")
    if kind == "choices":
        return Category(tuple(values), at_most)
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):  # noqa: PLR2004
        raise SpecError(
            f"{{{kind}: {list(values)}}} needs two numbers, the lower end and the upper end: "
            f"write {{{kind}: [low, high]}}."
        )
    low, high = values
    if kind == "int":
        return Integer(low, high, at_most)
    return (LogFloat if kind == "log" else LinearFloat)(float(low), float(high))


def extent(dimension: Dimension) -> tuple[float, float]:
    """Smallest and largest number of a dimension, limits aside; SpecError when it holds text."""
    if not isinstance(dimension, Category):
        return dimension.low, dimension.high
    numbers = [choice for choice in dimension.choices if not isinstance(choice, str)]
    if len(numbers) < len(dimension.choices):
        raise SpecError(f"the choices {list(dimension.choices)} hold text: use numbers.")
    return min(numbers), max(numbers)


def _check_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise SpecError(f"the range [{low}, {high}] is not finite: write two numbers.")
    if low > high:
        raise SpecError(f"the range [{low}, {high}] is upside down: write the smaller number first.")
    if low == high:
        raise SpecError(f"the range [{low}, {high}] is empty: write {low} alone to fix the value.")


def nearest_value(dimension: Dimension, value: Param | None, params: Mapping[str, Param]) -> Param:
    """The allowed value nearest to `value`; the middle of the dimension when that says nothing."""
    if value is None:
        return dimension.from_unit(0.5, params)
    if not isinstance(dimension, Category):
        if isinstance(value, str):
            return dimension.from_unit(0.5, params)
        if isinstance(dimension, Integer):
            values = dimension.allowed(params)
            return min(max(round(value), values[0]), values[-1])
        return min(max(float(value), dimension.low), dimension.high)
    choices = dimension.allowed(params)
    numbers = [choice for choice in choices if not isinstance(choice, str)]
    if value in choices or isinstance(value, str) or not numbers:
        return value if value in choices else dimension.from_unit(0.5, params)
    return min(numbers, key=lambda choice: abs(choice - value))


def _limit(at_most: str | None, params: Mapping[str, Param]) -> float:
    return math.inf if at_most is None else float(params[at_most])


def _why(at_most: str | None, params: Mapping[str, Param]) -> str:
    return "" if at_most is None else f" (at most {at_most} = {params[at_most]})"


def _range_text(values: range) -> str:
    return f"[{values.start}, {values.stop - 1}]"


def _cell(u: float, num_cells: int) -> int:
    return min(int(u * num_cells), num_cells - 1)


def _between(rounded: float, dimension: LogFloat | LinearFloat, u: float) -> float:
    if u in (0.0, 1.0):
        return float(dimension.high if u else dimension.low)
    return float(min(max(rounded, dimension.low), dimension.high))


def _number_within(value: Param, dimension: LogFloat | LinearFloat) -> float:
    if isinstance(value, str | bool) or not dimension.low <= value <= dimension.high:
        raise SpecError(f"{value!r} is no number in [{dimension.low}, {dimension.high}].")
    return float(value)


def _clip_unit(u: float) -> float:
    return min(max(u, 0.0), 1.0)
