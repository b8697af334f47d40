"""Transforms: what values they give, which they refuse, and that they are values themselves."""

import re

import pytest

from search_spaces import ROLES
from search_spaces.errors import SpecError
from study.claims.arithmetic import parse_transform
from study.claims.formula import Transform

PARAMS = {"lr": 1e-2, "router_lr": 1e-4, "num_experts": 8, "top_k": 4, "rank": 16}


@pytest.mark.parametrize(
    ("role", "expression", "message"),
    [
        ("lr", "lr - 1", "gives lr = -0.99 at lr = 0.01, num_experts = 8, rank = 16, router_lr = 0.0001, top_k"),
        ("lr", "0", "gives lr = 0 at"),
        ("lr", "1 / 0", "gives lr = nan at"),
        ("lr", "sqrt(-1)", "gives lr = nan at"),
        ("lr", "(-8) ** 0.5", "gives lr = nan at"),
        ("lr", "10 ** 400", "gives lr = nan at"),
        ("lr", "1e308 * 10", "gives lr = inf at"),
        ("top_k", "num_experts / 3", "gives top_k = 2.66667 at"),
        ("lr", "a.damping", "reads damping, but family a has none there: use what it has, lr, num_experts, rank, "),
    ],
)  # fmt: skip
def test_a_value_that_the_role_cannot_take_is_refused(role, expression, message):
    transform = parse_transform({role: f"b.{role} = {expression}"})
    with pytest.raises(SpecError, match=re.escape(message)):
        transform.apply(PARAMS)


def test_text_is_no_number():
    with pytest.raises(SpecError, match="reads lr, but family a has 'auto' there"):
        parse_transform({"lr": "b.lr = a.lr"}).apply({"lr": "auto"})


def test_whole_roles_come_out_whole_and_real_ones_real():
    transform = parse_transform(
        {"top_k": "b.top_k = 10 ** log10(num_experts) / 2", "lr": "b.lr = 1", "rank": "b.rank = rank"}
    )
    moved = transform.apply(PARAMS)
    assert moved == {**PARAMS, "top_k": 4, "lr": 1.0, "rank": 16}
    assert {role: type(value) for role, value in moved.items()} == {
        **dict.fromkeys(("lr", "router_lr"), float),
        **dict.fromkeys(("num_experts", "top_k", "rank"), int),
    }


def test_all_formulas_read_the_values_of_a():
    swapped = parse_transform({"lr": "b.lr = a.router_lr", "router_lr": "b.router_lr = a.lr"})
    assert swapped.apply(PARAMS) == {**PARAMS, "lr": 1e-4, "router_lr": 1e-2}


def test_a_transform_is_a_value():
    one, other = ({"lr": text} for text in ("b.lr = a.lr * sqrt(top_k)", " b.lr = a.lr * sqrt(top_k) "))
    assert parse_transform(one) == parse_transform(other)
    assert len({parse_transform(one), parse_transform(other)}) == 1
    transform = parse_transform({"rank": "b.rank = 4", "lr": "b.lr = a.lr * max(top_k, 2)"})
    assert transform.text == "b.lr = a.lr * max(top_k, 2); b.rank = 4"
    assert transform.targets == {"lr", "rank"}
    assert transform.names == {"lr", "top_k"}
    assert transform(PARAMS) == transform.apply(PARAMS)


def test_any_name_may_be_allowed():
    free = parse_transform({"momentum": "b.momentum = a.beta / 2"}, roles=None)
    assert isinstance(free, Transform)
    assert free.apply({"beta": 0.5}) == {"beta": 0.5, "momentum": 0.25}
    assert "beta" not in ROLES
