"""Encoded rows as padded tensors on a device.

A causal model's rows are padded on the left, so that answers end together; an encoder's on the right.

Shapes: B rows, T positions, K positions with a target.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from trainers.model_folder import Kind
from trainers.tasks import Example

TOKENS_PER_BATCH = 1024
"""Padded tokens of an evaluation's batch on a CPU."""

GPU_FACTOR = 16
"""How many times as many tokens a GPU is given at once."""

BUCKET = 32
"""Positions in which the width of a training batch grows, so that most batches have one of a few widths."""


class Facts(Protocol):
    """What batches must know of a base; `Foundation` has it."""

    @property
    def kind(self) -> Kind:
        """Causal model or encoder."""

    @property
    def pad_id(self) -> int:
        """Token of the padding."""

    @property
    def eos_id(self) -> int:
        """Token that ends an answer."""

    @property
    def device(self) -> torch.device:
        """Where batches go."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of tokens on a device."""

    input_ids: Tensor
    """(B, T)."""
    attention_mask: Tensor
    """(B, T), 1 at real tokens."""
    position_ids: Tensor | None
    """(B, T), counted from a row's first real token; None for an encoder."""
    targets: Tensor
    """(B, K): what the last K positions must predict; an encoder's labels, (B,)."""
    target_mask: Tensor
    """Shaped as the targets, true where there is one."""


def bucketed_width(examples: Sequence[Example], max_tokens: int) -> int:
    """Positions of a training batch of a causal model: the longest row's, rounded up to a bucket.

    Args:
        examples: one or more rows.
        max_tokens: longest prompt with its answer and end of sequence, which is never read; the width stays below.
    """
    longest = max(len(one.prompt_ids) + len(one.option_ids[one.answer]) for one in examples)
    return max(longest, min(-(-longest // BUCKET) * BUCKET, max_tokens - 1))


def make_batch(examples: Sequence[Example], facts: Facts, width: int = 0) -> Batch:
    """Rows with their right answers, for training.

    Args:
        examples: one or more rows.
        facts: kind, tokens and device of the base.
        width: least number of positions of a causal model's rows.
    """
    if facts.kind == "encoder":
        return encoder_batch(examples, facts)
    pairs = [(example.prompt_ids, example.option_ids[example.answer]) for example in examples]
    return causal_batch(pairs, facts, width)


def causal_batch(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], facts: Facts, width: int = 0) -> Batch:
    """Prompts with the answers that follow them; the last position predicts the end of sequence.

    Args:
        pairs: tokens of a prompt and of its answer.
        facts: tokens and device of the base.
        width: least number of positions.
    """
    rows = [[*prompt, *answer] for prompt, answer in pairs]
    targets = [[*answer, facts.eos_id] for _, answer in pairs]
    attention_mask = _align_right([[1] * len(row) for row in rows], 0, width)
    target_mask = _align_right([[1] * len(row) for row in targets], 0)
    return Batch(
        input_ids=_align_right(rows, facts.pad_id, width).to(facts.device),
        attention_mask=attention_mask.to(facts.device),
        position_ids=(attention_mask.cumsum(dim=1) - 1).clamp_min(0).to(facts.device),
        targets=_align_right(targets, facts.pad_id).to(facts.device),
        target_mask=target_mask.bool().to(facts.device),
    )


def encoder_batch(examples: Sequence[Example], facts: Facts) -> Batch:
    """Prompts with their labels."""
    rows = [torch.tensor(example.prompt_ids) for example in examples]
    mask = [torch.ones_like(row) for row in rows]
    pad = nn.utils.rnn.pad_sequence
    return Batch(
        input_ids=pad(rows, batch_first=True, padding_value=facts.pad_id).to(facts.device),
        attention_mask=pad(mask, batch_first=True).to(facts.device),
        position_ids=None,
        targets=torch.tensor([example.answer for example in examples], device=facts.device),
        target_mask=torch.ones(len(examples), dtype=torch.bool, device=facts.device),
    )


def repeated(batch: Batch, times: int) -> Batch:
    """The same rows several times over, one after the other."""
    if times == 1:
        return batch
    return Batch(
        input_ids=batch.input_ids.repeat(times, 1),
        attention_mask=batch.attention_mask.repeat(times, 1),
        position_ids=None if batch.position_ids is None else batch.position_ids.repeat(times, 1),
        targets=batch.targets.repeat(times, *[1] * (batch.targets.ndim - 1)),
        target_mask=batch.target_mask.repeat(times, *[1] * (batch.target_mask.ndim - 1)),
    )


def length_batches(lengths: Sequence[int], facts: Facts, rows_per_batch: int | None) -> Iterator[list[int]]:
    """Indices of rows in batches of similar length, longest first.

    Args:
        lengths: tokens of each row.
        facts: the device decides how many tokens a batch has.
        rows_per_batch: rows of a batch instead.
    """
    budget = TOKENS_PER_BATCH * (1 if facts.device.type == "cpu" else GPU_FACTOR)
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        size = rows_per_batch or max(1, budget // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def _align_right(rows: Sequence[Sequence[int]], fill: int, width: int = 0) -> Tensor:
    """(B, T): rows that end together, filled on the left."""
    width = max(width, *(len(row) for row in rows))
    return torch.tensor([[fill] * (width - len(row)) + list(row) for row in rows])
