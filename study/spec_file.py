"""Read a study file as plain data: YAML 1.2's core rules, and no key twice.

PyYAML follows YAML 1.1, in which `1e-4` is text, `no` is false and `12:30` is 750. A study file is full of
learning rates and answers such as yes and no, so the rules of YAML 1.2 are used instead.
"""

import math
import re
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import SpecError

_MAX_BYTES = 1_000_000


class _CoreLoader(yaml.SafeLoader):
    """Safe YAML with the scalars of YAML 1.2's core schema; a mapping may not hold a key twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- PyYAML's own way: each loader class has a table

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be one word", key.start_mark)
            if key.value in seen:
                problem = f"the key {key.value!r} stands twice"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return node


for _tag, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def _int(_loader: yaml.SafeLoader, node: Any) -> int:
    return int(node.value)


def _float(_loader: yaml.SafeLoader, node: Any) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_CoreLoader.add_constructor("tag:yaml.org,2002:int", _int)
_CoreLoader.add_constructor("tag:yaml.org,2002:float", _float)


def read_mapping(
    path: Path, *, kind: str = "study file", template: str = "trialwright init"
) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Args:
        path: the file.
        kind: what to call it in messages.
        template: the command that writes one to begin with.

    Raises:
        SpecError: the file is missing, unreadable, no YAML, or no mapping.
    """
    return parse_mapping(_read_text(path, kind, template), str(path), kind=kind, template=template)


def parse_mapping(
    text: str, source: str, *, kind: str = "study file", template: str = "trialwright init"
) -> dict[str, Any]:
    """The mapping that YAML text holds; `source` names it in messages, the rest is as for `read_mapping`.

    Raises:
        SpecError: the text is no YAML, or no mapping.
    """
    try:
        data = yaml.load(text, Loader=_CoreLoader)  # noqa: S506 -- _CoreLoader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SpecError(f"{source} is no valid YAML{where}: {error.problem}; correct it there.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{source} is no valid YAML: {_one_line(error)}; correct it.") from None
    if not isinstance(data, dict):
        mistake = "is empty" if data is None else "is no mapping of keys to values"
        raise SpecError(f"{source} {mistake}: `{template} FILE` writes a {kind} to begin with.")
    return data


def _read_text(path: Path, kind: str, template: str) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SpecError(
                f"{path} is larger than {_MAX_BYTES:,} bytes, too large for a {kind}: check the name."
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist: check the name, or write one by `{template}`.") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path} is no UTF-8 text: check the name, or save it as UTF-8.") from None
    except OSError as error:
        raise SpecError(
            f"{path} cannot be read ({error.strerror}): check the name and its permissions."
        ) from None


def check_plain(value: Any, source: str, key: str = "") -> None:
    """Refuse infinite numbers and keys that are no text, wherever they stand under `key`."""
    if isinstance(value, float) and not math.isfinite(value):
        raise SpecError(f"{source}: {key} is {value}, but every number must be finite: write a number.")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                place = f" in {key}" if key else ""
                raise SpecError(
                    f"{source}: the key {name!r}{place} is no text: put it in quotes or rename it."
                )
            check_plain(inner, source, f"{key}.{name}" if key else name)
    if isinstance(value, list):
        for index, inner in enumerate(value):
            check_plain(inner, source, f"{key}.{index}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
