"""One sentence for the first mistake in a study file: its key, its value, the rule, and the way out."""

from collections.abc import Iterable
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from search_spaces.errors import SpecError, cut

_FIRST = ("extra_forbidden", "missing")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "dict": "a mapping of keys to values",
    "model": "a mapping of keys to values",
}


class SpecValueError(ValueError):
    """A complete sentence of the error tree, carried through pydantic."""

    def __init__(self, error: SpecError) -> None:
        super().__init__(str(error))


def first_mistake(error: ValidationError, model: type[BaseModel]) -> str:
    """What is wrong, without a full stop: an unknown key first, for it explains what else is missing."""
    details = error.errors(include_url=False)
    rank = {kind: place for place, kind in enumerate(_FIRST)}
    first = min(details, key=lambda detail: rank.get(detail["type"], len(_FIRST)))
    key = dotted(first["loc"])
    if isinstance(first["input"], bool) and first["type"].startswith(("greater_than", "less_than")):
        return f"{key} is {shown(first['input'])}, but must be a number: correct it"
    match first["type"]:
        case "extra_forbidden":
            return _unknown_key(first["loc"], model)
        case "missing":
            return f"{key} is missing: add it"
        case "value_error":
            return _own_message(key, first["ctx"]["error"])
        case "literal_error":
            expected = first["ctx"]["expected"].replace("True", "true").replace("False", "false")
            return f"{key} is {shown(first['input'])}, but must be {expected}{_nearest(first)}"
    return f"{key} is {shown(first['input'])}, but {_rule(first)}"


def as_sentence(text: str) -> str:
    """A text with the stop at its end that it may lack."""
    return text if text.endswith((".", "?")) else f"{text}."


NOT_FOR_PEOPLE = frozenset({"matched"})
"""Keys that are written at launch."""
UNION_BRANCHES = frozenset({"constrained-int", "constrained-float", "literal['auto']"})
"""What pydantic adds to a place for the branch of a union; no key of a study file is called so."""


def dotted(location: Iterable[str | int]) -> str:
    """A place in the file, such as `phases.search.trials`."""
    return ".".join(cut(str(part)) for part in location if str(part) not in UNION_BRANCHES)


def shown(value: Any) -> str:
    """A value as the file's reader knows it, cut to one short line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return cut(repr(value))
    except ValueError:  # a whole number of more digits than Python writes
        return "a whole number of thousands of digits"


def _own_message(key: str, error: Exception) -> str:
    text = str(error).removesuffix(".")
    if isinstance(error, SpecValueError):
        return f"{key}: {text}" if key else text
    return f"{key} {text}".lstrip()


def _rule(detail: Any) -> str:
    kind, message = detail["type"], detail["msg"].replace("String should", "must")
    if kind.startswith("greater_than"):
        return f"{message.replace('Input should be', 'must be')}: raise it"
    if kind.startswith("less_than"):
        return f"{message.replace('Input should be', 'must be')}: lower it"
    if kind == "int_from_float":
        return "must be a whole number: round it"
    if kind in {"too_short", "too_long"}:
        return _length_rule(detail["ctx"])
    wanted = _KINDS.get(kind.partition("_")[0])
    if wanted and kind == "string_type" and isinstance(detail["input"], int | float):
        wanted += " (put it in quotes if it looks like a number)"
    if wanted and kind.endswith(("_type", "_parsing")):
        return f"must be {wanted}: correct it"
    return f"{message[:1].lower()}{message[1:]}: correct it"


def _length_rule(limits: Any) -> str:
    if "min_length" in limits:
        return f"must have at least {_counted(limits['min_length'])}: add what is missing"
    return f"must have at most {_counted(limits['max_length'])}: leave some out"


def _counted(number: int) -> str:
    return "1 entry" if number == 1 else f"{number} entries"


def _nearest(detail: Any) -> str:
    choices = [
        choice.strip(" '") for part in detail["ctx"]["expected"].split(",") for choice in part.split(" or ")
    ]
    close = get_close_matches(str(detail["input"]), choices, n=1)
    if len(choices) == 1:
        return ": write that"
    return f": did you mean {close[0]!r}?" if close else ": choose one of them"


def _unknown_key(location: tuple[str | int, ...], model: type[BaseModel]) -> str:
    *section, key = location
    known = sorted(set(_fields_at(section, model)) - NOT_FOR_PEOPLE)
    close = get_close_matches(str(key), known, n=1, cutoff=0.5)
    where = f" in {dotted(section)}" if section else ""
    hint = f", did you mean {close[0]!r}?" if close else ": remove or rename it."
    return f"unknown key {cut(repr(str(key)))}{where}{hint} Known: {', '.join(known)}"


def _fields_at(section: Iterable[str | int], model: type[BaseModel]) -> Iterable[str]:
    parts = iter(section)
    for part in parts:
        annotation = model.model_fields[str(part)].annotation
        if get_origin(annotation) in {dict, tuple}:  # the next part is a name or a number
            annotation = get_args(annotation)[1 if get_origin(annotation) is dict else 0]
            next(parts, None)
        inner = _model_in(annotation)
        if inner is None:
            return []
        model = inner
    return model.model_fields


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, UnionType}:
        return next((found for found in map(_model_in, get_args(annotation)) if found), None)
    return None
