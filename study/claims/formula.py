"""A formula, parsed: what family b has for a hyperparameter, given those of family a."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from search_spaces import ROLES
from search_spaces.errors import SpecError
from study.records import Param
from study.spec_errors import shown

WHOLE_RTOL = 1e-9
"""How far, relative to itself, a result may lie from the whole number that it stands for."""


@dataclass(frozen=True)
class Number:
    """A number as written."""

    value: float


@dataclass(frozen=True)
class Value:
    """What family a has for a role."""

    role: str


@dataclass(frozen=True)
class Operation:
    """A function or an operator with its arguments."""

    name: str
    """Key of `OPERATIONS`."""
    arguments: tuple["Expression", ...]


Expression = Number | Value | Operation

OPERATIONS: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "sqrt": math.sqrt,
        "log2": math.log2,
        "log10": math.log10,
        "min": min,
        "max": max,
        "+": lambda x, y: x + y,
        "-": lambda x, y: x - y,
        "*": lambda x, y: x * y,
        "/": lambda x, y: x / y,
        "**": math.pow,
        "negative": lambda x: -x,
    }
)


@dataclass(frozen=True)
class Formula:
    """One hyperparameter of b."""

    role: str
    text: str
    """As written, without outer blanks."""
    expression: Expression

    def value(self, params: Mapping[str, Param]) -> int | float:
        """What b has for the role where a has `params`.

        Raises:
            SpecError: a lacks a value, or the result is no finite number above 0, or no whole one where the role
                needs one.
        """
        try:
            result = _evaluated(self.expression, params, self.text)
        except (ArithmeticError, ValueError):
            result = math.nan
        if not (math.isfinite(result) and result > 0):
            raise SpecError(
                f"The formula {shown(self.text)} gives {self.role} = {result:g} at {_written(params)}, but a "
                "hyperparameter is a finite number above 0: correct the formula."
            )
        if self.role not in ROLES or not ROLES[self.role].whole:
            return float(result)
        whole = round(result)
        if abs(result - whole) > WHOLE_RTOL * result:
            raise SpecError(
                f"The formula {shown(self.text)} gives {self.role} = {result:g} at {_written(params)}, but "
                f"{self.role} is a whole number: correct the formula."
            )
        return whole


@dataclass(frozen=True, kw_only=True)
class Transform:
    """From a's hyperparameters to those at which b is trained; equal formulas make equal transforms."""

    formulas: tuple[Formula, ...]

    @property
    def text(self) -> str:
        """The formulas as written, separated by semicolons."""
        return "; ".join(formula.text for formula in self.formulas)

    @property
    def targets(self) -> frozenset[str]:
        """The hyperparameters of b that have a formula."""
        return frozenset(formula.role for formula in self.formulas)

    @property
    def names(self) -> frozenset[str]:
        """The hyperparameters of a that some formula reads."""
        return frozenset(role for formula in self.formulas for role in _roles(formula.expression))

    def apply(self, params: Mapping[str, Param]) -> dict[str, Param]:
        """Hyperparameters of a with those replaced that have a formula.

        Raises:
            SpecError: a lacks a value that a formula reads, or a result is none that the role can take.
        """
        return {**params, **{formula.role: formula.value(params) for formula in self.formulas}}

    def __call__(self, params: Mapping[str, Param]) -> Mapping[str, Param]:
        """The same as `apply`, which makes it a `Comparison.at`."""
        return self.apply(params)


def _evaluated(expression: Expression, params: Mapping[str, Param], text: str) -> float:
    match expression:
        case Number(value):
            return value
        case Value(role):
            known = params.get(role)
            if known is None or isinstance(known, str):
                found = "none" if known is None else repr(known)
                raise SpecError(
                    f"The formula {shown(text)} reads {role}, but family a has {found} there: use what it has, "
                    f"{', '.join(sorted(params)) or 'nothing'}."
                )
            return float(known)
        case Operation(name, arguments):
            return float(OPERATIONS[name](*(_evaluated(inner, params, text) for inner in arguments)))


def _roles(expression: Expression) -> frozenset[str]:
    match expression:
        case Value(role):
            return frozenset({role})
        case Operation(_, arguments):
            return frozenset(role for inner in arguments for role in _roles(inner))
    return frozenset()


def _written(params: Mapping[str, Param]) -> str:
    return ", ".join(f"{role} = {value}" for role, value in sorted(params.items())) or "no values"
