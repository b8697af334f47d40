"""A hyperparameter's range as a field of a study file: how it is read, written and described to editors."""

from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from search_spaces import Dimension, dimension_from_json, dimension_to_json
from search_spaces.errors import SpecError
from study.spec_errors import SpecValueError


def _read_dimension(written: Any) -> Dimension:
    if isinstance(written, Dimension):
        return written
    try:
        return dimension_from_json(written)
    except SpecError as error:
        raise SpecValueError(error) from None


def _range_schema(key: str, kind: str) -> dict[str, Any]:
    limits = {"type": "array", "items": {"type": kind}, "minItems": 2, "maxItems": 2}
    properties = {key: limits, **({"at_most": {"type": "string"}} if key == "int" else {})}
    return {"type": "object", "properties": properties, "required": [key], "additionalProperties": False}


_VALUE_SCHEMA = {"type": ["number", "string"]}
_CHOICES_SCHEMA = {"type": "array", "items": _VALUE_SCHEMA, "minItems": 1, "uniqueItems": True}
_DIMENSION_SCHEMA: dict[str, Any] = {
    "description": "{log: [low, high]}, {linear: [low, high]}, {int: [low, high]}, choices, or one value.",
    "anyOf": [
        _range_schema("log", "number"),
        _range_schema("linear", "number"),
        _range_schema("int", "integer"),
        {
            "type": "object",
            "properties": {"choices": _CHOICES_SCHEMA, "at_most": {"type": "string"}},
            "required": ["choices"],
            "additionalProperties": False,
        },
        _CHOICES_SCHEMA,
        _VALUE_SCHEMA,
    ],
}
DimensionField = Annotated[
    Dimension,
    PlainValidator(_read_dimension),
    PlainSerializer(dimension_to_json),
    WithJsonSchema(_DIMENSION_SCHEMA),
]
