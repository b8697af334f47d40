"""Read a study file as plain data: YAML 1.2's core rules, no key twice, no anchors, and bounds on every size.

PyYAML follows YAML 1.1, in which `1e-4` is text, `no` is false and `12:30` is 750. A study file is full of
learning rates and answers such as yes and no, so the rules of YAML 1.2 are used instead. Anchors are not read: a few
lines of them can stand for more values than any memory holds.
"""

import math
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from search_spaces.errors import SpecError, cut

MAX_BYTES = 1_000_000
MOST_NODES = 20_000
"""Values of a document; the paper's study and claims together have fewer than a thousand."""
MOST_LEVELS = 32
MOST_BITS = 64
_MOST_DIGITS = 100
_PLAINLY = (
    (r"found character '\\t' .*", "a tab stands where only spaces may: indent by spaces"),
    (r"found character (.*) that cannot start any token", r"no value begins with \1: put it in quotes"),
    (r"could not find expected ':'", "this line is no `key: value`: give it a colon and a space"),
    (
        r"mapping values are not allowed here",
        "a second key begins in the same value: put a value that has colons in quotes, or indent keys alike",
    ),
    (
        r"expected <block end>.*",
        "this does not fit the lines above: begin all keys of a section in one column",
    ),
    (r"expected ',' or '([]}])'.*", r"what is opened here is not closed: write the missing '\1'"),
    (r"expected the node content.*", "a value is missing: write it, or close the brackets before"),
    (r"found unexpected end of stream", "the quotes that are opened here are not closed: close them"),
    (
        r"found unknown escape character (.*)",
        r"a backslash before \1 means nothing in these quotes: use single ones",
    ),
    (r"but found another document", "a second document begins here: keep one of them"),
    (r"found incompatible YAML document.*", "the line asks for another version of YAML: remove it"),
    (r"expected '<document start>'.*", "this stands outside of all keys: remove it"),
    (r"expected alphabetic or numeric character.*", "no value begins with '*' or '&': put it in quotes"),
)
"""What PyYAML says of the commonest mistakes, and what a person would say, with the way out."""
_BEGINS_BEFORE = re.compile(r"could not find expected ':'|expected ',' or|found unexpected end of stream")
"""Problems that show later than where they were made."""


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that no file of ours has; `problem` says what, and the way out."""


class _CoreLoader(yaml.SafeLoader):
    """Safe YAML with the scalars of YAML 1.2's core schema; a mapping may not hold a key twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 -- PyYAML's own way: each loader class has a table

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._num_nodes = self._level = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if event.anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            written = cut(f"{sign}{event.anchor}")
            raise _refused(
                f"{written!r} needs an anchor, and anchors are not read: write the value out", event
            )
        tag = getattr(event, "tag", None)
        if tag is not None:
            written = cut(tag.replace("tag:yaml.org,2002:", "!!"))
            raise _refused(f"the tag {written!r} is not read: write the value without it", event)
        self._num_nodes += 1
        self._level += 1
        if self._num_nodes > 2 * MOST_NODES:  # keys are nodes, too
            raise _refused(
                f"more than {MOST_NODES:,} values stand in it, as in no such file: shorten it", event
            )
        if self._level > MOST_LEVELS:
            raise _refused(
                f"brackets or indents are more than {MOST_LEVELS} levels deep, as in no such file: close them",
                event,
            )
        node = super().compose_node(parent, index)
        self._level -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be one word", key.start_mark)
            if key.value in seen:
                problem = f"the key {cut(key.value)!r} stands twice"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return node


def _refused(problem: str, event: Any) -> _Refused:
    return _Refused(problem=problem, problem_mark=event.start_mark)


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
    if len(node.value) > _MOST_DIGITS:
        raise _refused(
            f"{cut(node.value)} is a number of {len(node.value):,} digits: write a shorter one", node
        )
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
        SpecError: the file is missing, unreadable, no YAML, no mapping, or larger than any such file.
    """
    return parse_mapping(_read_text(path, kind, template), str(path), kind=kind, template=template)


def parse_mapping(
    text: str, source: str, *, kind: str = "study file", template: str = "trialwright init"
) -> dict[str, Any]:
    """The mapping that YAML text holds; `source` names it in messages, the rest is as for `read_mapping`.

    Raises:
        SpecError: the text is no YAML, no mapping, or has anchors or more values than any such file.
    """
    try:
        data = yaml.load(text, Loader=_CoreLoader)  # noqa: S506 -- _CoreLoader is a SafeLoader
    except _Refused as error:
        raise SpecError(f"{source}{_where(error)}: {error.problem}.") from None
    except yaml.MarkedYAMLError as error:
        raise SpecError(
            f"{source} is no valid YAML{_where(error)}: {_plainly(str(error.problem))}."
        ) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(
            f"{source} is no valid YAML at line {line}: it holds {chr(error.character)!r}, which is no text; "
            "remove it there."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"{source} is no valid YAML: {_one_line(error)}; correct it.") from None
    if not isinstance(data, dict):
        mistake = "is empty" if data is None else "is no mapping of keys to values"
        raise SpecError(f"{source} {mistake}: `{template} FILE` writes a {kind} to begin with.")
    return data


def _plainly(problem: str) -> str:
    """A problem in the words of a person, with the way out."""
    for pattern, words in _PLAINLY:
        found = re.fullmatch(pattern, problem)
        if found is not None:
            return found.expand(words)
    return f"{problem}; correct it there"


def _where(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    if error.context_mark and _BEGINS_BEFORE.match(str(error.problem)):
        mark = error.context_mark
    return f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _read_text(path: Path, kind: str, template: str) -> str:
    try:
        raw = read_regular(path, MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist: check the name, or write one by `{template}`.") from None
    except OSError as error:
        raise SpecError(
            f"{path} cannot be read ({error.strerror}): check the name and its permissions."
        ) from None
    except ValueError:
        raise SpecError(f"{cut(repr(str(path)))} is no name of a file: correct it.") from None
    if len(raw) > MAX_BYTES:
        raise SpecError(f"{path} is larger than {MAX_BYTES:,} bytes, too large for a {kind}: check the name.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path} is no UTF-8 text ({no_utf8(raw, error)}): check the name, or save it as UTF-8."
        ) from None


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The first bytes of a file; devices and pipes, which may never end or never begin, are not opened.

    Raises:
        OSError: it cannot be read, or is no regular file.
        ValueError: the path holds what no path can.
    """
    kind = path.stat().st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise OSError(0, "it is no regular file")
    with path.open("rb") as file:
        return file.read(most_bytes)


def no_utf8(raw: bytes, error: UnicodeDecodeError) -> str:
    """Where and by which byte a text fails to be UTF-8."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it looks like UTF-16 or UTF-32"
    line = raw.count(b"\n", 0, error.start) + 1
    return f"byte 0x{raw[error.start]:02x} in line {line}"


def check_plain(value: Any, source: str, key: str = "", *, level: int = 0) -> None:
    """Refuse what no file of ours says, wherever it stands under `key`.

    Raises:
        SpecError: a number that is not finite or too long, text that is none, a key that is no text, or data that are
            nested too deep.
    """
    if level > MOST_LEVELS:
        raise SpecError(
            f"{source}: {cut(key)} is more than {MOST_LEVELS} levels deep, as nothing is: flatten it."
        )
    problem = _no_plain_value(value)
    if problem:
        raise SpecError(f"{source}: {key} {problem}.")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str) or not is_text(name):
                place = f" in {key}" if key else ""
                way = "put it in quotes or rename it" if not isinstance(name, str) else "rename it"
                raise SpecError(f"{source}: the key {cut(ascii(name))}{place} is no text: {way}.")
            check_plain(inner, source, f"{key}.{name}" if key else name, level=level + 1)
    if isinstance(value, list):
        for index, inner in enumerate(value):
            check_plain(inner, source, f"{key}.{index}", level=level + 1)


def _no_plain_value(value: Any) -> str:
    """What is wrong with a number or a text by itself; empty for everything else."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, but every number must be finite: write a number"
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return f"is {cut(f'{value:,}')}, but whole numbers end at 2^{MOST_BITS}: write a smaller one"
    if isinstance(value, str) and not is_text(value):
        return f"is {cut(ascii(value))}, which holds a character that is no text: remove it"
    return ""


def is_text(value: str) -> bool:
    """Whether a string can be kept by every database, be a path, and be sent in every answer."""
    return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
