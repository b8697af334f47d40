"""A search space: the named dimensions of one family, and its map to and from the unit cube."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.dimensions import (
    Category,
    Dimension,
    Integer,
    LinearFloat,
    LogFloat,
    Param,
    dimension_from_json,
    dimension_to_json,
    extent,
    nearest_value,
)
from search_spaces.errors import SpecError, unknown

__all__ = [
    "Category",
    "Dimension",
    "Integer",
    "LinearFloat",
    "LogFloat",
    "Param",
    "Space",
    "dimension_from_json",
    "dimension_to_json",
    "extent",
]


@dataclass(frozen=True, kw_only=True)
class Space:
    """The hyperparameters of one family: named dimensions in the order of their unit coordinates."""

    name: str
    version: int
    """Raised whenever a published space changes."""
    dimensions: Mapping[str, Dimension]

    def __post_init__(self) -> None:
        """Refuse a limit that is not an earlier dimension of numbers, or that can leave no value."""
        earlier: dict[str, Dimension] = {}
        for name, dimension in self.dimensions.items():
            _check_limit(name, dimension, earlier)
            earlier[name] = dimension

    def from_unit(self, u: Sequence[float]) -> dict[str, Param]:
        """The hyperparameters at a point of the unit cube.

        Args:
            u: one coordinate in [0, 1] per dimension, in the space's order.

        Raises:
            ValueError: the point has the wrong length or lies outside the cube.
        """
        if len(u) != len(self.dimensions) or not all(0.0 <= coordinate <= 1.0 for coordinate in u):
            raise ValueError(f"Expected {len(self.dimensions)} coordinates in [0, 1], got {list(u)}.")
        params: dict[str, Param] = {}
        for (name, dimension), coordinate in zip(self.dimensions.items(), u, strict=True):
            params[name] = dimension.from_unit(float(coordinate), params)
        return params

    def to_unit(self, params: Mapping[str, Param]) -> tuple[float, ...]:
        """The point of the unit cube that maps to `params`: in discrete dimensions, the middle of the cell.

        Raises:
            SpecError: a hyperparameter is unknown, missing, or outside its dimension.
        """
        for name in params:
            if name not in self.dimensions:
                raise unknown(f"hyperparameter of {self.name}", name, self.dimensions)
        point: list[float] = []
        for name, dimension in self.dimensions.items():
            if name not in params:
                raise SpecError(f"Space {self.name} needs {name}, which is missing: add it.")
            try:
                point.append(dimension.to_unit(params[name], params))
            except SpecError as error:
                raise SpecError(f"{name} of space {self.name}: {error}") from None
        return tuple(point)

    def check(self, params: Mapping[str, Param]) -> None:
        """Raise SpecError unless `params` is a point of this space."""
        self.to_unit(params)

    def nearest(self, params: Mapping[str, Param]) -> dict[str, Param]:
        """`params` with each value moved to the nearest one that the space allows.

        Text that is no choice, and what is missing, becomes the middle of its dimension.
        """
        moved: dict[str, Param] = {}
        for name, dimension in self.dimensions.items():
            moved[name] = nearest_value(dimension, params.get(name), moved)
        return moved

    def override(self, dimensions: Mapping[str, Dimension]) -> "Space":
        """This space with some dimensions replaced; a replaced dimension keeps the limit of the old one.

        A dimension that is not replaced loses the values that its limit no longer ever allows.

        Raises:
            SpecError: a dimension is unknown, can be left without a value by its limit, or holds a value that
                its limit never allows.
        """
        merged = dict(self.dimensions)
        for name, dimension in dimensions.items():
            if name not in merged:
                raise unknown(f"hyperparameter of {self.name}", name, merged)
            merged[name] = _inherit_limit(dimension, merged[name])
        for name in merged.keys() - dimensions.keys():
            merged[name] = _reachable(merged[name], merged)
        space = replace(self, dimensions=merged)
        for name in dimensions:
            _check_reachable(name, merged)
        return space

    @property
    def digest(self) -> str:
        """SHA-256 of the space's canonical JSON, in hex."""
        canonical = json.dumps(self.to_json(), separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The space as plain data, its dimensions a list because their order is part of it."""
        dimensions = [[name, dimension_to_json(dimension)] for name, dimension in self.dimensions.items()]
        return {"name": self.name, "version": self.version, "dimensions": dimensions}


def _check_limit(name: str, dimension: Dimension, earlier: Mapping[str, Dimension]) -> None:
    limit = getattr(dimension, "at_most", None)
    if limit is None:
        return
    if limit not in earlier:
        raise SpecError(
            f"{name} is limited by {limit}, which is no earlier hyperparameter: reorder or rename it."
        )
    smallest_limit = extent(earlier[limit])[0]
    smallest = extent(dimension)[0]
    if smallest > smallest_limit:
        raise SpecError(
            f"{name} is at least {smallest}, which exceeds {limit} = {smallest_limit}: "
            f"allow a {name} of at most {smallest_limit} or raise {limit}."
        )


def _reachable(dimension: Dimension, dimensions: Mapping[str, Dimension]) -> Dimension:
    """`dimension` without the values above every value of its limit; unchanged when none is left."""
    if not isinstance(dimension, Integer | Category) or dimension.at_most is None:
        return dimension
    largest = extent(dimensions[dimension.at_most])[1]
    if isinstance(dimension, Integer):
        high = min(dimension.high, int(largest))
        return replace(dimension, high=high) if high > dimension.low else dimension
    kept = tuple(choice for choice in dimension.choices if float(choice) <= largest)
    return replace(dimension, choices=kept) if kept else dimension


def _check_reachable(name: str, dimensions: Mapping[str, Dimension]) -> None:
    limit = getattr(dimensions[name], "at_most", None)
    if limit is None:
        return
    largest, largest_limit = extent(dimensions[name])[1], extent(dimensions[limit])[1]
    if largest > largest_limit:
        raise SpecError(
            f"{name} = {largest} is above every {limit} (at most {largest_limit}) and can never be used: "
            f"lower {name} or raise {limit}."
        )


def _inherit_limit(new: Dimension, old: Dimension) -> Dimension:
    limit = getattr(old, "at_most", None)
    if limit is None or getattr(new, "at_most", None) is not None:
        return new
    if not isinstance(new, Integer | Category):
        raise SpecError(
            f"A range limited by {limit} must be whole numbers: write {{int: [low, high]}} or a list."
        )
    return replace(new, at_most=limit)
