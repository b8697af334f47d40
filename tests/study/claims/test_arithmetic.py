"""The arithmetic of `compare.at`: its values are Python's, and no text raises anything but SpecError."""

import math
import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import SpecError
from study.claims.arithmetic import MAX_DEPTH, parse_transform

PARAMS = {"lr": 1e-2, "router_lr": 1e-4, "num_experts": 8, "top_k": 4, "rank": 16}


def lr_of(expression: str, **params: float) -> float:
    return float(parse_transform({"lr": f"b.lr = {expression}"}).apply({**PARAMS, **params})["lr"])


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("a.lr", 1e-2),
        ("lr", 1e-2),
        ("a.lr * sqrt(top_k)", 2e-2),
        ("a.lr*a.top_k", 4e-2),
        ("1.5e-3", 1.5e-3),
        (".5 + 2.", 2.5),
        ("10 - 4 - 3", 3.0),
        ("16 / 4 / 2", 2.0),
        ("2 + 3 * 4", 14.0),
        ("(2 + 3) * 4", 20.0),
        ("2 ** 3 ** 2", 512.0),
        ("2 ** -1", 0.5),
        ("5 - -2", 7.0),
        ("10 + -3 ** 2", 1.0),
        ("(-3) ** 2", 9.0),
        ("log2(num_experts)", 3.0),
        ("log10(1000)", 3.0),
        ("min(rank, top_k, 9)", 4.0),
        ("max(rank, top_k)", 16.0),
        ("sqrt(sqrt(rank))", 2.0),
    ],
)
def test_it_computes_as_python_does(expression, value):
    assert lr_of(expression) == pytest.approx(value, rel=1e-15)


@given(
    st.recursive(
        st.sampled_from(["lr", "top_k", "rank", "2", "0.5", "3e-1"]),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**"]), inner).map(" ".join),
            inner.map(lambda text: f"({text})"),
            inner.map(lambda text: f"-{text}"),
            inner.map(lambda text: f"max({text}, 1)"),
        ),
        max_leaves=8,
    )
)
def test_it_agrees_with_python_wherever_python_has_a_positive_value(expression):
    names = {**PARAMS, "max": max, "__builtins__": {}}
    try:
        expected = float(eval(expression.replace("\n", " "), names))  # noqa: S307 (made above of known words)
    except (ArithmeticError, ValueError, TypeError):
        expected = math.nan  # TypeError: Python's power of a negative number is complex
    if math.isfinite(expected) and expected > 0:
        assert lr_of(expression) == pytest.approx(expected, rel=1e-12)
    else:
        with pytest.raises(SpecError):
            lr_of(expression)


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_a_spec_error(text):
    for formula in (text, f"b.lr = {text}"):
        with suppress(SpecError):
            assert parse_transform({"lr": formula}).apply(PARAMS)["lr"] > 0


@given(st.text(alphabet="ab.lrtopk0123456789e+-*/()=, sqinmax_", max_size=120))
def test_no_nearly_right_text_raises_anything_but_a_spec_error(text):
    with suppress(SpecError):
        assert lr_of(text) > 0


FORMULA_MISTAKES = [
    ("a.lr", "The formula 'a.lr' has 'a.lr' at column 1, where 'b.lr' is allowed: correct it."),
    ("", "The formula '' has the end at column 1, where 'b.lr' is allowed: correct it."),
    ("b.rank = 1", "has 'b.rank' at column 1, where 'b.lr' is allowed: correct it."),
    ("b.lr a.lr", "has 'a.lr' at column 6, where '=' is allowed: correct it."),
    ("b.lr = ", "has the end at column 8, where a finite number, a hyperparameter of a, a function or '(' is"),
    ("b.lr = a.lr a.lr", "has 'a.lr' at column 13, where an operator (+ - * / **) or the end is allowed"),
    ("b.lr = (a.lr", "has the end at column 13, where an operator (+ - * / **) or ')' is allowed: correct it."),
    ("b.lr = sqrt(lr, 2)", "has ',' at column 15, where an operator (+ - * / **) or ')' is allowed"),
    ("b.lr = min(lr)", "has ')' at column 14, where ',' and a second value for min is allowed: correct it."),
    ("b.lr = b.lr", "has 'b.lr' at column 8, where a hyperparameter of a, such as 'a.lr' or 'top_k', is allowed"),
    ("b.lr = sqrt", "has 'sqrt' at column 8, where 'sqrt(' is allowed: correct it."),
    ("b.lr = sqr(lr)", "column 8: Unknown function 'sqr', did you mean 'sqrt'? Known: log10, log2, max, min, sqrt."),
    ("b.lr = a.topk", "column 8: Unknown hyperparameter 'topk', did you mean 'top_k'? Known: damping, lr, "),
    ("b.lr = __import__('os')", "column 8: Unknown function '__import__'"),
    ("b.lr = lr ^ 2", "has '^' at column 11, where an operator (+ - * / **) or the end is allowed"),
    ("b.lr = 1e999", "has '1e999' at column 8, where a finite number, "),
    ("b.lr = " + "(" * 21 + "1", f"has '(' at column 28, where no nesting deeper than {MAX_DEPTH} is allowed"),
    ("b.lr = " + "-" * 30 + "1", f"where no nesting deeper than {MAX_DEPTH} is allowed: correct it."),
    ("b.lr = " + "1+" * 99 + "1", "at.lr has 206 characters, but 200 are the most: shorten it."),
    (0.1, 'at.lr is 0.1, but must be a formula in quotes: write "b.lr = 0.1".'),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), FORMULA_MISTAKES)
def test_a_mistake_names_the_text_the_place_and_what_is_allowed(text, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        parse_transform({"lr": text})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "at is {}, but must map hyperparameters of b to formulas: write {lr: "),
        ("b.lr = a.lr", "at is 'b.lr = a.lr', but must map hyperparameters of b to formulas"),
        ({"lrr": "b.lrr = a.lr"}, "at: Unknown hyperparameter 'lrr', did you mean 'lr'?"),
        ({1: "b.lr = a.lr"}, "at has the key 1, but its keys are hyperparameters"),
    ],
)
def test_what_is_no_mapping_of_hyperparameters_is_refused(written, message):
    with pytest.raises(SpecError, match=re.escape(message)):
        parse_transform(written)
