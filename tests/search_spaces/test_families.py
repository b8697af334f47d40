"""Families: the table of METHOD, its spaces, and what reduces to what."""

import math
import pickle

import pytest

import search_spaces
from search_spaces import (
    FAMILIES,
    PAPER_FAMILIES,
    ROLES,
    Category,
    Dimension,
    Integer,
    LogFloat,
    family,
    fitting_dimension,
)
from search_spaces.errors import SpecError

# name: (rule, preconditioned, gate exponent, compared in the paper)
TABLE = {
    "sgd": ("sgd", False, 1.0, True),
    "rsgd": ("sgd", True, 1.0, True),
    "gsgd": ("sgd", False, 0.5, False),
    "grsgd": ("sgd", True, 0.5, True),
    "adamw": ("adamw", False, 1.0, True),
    "radamw": ("adamw", True, 1.0, True),
    "gadamw": ("adamw", False, 0.5, False),
    "gradamw": ("adamw", True, 0.5, True),
    "loraplus": ("adamw", False, 1.0, False),
}


def test_the_families_are_what_their_names_say():
    found = {n: (f.rule, f.preconditioned, f.gate_exponent, f.paper) for n, f in FAMILIES.items()}
    assert found == TABLE
    assert {name for name, row in TABLE.items() if row[3]} == set(PAPER_FAMILIES)


@pytest.mark.parametrize("name", TABLE)
def test_a_family_is_complete(name: str):
    found = family(name)
    assert found.name == found.space.name == name
    order = [role for role in ROLES if role in found.space.dimensions]
    assert list(found.space.dimensions) == order
    assert order[:5] == ["lr", "router_lr", "num_experts", "top_k", "rank"]
    assert ("damping" in order) == found.preconditioned
    assert ("lr_ratio" in order) == (name == "loraplus")
    found.space.check(found.defaults)
    lr = found.space.dimensions["lr"]
    assert isinstance(lr, LogFloat)
    assert math.log10(lr.high / lr.low) >= 5 - 1e-9
    assert found.summary
    assert found.lr_scale
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 -- how Ray carries it


@pytest.mark.parametrize("name", ["sgd", "rsgd", "adamw", "radamw"])
def test_gated_and_plain_families_differ_in_the_gate_alone(name: str):
    plain, gated = family(name), family(f"g{name}")
    assert plain.space.dimensions == gated.space.dimensions
    assert plain.defaults == gated.defaults
    assert plain.rule == gated.rule


def test_reductions_form_the_lattice_of_names():
    edges = {(name, r.to, tuple(r.params)) for name, f in FAMILIES.items() for r in f.reductions}
    assert edges == {
        ("rsgd", "sgd", ()),
        ("gsgd", "sgd", ("top_k",)),
        ("gsgd", "sgd", ()),
        ("grsgd", "rsgd", ("top_k",)),
        ("grsgd", "rsgd", ()),
        ("grsgd", "gsgd", ()),
        ("radamw", "adamw", ()),
        ("gadamw", "adamw", ("top_k",)),
        ("gadamw", "adamw", ()),
        ("gradamw", "radamw", ("top_k",)),
        ("gradamw", "radamw", ()),
        ("gradamw", "gadamw", ()),
        ("loraplus", "adamw", ("lr_ratio",)),
    }


def test_the_reductions_of_sgd_rescale_the_learning_rate():
    by_condition = {(r.to, r.when.split()[0]): r for r in family("grsgd").reductions}
    uniform = next(r for r in family("grsgd").reductions if "uniform" in r.when)
    assert (uniform.exact, uniform.lr) == (True, "lr * sqrt(top_k)")
    # each gate is 1/k: parameters see k**-0.5 where they would see 1/k
    assert math.isclose((1 / 7) ** 0.5 / (1 / 7), math.sqrt(7))
    assert by_condition["gsgd", "damping"].lr == "lr / damping"
    assert not by_condition["gsgd", "damping"].exact
    assert all(r.lr == "lr" for r in family("gradamw").reductions)


def test_an_unknown_family_is_refused():
    with pytest.raises(
        SpecError, match=r"^Unknown family 'grsdg', did you mean 'grsgd'\? Known: adamw, gadamw, "
    ):
        family("grsdg")


@pytest.mark.parametrize(
    ("role", "dimension", "fitted"),
    [
        ("rank", Category((4.0, 8)), Category((4, 8))),
        ("lr", Category((1, 0.5)), Category((1.0, 0.5))),
        ("top_k", Integer(1, 4, at_most="rank"), Integer(1, 4, at_most="rank")),
    ],
)
def test_a_dimension_takes_the_roles_kind(role: str, dimension: Dimension, fitted: Dimension):
    found = fitting_dimension(role, dimension)
    assert found == fitted
    kind = int if ROLES[role].whole else float
    assert all(type(choice) is kind for choice in getattr(found, "choices", ()))


@pytest.mark.parametrize(
    ("role", "dimension", "message"),
    [
        ("rnak", Category((4,)), "Unknown hyperparameter 'rnak', did you mean 'rank'"),
        (
            "rank",
            LogFloat(1.0, 4.0),
            r"rank takes whole numbers: write \{int: \[low, high\]\} or a list of choices",
        ),
        ("lr", Integer(1, 4), r"lr takes reals: write \{log: \[low, high\]\}"),
        ("rank", Category((4, 2.5)), "2.5 is no whole number: replace it"),
        ("lr", Category(("1e-4",)), "'1e-4' is no number: replace it"),
        ("rank", Category((0, 4)), "0 is too low: rank must be above 0, so raise it"),
        ("lr", Category((0.0,)), "0 is too low: lr must be above 0"),
        ("top_k", Integer(-1, 4), "-1 is too low: top_k must be above 0"),
    ],
)
def test_a_dimension_that_the_role_cannot_take_is_refused(role: str, dimension: Dimension, message: str):
    with pytest.raises(SpecError, match=message):
        fitting_dimension(role, dimension)


def test_every_public_name_exists():
    assert sorted(search_spaces.__all__) == sorted(set(search_spaces.__all__))
    assert all(hasattr(search_spaces, name) for name in search_spaces.__all__)
