"""A perturbation at inference as a field of a study file: how it is read, written and described to editors."""

from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from search_spaces.errors import SpecError
from study.spec_errors import SpecValueError
from trainers.perturbation_kinds import KINDS, Amount, Perturbation, perturbation_from_json


def _read(written: Any) -> Perturbation:
    if isinstance(written, Perturbation):
        return written
    try:
        return perturbation_from_json(written)
    except SpecError as error:
        raise SpecValueError(error) from None


def _amount_schema(amount: Amount) -> dict[str, Any]:
    limits = {"minimum": amount.low} | ({} if amount.high == float("inf") else {"maximum": amount.high})
    return {"type": "integer" if amount.whole else "number", "description": amount.meaning, **limits}


_SCHEMA: dict[str, Any] = {
    "description": "The name of a perturbation, or {name: amount}.",
    "anyOf": [
        {"enum": [kind for kind, amount in KINDS.items() if amount is None]},
        *(
            {
                "type": "object",
                "properties": {kind: _amount_schema(amount)},
                "required": [kind],
                "additionalProperties": False,
            }
            for kind, amount in KINDS.items()
            if amount is not None
        ),
    ],
}
PerturbationField = Annotated[
    Perturbation,
    PlainValidator(_read),
    PlainSerializer(lambda perturbation: perturbation.to_json()),
    WithJsonSchema(_SCHEMA),
]
