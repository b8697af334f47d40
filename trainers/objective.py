"""Loss and accuracy of a model on encoded rows.

A causal model reads prompt and answer and is judged on the answer's tokens and the end of sequence, by the
mean negative log-likelihood in nats. Logits are needed at the last positions only (`logits_to_keep`), which
saves most of the product with the vocabulary. An encoder is judged by its head's cross entropy.

Shapes: B rows, T positions, K positions with a target, V words.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainers.batches import (
    Batch,
    Facts,
    causal_batch,
    encoder_batch,
    length_batches,
    make_batch,
    repeated,
)
from trainers.moe_lora import routing_ignored, set_token_mask
from trainers.tasks import Example

__all__ = [
    "Batch",
    "Evaluation",
    "Facts",
    "Scoring",
    "evaluate",
    "evaluate_lanes",
    "loss_sums",
    "make_batch",
    "target_losses",
    "training_loss",
]

Scoring = Literal["likelihood", "generate"]

_LEAST_POSITIONS = 4
"""Of a pass: fewer rows are multiplied with the vocabulary by another kernel, whose last bits differ."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Scores on a split."""

    loss_nats: float
    """Mean over the supervised tokens of all rows, end of sequence included; an encoder's over rows."""
    accuracy: float
    """Fraction of rows whose right option is ranked first, or generated; n options that tie give 1/n."""
    num_rows: int


@dataclass(kw_only=True)
class _Sums:
    """Running sums of an evaluation."""

    loss_nats: float = 0.0
    num_targets: int = 0
    credit: float = 0.0

    def evaluation(self, num_rows: int) -> Evaluation:
        """The scores that they come to."""
        return Evaluation(
            loss_nats=self.loss_nats / self.num_targets, accuracy=self.credit / num_rows, num_rows=num_rows
        )


@dataclass(frozen=True, kw_only=True)
class _Sequence:
    """One pass's row: a prompt with one of its options."""

    row: int
    """Index of the example."""
    option: int
    """Index of the option."""
    prompt_ids: tuple[int, ...]
    option_ids: tuple[int, ...]
    scores_all: bool
    """Whether the first answer position ranks every option, since each is one token."""


def training_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """Sum of the negative log-likelihoods of a batch's targets, and how many there are.

    The batch's mask stays with the MoE-LoRA layers until the next pass, for a load-balancing loss.

    Args:
        model: a causal model or an encoder with a head, with or without adapters.
        batch: from `make_batch` for this kind of model.

    Returns:
        The sum in nats, differentiable, and the number of targets.
    """
    return loss_sums(target_losses(model, batch), 1).squeeze(0), int(batch.target_mask.sum())


def loss_sums(losses: Tensor, num_lanes: int) -> Tensor:
    """Each lane's sum of the losses in its rows, (L,); in double where there is one, so that padding does not show.

    Args:
        losses: of `target_losses`, the rows of a lane together.
        num_lanes: L.
    """
    wide = losses.dtype if losses.device.type == "mps" else torch.float64
    return losses.view(num_lanes, -1).sum(1, dtype=wide)


def target_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Negative log-likelihoods in nats, float32 and differentiable, zero where there is no target.

    Args:
        model: as for `training_loss`.
        batch: as for `training_loss`.

    Returns:
        Shaped as the batch's targets.
    """
    return _losses(_logits(model, batch), batch)


def evaluate(
    model: nn.Module,
    examples: Sequence[Example],
    facts: Facts,
    *,
    rows_per_batch: int | None = None,
    scoring: Scoring = "likelihood",
) -> Evaluation:
    """Loss and accuracy, by forward passes only; rows of similar length go together.

    Options of one token each are ranked in the pass that gives the loss. Longer options are ranked by the sum
    of their tokens' log-likelihoods, end of sequence excluded, with a row for each.

    Args:
        model: in evaluation mode, or its dropout counts.
        examples: one or more rows.
        facts: kind, tokens and device of the base.
        rows_per_batch: rows of a pass; None: as many as make about 1,024 tokens (16 times that on a GPU).
        scoring: `likelihood` ranks the options, `generate` decodes greedily; an encoder always ranks.
    """
    with torch.inference_mode(), _mask_removed(model):
        if facts.kind == "encoder":
            sums = _evaluate_encoder(model, examples, facts, rows_per_batch)
        else:
            (sums,) = _evaluate_causal(model, examples, facts, rows_per_batch=rows_per_batch)
            if scoring == "generate":
                set_token_mask(model, None)
                with routing_ignored(model):
                    (sums.credit,) = _generated_credits(model, examples, facts, rows_per_batch=rows_per_batch)
    return sums.evaluation(len(examples))


def evaluate_lanes(
    model: nn.Module,
    examples: Sequence[Example],
    facts: Facts,
    num_lanes: int,
    *,
    prepare: Callable[[Tensor | None], None],
    scoring: Scoring = "likelihood",
) -> list[Evaluation]:
    """`evaluate` for a causal base under the adapters of several lanes, each on the same rows.

    Args:
        model: reads the rows of every lane one after the other.
        examples: one or more rows.
        facts: tokens and device of the base.
        num_lanes: how many lanes there are.
        prepare: told of the attention mask of each pass before it, with the rows of all lanes; of None before answers
            are generated, whose tokens count in no statistics.
        scoring: as for `evaluate`.

    Returns:
        Each lane's scores: its passes have the rows that they have alone.
    """
    with torch.inference_mode():
        sums = _evaluate_causal(model, examples, facts, num_lanes=num_lanes, prepare=prepare)
        if scoring == "generate":
            prepare(None)
            generated = _generated_credits(model, examples, facts, num_lanes=num_lanes)
            for own, credit in zip(sums, generated, strict=True):
                own.credit = credit
    return [one.evaluation(len(examples)) for one in sums]


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    """(B, K, V) in float32 at the last K positions; an encoder's (B, labels)."""
    set_token_mask(model, batch.attention_mask)
    if batch.position_ids is None:
        logits: Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        return logits.float()
    width = batch.targets.shape[1]
    num_rows, length = batch.input_ids.shape
    kept = min(length, max(width, math.ceil(_LEAST_POSITIONS / num_rows)))
    # As indices: a slice would stay a view, which the product with the vocabulary copies its weights for.
    last = torch.arange(length - kept, length, device=batch.input_ids.device)
    wanted = {"position_ids": batch.position_ids, "logits_to_keep": last, "use_cache": False}
    options = {name: value for name, value in wanted.items() if name in _accepted(model)}
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **options).logits
    return logits[:, -width:].float()


def _accepted(model: nn.Module) -> frozenset[str]:
    """What the forward pass of the base, under any adapters, accepts."""
    base = getattr(model, "get_base_model", None)
    forward = (base() if callable(base) else model).forward
    return _parameters(getattr(forward, "__func__", forward))


@lru_cache
def _parameters(forward: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(forward).parameters)


def _losses(logits: Tensor, batch: Batch) -> Tensor:
    """Negative log-likelihoods shaped as the targets, zero where there is none."""
    losses = cross_entropy(logits.flatten(0, -2), batch.targets.flatten(), reduction="none")
    return losses.view(batch.targets.shape).masked_fill(~batch.target_mask, 0.0)


@contextmanager
def _mask_removed(model: nn.Module) -> Iterator[None]:
    """Leave no batch's mask behind for passes of another shape."""
    try:
        yield
    finally:
        set_token_mask(model, None)


def _evaluate_encoder(
    model: nn.Module, examples: Sequence[Example], facts: Facts, rows_per_batch: int | None
) -> _Sums:
    sums = _Sums()
    for chunk in length_batches([len(example.prompt_ids) for example in examples], facts, rows_per_batch):
        batch = encoder_batch([examples[index] for index in chunk], facts)
        logits = _logits(model, batch)
        sums.loss_nats += _losses(logits, batch).sum().item()
        sums.num_targets += len(chunk)
        for scores, index in zip(logits.tolist(), chunk, strict=True):
            sums.credit += _credit(scores, examples[index].answer)
    return sums


def _evaluate_causal(
    model: nn.Module,
    examples: Sequence[Example],
    facts: Facts,
    *,
    rows_per_batch: int | None = None,
    num_lanes: int = 1,
    prepare: Callable[[Tensor | None], None] = lambda _: None,
) -> list[_Sums]:
    """The right answers' loss, and every option's log-likelihood, under the adapters of each lane."""
    sums = [_Sums() for _ in range(num_lanes)]
    scores = [[[0.0] * len(example.option_ids) for example in examples] for _ in range(num_lanes)]
    sequences = [sequence for row, example in enumerate(examples) for sequence in _sequences(row, example)]
    lengths = [len(sequence.prompt_ids) + len(sequence.option_ids) for sequence in sequences]
    for chunk in length_batches(lengths, facts, rows_per_batch):
        members = [sequences[index] for index in chunk]
        pairs = [(member.prompt_ids, member.option_ids) for member in members]
        batch = repeated(causal_batch(pairs, facts), num_lanes)
        prepare(batch.attention_mask)
        for own, own_scores, told in zip(
            sums, scores, _told(_logits(model, batch), batch, members, examples, num_lanes), strict=True
        ):
            for member, (loss_nats, answer_nats, ranked) in zip(members, told, strict=True):
                if member.option == examples[member.row].answer:
                    own.loss_nats += loss_nats
                    own.num_targets += len(member.option_ids) + 1
                if member.scores_all:
                    own_scores[member.row] = ranked
                else:
                    own_scores[member.row][member.option] = -answer_nats
    for own, own_scores in zip(sums, scores, strict=True):
        own.credit = sum(_credit(row, one.answer) for row, one in zip(own_scores, examples, strict=True))
    return sums


def _told(
    logits_NKV: Tensor,
    batch: Batch,
    members: Sequence[_Sequence],
    examples: Sequence[Example],
    num_lanes: int,
) -> list[list[tuple[float, float, list[float]]]]:
    """What a pass says of each lane's rows; the N rows of all lanes stand lane by lane.

    A row's loss in nats with the end of sequence, its loss without, and the logits of the first tokens of its options.
    """
    losses_NK = _losses(logits_NKV, batch)
    first_ids = [
        torch.tensor([ids[0] if ids else 0 for ids in examples[member.row].option_ids]) for member in members
    ]
    options_NO = nn.utils.rnn.pad_sequence(first_ids, batch_first=True).repeat(num_lanes, 1)
    ranked_NO = logits_NKV[:, -2].gather(-1, options_NO.to(logits_NKV.device))
    told = [
        (loss, answer, ranked[: len(examples[member.row].option_ids)])
        for loss, answer, ranked, member in zip(
            losses_NK.sum(-1).tolist(),
            losses_NK[:, :-1].sum(-1).tolist(),
            ranked_NO.tolist(),
            [*members] * num_lanes,
            strict=True,
        )
    ]
    return [told[start : start + len(members)] for start in range(0, len(told), len(members))]


def _sequences(row: int, example: Example) -> list[_Sequence]:
    """The right answer alone where options are single tokens, else a sequence for each option."""
    single = all(len(ids) == 1 for ids in example.option_ids)
    options = [example.answer] if single else range(len(example.option_ids))
    return [
        _Sequence(
            row=row,
            option=option,
            prompt_ids=example.prompt_ids,
            option_ids=example.option_ids[option],
            scores_all=single,
        )
        for option in options
    ]


def _credit(scores: Sequence[float], answer: int) -> float:
    """1 when the right option alone is best, 1/n when n tie for best, else 0 (also when a score is NaN)."""
    best = max(scores)
    if scores[answer] != best or any(score != score for score in scores):  # noqa: PLR0124 (NaN)
        return 0.0
    return 1 / scores.count(best)


def _generated_credits(
    model: Any,
    examples: Sequence[Example],
    facts: Facts,
    *,
    rows_per_batch: int | None = None,
    num_lanes: int = 1,
) -> list[float]:
    """How many right options a greedy decoding begins with in each lane; prompts of one length go together, unpadded.

    As many tokens are generated as the longest option has, past the end of an answer too: no lane's passes depend on
    where its neighbours' answers end, and what follows an answer is not looked at.
    """
    generate: Callable[..., Tensor] = model.generate
    by_length: dict[int, list[Example]] = {}
    for example in examples:
        by_length.setdefault(len(example.prompt_ids), []).append(example)
    found = [0.0] * num_lanes
    for group in by_length.values():
        for chunk in length_batches([len(example.prompt_ids) for example in group], facts, rows_per_batch):
            members = [group[index] for index in chunk]
            prompts = torch.tensor([one.prompt_ids for one in members] * num_lanes, device=facts.device)
            output = generate(
                input_ids=prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=max(len(ids) for member in members for ids in member.option_ids),
                do_sample=False,
                pad_token_id=facts.pad_id,
                eos_token_id=None,
            )
            for number, tokens in enumerate(output[:, prompts.shape[1] :].tolist()):
                lane, place = divmod(number, len(members))
                found[lane] += float(_said(tokens, members[place]) == members[place].answer)
    return found


def _said(tokens: Sequence[int], example: Example) -> int | None:
    """The longest option that generated tokens begin with."""
    said = [
        index
        for index, ids in enumerate(example.option_ids)
        if tuple(tokens[: len(ids)]) == ids and len(ids) > 0
    ]
    return max(said, key=lambda index: len(example.option_ids[index]), default=None)
