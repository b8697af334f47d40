"""Rows as token numbers, cut to length and cached on disk.

A prompt that is too long is cut on its left; an answer never is. Options are encoded as they follow the
prompt, without the end-of-sequence token, which the objective appends. An encoder reads the prompt alone
and has the option's index for a label.

A cached set is one file that every process of a machine maps, so that its tokens are in memory once.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import SpecError
from trainers.model_folder import Kind
from trainers.tasks.rows import Row
from trainers.tasks.splits import Splits

ENCODING_VERSION = 1
"""Raised when the same rows become other tokens, so that cached sets are made anew."""

SPLIT_NAMES = ("train", "select", "report")

CHECKSUM_BYTES = 32
"""SHA-256 of what follows, at the head of a cached set."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row in tokens."""

    prompt_ids: tuple[int, ...]
    """The prompt, with the tokenizer's beginning token, if any (an encoder's: all special tokens)."""
    option_ids: tuple[tuple[int, ...], ...]
    """Tokens of each option, without end-of-sequence; empty for an encoder."""
    answer: int
    """Index of the right option: an encoder's label."""


class Examples(Sequence[Example]):
    """Rows in packed tokens, made into examples one by one as they are read.

    A packed row is its answer, the number of its prompt's tokens, these, and for each option the same.
    """

    def __init__(self, tokens: NDArray[np.int32], starts: NDArray[np.int32]) -> None:
        """Read packed rows in place.

        Args:
            tokens: packed rows, one after the other; may be a mapped file.
            starts: where in `tokens` each row starts, and where the last one ends.
        """
        self._tokens, self._starts = tokens, starts

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, index: int | slice) -> Example | tuple[Example, ...]:
        """One row, or those of a slice."""
        if isinstance(index, slice):
            return tuple(self[place] for place in range(len(self))[index])
        place = range(len(self))[index]
        return _unpacked(self._tokens[self._starts[place] : self._starts[place + 1]].tolist())

    def between(self, first: int, last: int) -> "Examples":
        """The rows from `first` up to but not with `last`, over the same tokens."""
        return Examples(self._tokens, self._starts[first : last + 1])

    def __eq__(self, other: object) -> bool:
        """Whether the other holds equal rows."""
        return isinstance(other, Examples) and list(self) == list(other)

    def __hash__(self) -> int:
        """Equal rows, equal hashes."""
        return hash(tuple((example.prompt_ids, example.answer) for example in self))


@dataclass(frozen=True, kw_only=True)
class EncodedSplits:
    """The splits of a task in tokens."""

    train: Sequence[Example]
    select: Sequence[Example]
    report: Sequence[Example]
    labels: tuple[str, ...] | None
    """The options when they are the same for every row, else None."""
    num_cut: int
    """Prompts that were too long and lost their left end."""
    digest: str
    """SHA-256 over rows, places, tokenizer and length."""


def encode_splits(
    splits: Splits,
    tokenizer: Any,
    *,
    kind: Kind,
    max_tokens: int,
    tokenizer_digest: str,
    cache_dir: Path | None = None,
) -> EncodedSplits:
    """Encode the splits of a task, or read them from the cache.

    Args:
        splits: rows.
        tokenizer: a tokenizer of transformers.
        kind: of the base.
        max_tokens: longest prompt with its answer and end-of-sequence (an encoder's: special tokens).
        tokenizer_digest: names the tokenizer in the cache.
        cache_dir: where encoded sets are kept; None keeps nothing.

    Raises:
        SpecError: answers too long for `max_tokens`, or an encoder with options that vary.
    """
    if kind == "encoder" and splits.labels is None:
        raise SpecError(
            "An encoder needs the same options in every row, which this task does not have: "
            "choose another task or a causal language model."
        )
    facts = [ENCODING_VERSION, splits.digest, tokenizer_digest, kind, max_tokens]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    path = cache_dir / f"{digest}.tokens" if cache_dir else None
    bounds = np.cumsum([0, *(len(getattr(splits, name)) for name in SPLIT_NAMES)]).tolist()
    cached = _read(path) if path else None
    if cached is None or len(cached[0]) != bounds[-1]:
        rows = [row for name in SPLIT_NAMES for row in getattr(splits, name)]
        packed = _packed(*_encode(rows, tokenizer, kind, max_tokens))
        if path:
            _write(path, packed)
        cached = (path and _read(path)) or _opened(packed)
    examples, num_cut = cached
    return EncodedSplits(
        train=examples.between(bounds[0], bounds[1]),
        select=examples.between(bounds[1], bounds[2]),
        report=examples.between(bounds[2], bounds[3]),
        labels=splits.labels,
        num_cut=num_cut,
        digest=digest,
    )


def encode_rows(rows: Sequence[Row], tokenizer: Any, *, kind: Kind, max_tokens: int) -> tuple[Example, ...]:
    """Rows in tokens, as `encode_splits` makes them, without a cache.

    Args:
        rows: one or more.
        tokenizer: a tokenizer of transformers.
        kind: of the base.
        max_tokens: longest prompt with its answer and end-of-sequence (an encoder's: special tokens).

    Raises:
        SpecError: answers too long for `max_tokens`.
    """
    examples, _ = _encode(rows, tokenizer, kind, max_tokens)
    return tuple(examples)


def _encode(rows: Sequence[Row], tokenizer: Any, kind: Kind, max_tokens: int) -> tuple[list[Example], int]:
    """Examples of the rows and how many prompts were cut."""
    prefix, suffix = _special_ids(tokenizer)
    prompts = _ids(tokenizer, [row.prompt for row in rows])
    if kind == "encoder":
        limit = min(max_tokens, int(tokenizer.model_max_length))
        room = limit - len(prefix) - len(suffix)
        examples = [
            Example(prompt_ids=(*prefix, *ids[-room:], *suffix), option_ids=(), answer=row.answer)
            for row, ids in zip(rows, prompts, strict=True)
        ]
        return examples, sum(len(ids) > room for ids in prompts)
    options = _option_ids(rows, prompts, tokenizer)
    longest = max(len(ids) for row_options in options for ids in row_options)
    room = max_tokens - len(prefix) - longest - 1
    if room < 1:
        raise SpecError(
            f"task.max_tokens {max_tokens} leaves no room for a prompt beside the longest answer, "
            f"of {longest} tokens: raise it to {longest + len(prefix) + 32} or more."
        )
    examples = [
        Example(prompt_ids=(*prefix, *ids[-room:]), option_ids=row_options, answer=row.answer)
        for row, ids, row_options in zip(rows, prompts, options, strict=True)
    ]
    return examples, sum(len(ids) > room for ids in prompts)


def _option_ids(
    rows: Sequence[Row], prompts: Sequence[Sequence[int]], tokenizer: Any
) -> list[tuple[tuple[int, ...], ...]]:
    """Each option's tokens as they follow the prompt.

    They are encoded together. Where their border melts into one token, the option is encoded alone.
    """
    joint = iter(_ids(tokenizer, [row.prompt + option for row in rows for option in row.options]))
    result = []
    for row, prompt in zip(rows, prompts, strict=True):
        ids = []
        for option in row.options:
            both = next(joint)
            follows = list(both[: len(prompt)]) == list(prompt) and len(both) > len(prompt)
            ids.append(tuple(both[len(prompt) :]) if follows else tuple(_ids(tokenizer, [option])[0]))
        result.append(tuple(ids))
    return result


def _ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of texts, without special ones."""
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)
    return [list(ids) for ids in encoded["input_ids"]]


def _special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after a text by itself."""
    plain = _ids(tokenizer, ["a"])[0]
    full = list(tokenizer("a")["input_ids"])
    start = next(index for index in range(len(full)) if full[index : index + len(plain)] == plain)
    return full[:start], full[start + len(plain) :]


def _packed(examples: Sequence[Example], num_cut: int) -> NDArray[np.int32]:
    """A set in one array: how many rows there are, how many prompts were cut, the rows' starts, the rows."""
    rows = [
        [
            example.answer,
            *(item for ids in (example.prompt_ids, *example.option_ids) for item in (len(ids), *ids)),
        ]
        for example in examples
    ]
    starts = np.cumsum([0, *(len(row) for row in rows)])
    tokens = [item for row in rows for item in row]
    return np.array([len(rows), num_cut, *starts, *tokens], dtype=np.int32)


def _unpacked(row: Sequence[int]) -> Example:
    """The example of a packed row."""
    pieces, place = [], 1
    while place < len(row):
        end = place + 1 + row[place]
        pieces.append(tuple(row[place + 1 : end]))
        place = end
    return Example(prompt_ids=pieces[0], option_ids=tuple(pieces[1:]), answer=row[0])


def _opened(packed: NDArray[np.int32]) -> tuple[Examples, int]:
    """The rows of a packed set, in place, and how many prompts were cut."""
    num_rows, num_cut = packed[:2].tolist()
    starts, tokens = np.split(packed[2:], [num_rows + 1])
    return Examples(tokens, starts), num_cut


def _write(path: Path, packed: NDArray[np.int32]) -> None:
    """Write a packed set behind its checksum, in one step."""
    content = packed.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
        file.write(hashlib.sha256(content).digest() + content)
    Path(file.name).replace(path)


def _read(path: Path) -> tuple[Examples, int] | None:
    """A cached set, mapped into memory; None when there is none or the file is damaged."""
    try:
        content = np.memmap(path, dtype=np.int32, mode="r").view(np.ndarray)
    except (OSError, ValueError):
        return None
    checksum, packed = np.split(content, [CHECKSUM_BYTES // content.itemsize])
    if hashlib.sha256(packed.data).digest() != checksum.tobytes():
        return None
    return _opened(packed)
