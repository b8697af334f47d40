"""A submitted study as plain data: JSON, or YAML text, within bounds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.errors import SpecError
from study.service.problems import Problem
from study.spec_file import MOST_LEVELS, MOST_NODES, is_text, parse_mapping

MOST_YAML_CHARS = 200_000
JSON_TYPES = ("application/json",)
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
STUDY, CLAIMS = "The study", "The claims"
"""What messages call the two documents."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What was submitted, not yet checked."""

    spec: dict[str, Any]
    claims: dict[str, Any] | None


def read_sent(content_type: str, body: bytes) -> Sent:
    """Read a submitted study.

    Args:
        content_type: of the request: JSON has `spec` and `claims`, each plain data or YAML text; YAML is a study file.
        body: the request's.

    Raises:
        SpecError: it is no such document, or larger or deeper than any study.
        Problem: 415, the content is of another kind.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in (*JSON_TYPES, *YAML_TYPES):
        raise Problem(
            415,
            f"The content type is {kind[:60]!r}, but a study comes as application/json or application/yaml: "
            "set Content-Type.",
            headers={"Accept": ", ".join((*JSON_TYPES, YAML_TYPES[0]))},
        )
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise SpecError("The request is no UTF-8 text: send it as UTF-8.") from None
    if kind in YAML_TYPES:
        return Sent(spec=read_yaml(text, STUDY), claims=None)
    return _of_json(text)


def _of_json(text: str) -> Sent:
    try:
        sent = json.loads(text)
    except (ValueError, RecursionError):
        raise SpecError('The request is no valid JSON: send {"spec": …, "claims": …}.') from None
    check_plain_values(sent)
    if not isinstance(sent, dict) or "spec" not in sent or sent.keys() - {"spec", "claims"}:
        raise SpecError(
            'The request must be an object with "spec" and, if wanted, "claims": send just these.'
        )
    claims = sent.get("claims")
    return Sent(
        spec=_mapping(sent["spec"], STUDY), claims=None if claims is None else _mapping(claims, CLAIMS)
    )


def _mapping(written: Any, source: str) -> dict[str, Any]:
    if isinstance(written, str):
        return read_yaml(written, source)
    if not isinstance(written, dict):
        raise SpecError(f"{source} is no mapping of keys to values: send an object, or YAML text.")
    return written


def check_plain_values(value: Any) -> None:
    """Refuse plain data that is larger or deeper than any study, or holds text that is none; never recurses.

    Raises:
        SpecError: saying what it is.
    """
    num_nodes, level = 0, [value]
    for _ in range(MOST_LEVELS + 1):
        num_nodes += len(level)
        if num_nodes > MOST_NODES:
            raise _too_large()
        inner: list[Any] = []
        for one in level:
            if isinstance(one, Mapping):
                inner += [*one.values(), *one.keys()]
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, str) and not is_text(one):
                raise SpecError(
                    f"The request holds {ascii(one)[:60]}, which is no text: remove the control characters."
                )
        if not inner:
            return
        level = inner
    raise _too_deep()


def read_yaml(text: str, source: str) -> dict[str, Any]:
    """The mapping that YAML text holds, by the rules of study files, and without aliases.

    Raises:
        SpecError: it is no YAML or no mapping, it is too large or too deep, or it has aliases.
    """
    if len(text) > MOST_YAML_CHARS:
        raise SpecError(f"{source} is longer than {MOST_YAML_CHARS:,} characters: shorten it.")
    data = parse_mapping(text, source)
    check_plain_values(data)
    return data


def _too_large() -> SpecError:
    return SpecError(f"The request has more than {MOST_NODES:,} values: no study has so many.")


def _too_deep() -> SpecError:
    return SpecError(f"The request is nested more than {MOST_LEVELS} levels deep: no study is.")
