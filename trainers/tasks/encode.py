"""Rows as token numbers, cut to length and cached on disk.

A prompt that is too long is cut on its left; an answer never is. Options are encoded as they follow the
prompt, without the end-of-sequence token, which the objective appends. An encoder reads the prompt alone
and has the option's index for a label.
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.errors import SpecError
from trainers.model_folder import Kind
from trainers.tasks.rows import Row
from trainers.tasks.splits import Splits

ENCODING_VERSION = 1
"""Raised when the same rows become other tokens, so that cached sets are made anew."""

SPLIT_NAMES = ("train", "select", "report")


@dataclass(frozen=True, kw_only=True)
class Example:
    """A row in tokens."""

    prompt_ids: tuple[int, ...]
    """The prompt, with the tokenizer's beginning token, if any (an encoder's: all special tokens)."""
    option_ids: tuple[tuple[int, ...], ...]
    """Tokens of each option, without end-of-sequence; empty for an encoder."""
    answer: int
    """Index of the right option: an encoder's label."""


@dataclass(frozen=True, kw_only=True)
class EncodedSplits:
    """The splits of a task in tokens."""

    train: tuple[Example, ...]
    select: tuple[Example, ...]
    report: tuple[Example, ...]
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
    path = cache_dir / f"{digest}.npz" if cache_dir else None
    sizes = tuple(len(getattr(splits, name)) for name in SPLIT_NAMES)
    cached = _read(path) if path else None
    if cached is None or len(cached[0]) != sum(sizes):
        rows = [row for name in SPLIT_NAMES for row in getattr(splits, name)]
        cached = _encode(rows, tokenizer, kind, max_tokens)
        if path:
            _write(path, *cached)
    examples, num_cut = cached
    train, select = examples[: sizes[0]], examples[sizes[0] : sizes[0] + sizes[1]]
    return EncodedSplits(
        train=tuple(train),
        select=tuple(select),
        report=tuple(examples[sizes[0] + sizes[1] :]),
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


def _write(path: Path, examples: Sequence[Example], num_cut: int) -> None:
    """Write examples as flat arrays, in one step."""
    prompts = [example.prompt_ids for example in examples]
    options = [ids for example in examples for ids in example.option_ids]
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
        np.savez(
            file,
            prompt_ids=_flat(prompts),
            prompt_lengths=_lengths(prompts),
            option_ids=_flat(options),
            option_lengths=_lengths(options),
            num_options=_lengths([example.option_ids for example in examples]),
            answers=np.array([example.answer for example in examples], dtype=np.int32),
            num_cut=np.array(num_cut),
        )
    Path(file.name).replace(path)


def _read(path: Path) -> tuple[list[Example], int] | None:
    """The cached examples; None when there are none or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            prompts = _pieces(arrays["prompt_ids"], arrays["prompt_lengths"])
            options = iter(_pieces(arrays["option_ids"], arrays["option_lengths"]))
            counts, answers = arrays["num_options"].tolist(), arrays["answers"].tolist()
            num_cut = int(arrays["num_cut"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    examples = [
        Example(prompt_ids=prompt, option_ids=tuple(next(options) for _ in range(count)), answer=answer)
        for prompt, count, answer in zip(prompts, counts, answers, strict=True)
    ]
    return examples, num_cut


def _flat(sequences: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    return np.array([item for sequence in sequences for item in sequence], dtype=np.int32)


def _lengths(sequences: Sequence[Sequence[Any]]) -> NDArray[np.int32]:
    return np.array([len(sequence) for sequence in sequences], dtype=np.int32)


def _pieces(flat: NDArray[np.int32], lengths: NDArray[np.int32]) -> list[tuple[int, ...]]:
    bounds = np.cumsum(lengths)[:-1]
    return [tuple(piece.tolist()) for piece in np.split(flat, bounds)] if len(lengths) else []
