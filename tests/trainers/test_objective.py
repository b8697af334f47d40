"""Batched, padded, cheap losses against plain ones: a row at a time, unpadded, with all logits."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor

from trainers.foundation import Foundation, load_foundation
from trainers.moe_lora import MoeLoraConfig, initialize, moe_lora_layers, routing_statistics
from trainers.objective import evaluate, make_batch, training_loss
from trainers.tasks import Example, Row, Splits, encode_splits
from trainers.workload import Base

TEXTS = (
    "Review: a film of great charm, warm and funny, with a fine cast.\nSentiment:",
    "Review: dull.\nSentiment:",
    "It is true that it is not false; one two three:",
    "The quick brown fox",
    "Which one?",
)
SINGLE = (" negative", " positive")
MIXED = (" negative", " no idea at all", " maybe positive")


def encoded(foundation: Foundation, options: tuple[str, ...] = SINGLE) -> tuple[Example, ...]:
    rows = tuple(
        Row(prompt=text, options=options, answer=number % len(options)) for number, text in enumerate(TEXTS)
    )
    done = encode_splits(
        Splits(train=rows, select=rows[:1], report=rows[:1], digest="d"),
        foundation.tokenizer,
        kind=foundation.kind,
        max_tokens=64,
        tokenizer_digest=foundation.tokenizer_digest,
    )
    return done.train


@pytest.fixture(scope="module")
def llama(llama_dir: Path) -> Foundation:
    return load_foundation(Base(model=f"path:{llama_dir}", dtype="float32"), Path("/nonexistent"))


@pytest.fixture(scope="module")
def bert(bert_dir: Path) -> Foundation:
    return load_foundation(
        Base(model=f"path:{bert_dir}", dtype="float32"), Path("/nonexistent"), num_labels=2
    )


def log_likelihoods(foundation: Foundation, prompt: tuple[int, ...], answer: tuple[int, ...]) -> Tensor:
    """Of the answer's tokens and the end of sequence, from all logits of one unpadded row."""
    targets = torch.tensor([*answer, foundation.eos_id])
    logits = foundation.model(torch.tensor([[*prompt, *answer]])).logits[0]
    return torch.log_softmax(logits[len(prompt) - 1 :], dim=-1).gather(1, targets[:, None])[:, 0]


@pytest.mark.parametrize("options", [SINGLE, MIXED])
def test_the_padded_loss_is_the_sum_of_the_plain_ones(llama: Foundation, options: tuple[str, ...]):
    examples = encoded(llama, options)
    with torch.no_grad():
        loss, num_targets = training_loss(llama.model, make_batch(examples, llama))
        plain = [
            log_likelihoods(llama, example.prompt_ids, example.option_ids[example.answer])
            for example in examples
        ]
    assert num_targets == sum(len(row) for row in plain)
    expected = -sum(row.double().sum() for row in plain)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [SINGLE, MIXED])
def test_logits_are_made_at_the_answers_alone(llama: Foundation, options: tuple[str, ...]):
    examples, seen = encoded(llama, options), []
    head = llama.model.get_output_embeddings()
    hook = head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    try:
        training_loss(llama.model, make_batch(examples, llama))
        evaluate(llama.model, examples, llama)
    finally:
        hook.remove()
    longest = max(len(ids) for example in examples for ids in example.option_ids) + 1
    assert max(len(example.prompt_ids) for example in examples) > longest + 4
    assert seen
    assert all(positions <= max(longest, 4) for positions in seen)


def test_micro_batches_give_the_gradient_of_the_whole(llama_dir: Path):
    foundation = load_foundation(Base(model=f"path:{llama_dir}", dtype="float32"), Path("/nonexistent"))
    weight = foundation.model.model.layers[0].self_attn.q_proj.weight.requires_grad_()
    examples = encoded(foundation)
    (whole,) = torch.autograd.grad(
        training_loss(foundation.model, make_batch(examples, foundation))[0], weight
    )
    pieces = [
        torch.autograd.grad(training_loss(foundation.model, make_batch(piece, foundation))[0], weight)[0]
        for piece in (examples[:2], examples[2:])
    ]
    torch.testing.assert_close(sum(pieces), whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rows_per_batch", [None, 1, 2])
@pytest.mark.parametrize("options", [SINGLE, MIXED])
def test_an_evaluation_is_what_plain_passes_say(
    llama: Foundation, options: tuple[str, ...], rows_per_batch: int | None
):
    examples = encoded(llama, options)
    losses, num_right = [], 0
    with torch.no_grad():
        for example in examples:
            rows = [log_likelihoods(llama, example.prompt_ids, ids) for ids in example.option_ids]
            scores = [row[:-1].sum().item() for row in rows]  # without end of sequence
            losses += (-rows[example.answer]).tolist()
            num_right += scores.index(max(scores)) == example.answer
    scored = evaluate(llama.model, examples, llama, rows_per_batch=rows_per_batch)
    assert scored.loss_nats == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert scored.accuracy == num_right / len(examples)
    assert scored.num_rows == len(examples)


def test_a_model_that_knows_nothing_has_the_entropy_of_its_vocabulary_and_the_accuracy_of_chance(
    llama_dir: Path,
):
    blank = load_foundation(Base(model=f"path:{llama_dir}", dtype="float32"), Path("/nonexistent"))
    with torch.no_grad():
        blank.model.lm_head.weight.zero_()
    scored = evaluate(blank.model, encoded(blank), blank)
    assert scored.loss_nats == pytest.approx(math.log(blank.model.config.vocab_size), rel=1e-6)
    assert scored.accuracy == 0.5
    three = [replace(example, option_ids=((5,), (6,), (7,))) for example in encoded(blank)]
    assert evaluate(blank.model, three, blank).accuracy == pytest.approx(1 / 3)


def test_a_broken_model_scores_nothing(llama_dir: Path):
    broken = load_foundation(Base(model=f"path:{llama_dir}", dtype="float32"), Path("/nonexistent"))
    with torch.no_grad():
        broken.model.model.norm.weight.fill_(torch.nan)
    scored = evaluate(broken.model, encoded(broken), broken)
    assert math.isnan(scored.loss_nats)
    assert scored.accuracy == 0


def test_an_encoder_is_judged_by_cross_entropy(bert: Foundation):
    examples = encoded(bert)
    with torch.no_grad():
        logits = torch.cat([bert.model(torch.tensor([example.prompt_ids])).logits for example in examples])
        loss, num_rows = training_loss(bert.model, make_batch(examples, bert))
    labels = torch.tensor([example.answer for example in examples])
    expected = torch.nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(loss / num_rows, expected.double(), rtol=1e-5, atol=1e-6)
    scored = evaluate(bert.model, examples, bert, rows_per_batch=2)
    assert scored.loss_nats == pytest.approx(expected.item(), rel=1e-5)
    assert scored.accuracy == sum(logits.argmax(dim=-1) == labels).item() / len(examples)


def test_generated_answers_are_those_of_greedy_decoding(llama: Foundation):
    examples = encoded(llama)
    said = []
    for example in examples:
        output = llama.model.generate(
            torch.tensor([example.prompt_ids]), max_new_tokens=1, do_sample=False, pad_token_id=2
        )
        said.append((int(output[0, -1]),))
    answered = [
        replace(example, option_ids=(token, (1, 1)), answer=number % 2)
        for number, (example, token) in enumerate(zip(examples, said, strict=True))
    ]
    scored = evaluate(llama.model, answered, llama, scoring="generate")
    assert scored.accuracy == 3 / 5  # every other row calls the generated token wrong


def adapted(foundation: Foundation, **options: Any) -> Any:
    config = MoeLoraConfig(
        num_experts=3, top_k=2, r=2, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], **options
    )
    model = get_peft_model(foundation.model, config)
    initialize(model, 0)
    return model


def test_padding_is_not_counted_among_routed_tokens(llama_dir: Path):
    foundation = load_foundation(Base(model=f"path:{llama_dir}", dtype="float32"), Path("/nonexistent"))
    examples = encoded(foundation)
    model = adapted(foundation).eval()
    with routing_statistics(model) as padded:
        evaluate(model, examples, foundation, rows_per_batch=len(examples))
    with routing_statistics(model) as alone:
        evaluate(model, examples, foundation, rows_per_batch=1)
    assert padded.gate_entropy_nats == pytest.approx(alone.gate_entropy_nats, rel=1e-5)
    torch.testing.assert_close(padded.expert_load_frac, alone.expert_load_frac, rtol=0, atol=1e-6)
    assert all(layer.token_mask is None for layer in moe_lora_layers(model))


def test_generated_tokens_are_not_counted_among_routed_ones(llama_dir: Path):
    foundation = load_foundation(Base(model=f"path:{llama_dir}", dtype="float32"), Path("/nonexistent"))
    examples = encoded(foundation, MIXED)
    model = adapted(foundation).eval()
    with routing_statistics(model) as ranked:
        evaluate(model, examples, foundation)
    with routing_statistics(model) as generated:
        evaluate(model, examples, foundation, scoring="generate")
    assert generated.metrics(0, 3) == ranked.metrics(0, 3)


def test_adapters_start_as_the_identity_and_learn(llama_dir: Path):
    foundation = load_foundation(Base(model=f"path:{llama_dir}", dtype="bfloat16"), Path("/nonexistent"))
    examples = encoded(foundation)
    before = evaluate(foundation.model, examples, foundation)
    model = adapted(foundation)
    assert evaluate(model.eval(), examples, foundation) == before
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=3e-2)
    for _ in range(40):
        loss, num_targets = training_loss(model, make_batch(examples, foundation))
        (loss / num_targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = evaluate(model.eval(), examples, foundation)
    assert after.loss_nats < before.loss_nats - 0.3
    assert (before.accuracy, after.accuracy) == (0.4, 1.0)
