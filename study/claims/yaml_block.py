"""Put a block of plain data into a YAML text and leave every other character as it is."""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from search_spaces.errors import SpecError

_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_NOT_TEXT = frozenset({"null", "true", "false"})
_STEP = "  "


def as_block(written: Mapping[str, Any]) -> str:
    """Plain data as a YAML text with a key on each line, which `with_key` and `with_item` can write into."""
    return "".join(f"{line}\n" for key, value in written.items() for line in _lines(str(key), value, ""))


def with_key(text: str, key: str, value: Mapping[str, Any] | list[Mapping[str, Any]]) -> str:
    """`text` with a top-level key: in place of the one there is, or at the end.

    Raises:
        SpecError: the file is no mapping with a key on each line.
    """
    root = _root(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    block = newline.join(_lines(key, value, " " * root.start_mark.column))
    found = _entry(root, key)
    if found is None:
        end = _end(root.value[-1][1])
        rest = text[end:]
        body, gap = text.rstrip(), newline * 2
        if rest.strip().startswith("...") or "\n..." in rest:
            raise _not_plain("it ends with the marker '...'")
        return f"{body}{gap}{block}{newline}"
    start, end = found[0].start_mark.index, _end(found[1])
    return f"{text[:start]}{block.lstrip()}{text[end:]}"


def with_item(text: str, key: str, items: list[Mapping[str, Any]]) -> str:
    """`text` with the last of `items` at the end of a top-level list, which holds all the others.

    Raises:
        SpecError: the file is no mapping with a key on each line.
    """
    found = _entry(_root(text), key)
    if found is None or not isinstance(found[1], yaml.SequenceNode) or found[1].flow_style or len(items) == 1:
        return with_key(text, key, items)
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = " " * found[1].start_mark.column
    end = _end(found[1])
    stop = re.compile(r"[^\r\n]*").match(text, end)
    line_end = stop.end() if stop else end
    return f"{text[:line_end]}{newline}{newline.join(_item(items[-1], indent))}{text[line_end:]}"


def _root(text: str) -> yaml.MappingNode:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style or not root.value:
        raise _not_plain("it is one mapping in braces")
    return root


def _entry(root: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    return next(((name, value) for name, value in root.value if name.value == key), None)


def _end(node: yaml.Node) -> int:
    """Where a value's last character stands; a block's own mark is behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return end


def _lines(key: str, value: Any, indent: str) -> list[str]:
    """A key with its value, a line each."""
    name = key if _PLAIN_KEY.fullmatch(key) and key.lower() not in _NOT_TEXT else _quoted(key)
    if isinstance(value, Mapping) and value:
        inner = [line for k, v in value.items() for line in _lines(str(k), v, indent + _STEP)]
        return [f"{indent}{name}:", *inner]
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        return [f"{indent}{name}:", *(line for item in value for line in _item(item, indent + _STEP))]
    return [f"{indent}{name}: {_quoted(value)}"]


def _item(item: Mapping[str, Any], indent: str) -> list[str]:
    lines = [line for key, value in item.items() for line in _lines(str(key), value, indent + _STEP)]
    return [f"{indent}- {lines[0].lstrip()}", *lines[1:]]


def _quoted(value: Any) -> str:
    """JSON, every text of which is a quoted YAML text; what YAML takes for the end of a line is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)


def _not_plain(why: str) -> SpecError:
    return SpecError(f"The file cannot be written into, since {why}: write a key on each line.")
