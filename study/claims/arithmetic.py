"""The arithmetic of `at: {lr: "b.lr = a.lr * sqrt(top_k)"}`: from a's hyperparameters to those at which b is trained.

    formula    = "b." role "=" sum
    sum        = product (("+" | "-") product)*
    product    = signed (("*" | "/") signed)*
    signed     = "-" signed | power
    power      = atom ("**" signed)?                   as in Python: -2 ** 2 is -4, 2 ** 3 ** 2 is 2 ** 9
    atom       = number | role | "a." role | function "(" sum ("," sum)* ")" | "(" sum ")"
    function   = sqrt | log2 | log10 | min | max

A bare role is a's value. The text is parsed here and never handed to Python.
"""

import math
import re
from collections.abc import Collection, Mapping

from search_spaces import ROLES
from search_spaces.errors import SpecError, unknown
from study.claims.formula import Expression, Formula, Number, Operation, Transform, Value
from study.spec_errors import shown

MAX_CHARS = 200
"""Longest formula."""
MAX_DEPTH = 20
"""Deepest nesting of parentheses, functions, signs and powers."""
FORM = '{lr: "b.lr = a.lr * sqrt(top_k)"}'

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?)|(?P<sign>\*\*|[-+*/(),=])|(?P<other>\S))",
    re.ASCII,
)


_FEWEST = {"sqrt": 1, "log2": 1, "log10": 1, "min": 2, "max": 2}
_MOST = {"sqrt": 1, "log2": 1, "log10": 1, "min": MAX_CHARS, "max": MAX_CHARS}


def parse_transform(written: object, roles: Collection[str] | None = tuple(ROLES)) -> Transform:
    """The transform of an `at` section.

    Args:
        written: from each hyperparameter of b that differs to its formula.
        roles: names that a formula may use; None: any.

    Raises:
        SpecError: one sentence with the formula, the column and what is allowed there.
    """
    if not isinstance(written, Mapping) or not written:
        raise SpecError(
            f"at is {shown(written)}, but must map hyperparameters of b to formulas: write {FORM}."
        )
    return Transform(
        formulas=tuple(_formula(role, text, roles) for role, text in sorted(written.items(), key=str))
    )


def _formula(role: object, text: object, roles: Collection[str] | None) -> Formula:
    if not isinstance(role, str):
        raise SpecError(f"at has the key {shown(role)}, but its keys are hyperparameters: write {FORM}.")
    if roles is not None and role not in roles:
        raise SpecError(f"at: {unknown('hyperparameter', role, roles)}")
    if not isinstance(text, str):
        raise SpecError(
            f'at.{role} is {shown(text)}, but must be a formula in quotes: write "b.{role} = {text}".'
        )
    if len(text) > MAX_CHARS:
        raise SpecError(f"at.{role} has {len(text)} characters, but {MAX_CHARS} are the most: shorten it.")
    return _Parser(text, role, roles).formula()


class _Parser:
    """Recursive descent over the tokens of one formula."""

    def __init__(self, text: str, role: str, roles: Collection[str] | None) -> None:
        self._text, self._role, self._roles = text, role, roles
        self._tokens = [
            (match.lastgroup or "", match[match.lastgroup or 0], match.start(match.lastgroup or 0) + 1)
            for match in _TOKEN.finditer(text)
            if match.lastgroup
        ]
        self._place = 0
        self._depth = 0

    def formula(self) -> Formula:
        kind, target, _ = self._peek()
        if kind != "name" or target != f"b.{self._role}":
            raise self._mistake(f"'b.{self._role}'")
        self._place += 1
        if not self._take("="):
            raise self._mistake("'='")
        expression = self._sum()
        if self._peek()[0]:
            raise self._mistake("an operator (+ - * / **) or the end")
        return Formula(role=self._role, text=self._text.strip(), expression=expression)

    def _sum(self) -> Expression:
        left = self._product()
        while sign := self._take("+", "-"):
            left = Operation(sign, (left, self._product()))
        return left

    def _product(self) -> Expression:
        left = self._signed()
        while sign := self._take("*", "/"):
            left = Operation(sign, (left, self._signed()))
        return left

    def _signed(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._mistake(f"no nesting deeper than {MAX_DEPTH}")
        found = Operation("negative", (self._signed(),)) if self._take("-") else self._power()
        self._depth -= 1
        return found

    def _power(self) -> Expression:
        base = self._atom()
        return Operation("**", (base, self._signed())) if self._take("**") else base

    def _atom(self) -> Expression:
        kind, word, _ = self._peek()
        if kind == "number" and math.isfinite(float(word)):
            self._place += 1
            return Number(float(word))
        if kind == "name":
            return self._named(word)
        if self._take("("):
            inner = self._sum()
            self._close()
            return inner
        raise self._mistake("a finite number, a hyperparameter of a, a function or '('")

    def _named(self, word: str) -> Expression:
        if self._tokens[self._place + 1 : self._place + 2] and self._tokens[self._place + 1][1] == "(":
            return self._call(word)
        family, _, role = word.rpartition(".")
        if family not in {"", "a"}:
            raise self._mistake("a hyperparameter of a, such as 'a.lr' or 'top_k',")
        if self._roles is not None and role not in self._roles:
            if role in _FEWEST:
                raise self._mistake(f"'{role}('")
            raise self._unknown(unknown("hyperparameter", role, self._roles))
        self._place += 1
        return Value(role)

    def _call(self, name: str) -> Expression:
        if name not in _FEWEST:
            raise self._unknown(unknown("function", name, _FEWEST))
        self._place += 2
        arguments = [self._sum()]
        while len(arguments) < _MOST[name] and self._take(","):
            arguments.append(self._sum())
        if len(arguments) < _FEWEST[name]:
            raise self._mistake(f"',' and a second value for {name}")
        self._close()
        return Operation(name, tuple(arguments))

    def _close(self) -> None:
        if not self._take(")"):
            raise self._mistake("an operator (+ - * / **) or ')'")

    def _peek(self) -> tuple[str, str, int]:
        """Kind, text and column of the next token; the kind is empty at the end."""
        if self._place < len(self._tokens):
            return self._tokens[self._place]
        return "", "the end", len(self._text) + 1

    def _take(self, *signs: str) -> str:
        kind, word, _ = self._peek()
        if kind != "sign" or word not in signs:
            return ""
        self._place += 1
        return word

    def _mistake(self, allowed: str) -> SpecError:
        kind, word, column = self._peek()
        found = repr(word) if kind else word
        return SpecError(
            f"The formula {shown(self._text)} has {found} at column {column}, where {allowed} is allowed: correct it."
        )

    def _unknown(self, error: SpecError) -> SpecError:
        return SpecError(f"The formula {shown(self._text)}, column {self._peek()[2]}: {error}")
