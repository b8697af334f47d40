"""Spaces: conditions, overrides, digests and the nearest point."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import FAMILIES, Category, Dimension, Integer, LogFloat, Param, Space
from search_spaces.errors import SpecError

every_family = pytest.mark.parametrize("name", list(FAMILIES))


def small_space(**overrides: Dimension) -> Space:
    dimensions: dict[str, Dimension] = {
        "lr": LogFloat(1e-4, 1.0),
        "num_experts": Category((2, 4, 8)),
        "top_k": Category((2, 4, 8), at_most="num_experts"),
    }
    return Space(name="small", version=1, dimensions={**dimensions, **overrides})


@every_family
@given(data=st.data())
def test_every_familys_points_come_back_exactly(name: str, data: st.DataObject):
    space = FAMILIES[name].space
    u = data.draw(st.lists(st.floats(0, 1), min_size=len(space.dimensions), max_size=len(space.dimensions)))
    params = space.from_unit(u)
    space.check(params)
    assert params["top_k"] <= params["num_experts"]
    assert space.from_unit(space.to_unit(params)) == params
    assert space.nearest(params) == params


def test_the_condition_spreads_evenly_over_what_is_allowed():
    space = small_space()
    grid = [(i + 0.5) / 12 for i in range(12)]
    counts: dict[tuple[Param, Param], int] = {}
    for experts in grid:
        for top in grid:
            params = space.from_unit((0.5, experts, top))
            pair = (params["num_experts"], params["top_k"])
            counts[pair] = counts.get(pair, 0) + 1
    assert counts == {(2, 2): 48, (4, 2): 24, (4, 4): 24, (8, 2): 16, (8, 4): 16, (8, 8): 16}


@pytest.mark.parametrize("u", [(0.5, 0.5), (0.5, 0.5, 1.01), (0.5, -0.1, 0.5), (0.5, float("nan"), 0.5)])
def test_a_point_outside_the_cube_is_refused(u: tuple[float, ...]):
    with pytest.raises(ValueError, match=r"Expected 3 coordinates in \[0, 1\]"):
        small_space().from_unit(u)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lr": 0.1, "num_experts": 4}, "Space small needs top_k, which is missing: add it."),
        ({"lr": 0.1, "num_experts": 4, "top_k": 8}, r"top_k of space small: 8 is not one of \[2, 4\]"),
        ({"lr": 5, "num_experts": 4, "top_k": 4}, "lr of space small: 5 is no number in"),
        (
            {"lr": 0.1, "num_expert": 4},
            "Unknown hyperparameter of small 'num_expert', did you mean 'num_experts'",
        ),
    ],
)
def test_params_outside_are_refused(params: dict[str, Param], message: str):
    with pytest.raises(SpecError, match=message):
        small_space().check(params)


def test_an_override_keeps_the_limit_and_the_order():
    space = small_space().override({"top_k": Integer(1, 8), "num_experts": Integer(2, 8)})
    assert space.dimensions["top_k"] == Integer(1, 8, at_most="num_experts")
    assert list(space.dimensions) == ["lr", "num_experts", "top_k"]
    assert space.from_unit((0.0, 0.0, 1.0)) == {"lr": 1e-4, "num_experts": 2, "top_k": 2}


def test_an_override_drops_what_can_no_longer_be_reached():
    space = small_space().override({"num_experts": Category((4,))})
    assert space.dimensions["top_k"] == Category((2, 4), at_most="num_experts")
    ranged = small_space(top_k=Integer(1, 8, at_most="num_experts")).override({"num_experts": Category((4,))})
    assert ranged.dimensions["top_k"] == Integer(1, 4, at_most="num_experts")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"lrr": Category((1,))}, "Unknown hyperparameter of small 'lrr', did you mean 'lr'"),
        (
            {"top_k": Category((16,))},
            "top_k is at least 16, which exceeds num_experts = 2: allow a top_k of at most 2",
        ),
        ({"num_experts": Category((1, 2))}, "top_k is at least 2, which exceeds num_experts = 1"),
        (
            {"top_k": Category((2, 16))},
            r"top_k = 16 is above every num_experts \(at most 8\) and can never be used",
        ),
        ({"top_k": LogFloat(1.0, 2.0)}, "A range limited by num_experts must be whole numbers"),
        ({"num_experts": Category(("few",))}, r"\['few'\] hold text: use numbers"),
    ],
)
def test_an_impossible_override_is_refused(overrides: dict[str, Dimension], message: str):
    with pytest.raises(SpecError, match=message):
        small_space().override(overrides)


def test_a_limit_must_stand_earlier():
    with pytest.raises(
        SpecError, match="top_k is limited by num_experts, which is no earlier hyperparameter"
    ):
        Space(name="odd", version=1, dimensions={"top_k": Category((1,), at_most="num_experts")})


def test_the_digest_moves_with_everything_that_matters():
    space = small_space()
    others = [
        small_space(lr=LogFloat(1e-4, 2.0)),
        small_space(top_k=Category((2, 4, 8))),
        small_space(rank=Category((4,))),
        Space(name="other", version=1, dimensions=space.dimensions),
        Space(name="small", version=2, dimensions=space.dimensions),
        Space(name="small", version=1, dimensions=dict(reversed([*space.dimensions.items()][:2]))),
    ]
    assert len({space.digest, *(other.digest for other in others)}) == 1 + len(others)
    assert small_space().digest == space.digest


@every_family
def test_a_space_survives_json_and_pickle(name: str):
    space = FAMILIES[name].space
    assert json.loads(json.dumps(space.to_json(), allow_nan=False)) == space.to_json()
    assert pickle.loads(pickle.dumps(space)).digest == space.digest  # noqa: S301 -- how Ray carries it


@pytest.mark.parametrize(
    ("params", "nearest"),
    [
        ({"lr": 50, "num_experts": 2, "top_k": 8}, {"lr": 1.0, "num_experts": 2, "top_k": 2}),
        ({"lr": 1e-9, "num_experts": 5, "top_k": 1}, {"lr": 1e-4, "num_experts": 4, "top_k": 2}),
        ({"lr": "x", "num_experts": "y"}, {"lr": 1e-2, "num_experts": 4, "top_k": 4}),
    ],
)
def test_the_nearest_point(params: dict[str, Param], nearest: dict[str, Param]):
    assert small_space().nearest(params) == nearest
