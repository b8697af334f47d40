"""Robustness at inference: a trained adapter scored again while something about it is disturbed.

Nothing is trained, and everything is put back: the weights after a perturbation are those before it, to the bit.
What is random derives by SHA-256 from the trial's seed and the perturbation, never from the worker or the clock.

Dimensions: L lanes, T tokens, E experts.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.designs import derived_seed
from trainers.adapter import AttachedAdapter
from trainers.moe_lora import MoeLoraLayer, adapter_parameters, moe_lora_layers, replaced_gating
from trainers.moe_lora.experts import Gating
from trainers.moe_lora.gating import top_k_gates
from trainers.objective import Evaluation
from trainers.perturbation_kinds import Perturbation
from trainers.tasks import Example, Row, encode_rows
from trainers.workbench import Workbench


def perturbed_scores(
    adapter: AttachedAdapter, workbench: Workbench, perturbations: Sequence[Perturbation], *, seed: int
) -> dict[str, float]:
    """Scores on the report split under each perturbation.

    Args:
        adapter: trained, on the base of `workbench`; left as it was.
        workbench: base and text.
        perturbations: what to disturb, one at a time.
        seed: the trial's seed.

    Returns:
        `perturbed.<name>.loss` in nats and `perturbed.<name>.accuracy`. A perturbation that is impossible here
        (a top-k of 0, or above the number of experts) is absent, and so is one whose loss is not finite.
    """
    found: dict[str, float] = {}
    for perturbation in perturbations:
        scores = list(_evaluations(adapter, workbench, perturbation, seed))
        if not scores or not all(math.isfinite(score.loss_nats) for score in scores):
            continue
        found[f"perturbed.{perturbation.name}.loss"] = _mean([score.loss_nats for score in scores])
        found[f"perturbed.{perturbation.name}.accuracy"] = _mean([score.accuracy for score in scores])
    return found


def without_expert(expert: int) -> Gating:
    """Gating in which one expert is gone: a token that had selected it shares its gates among the rest.

    The gates that are left are renormalised, and no other expert takes the place. A token that had selected this
    expert alone gets nothing from the layer's experts.
    """

    def gating(logits_LTE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        gates_LTE, selected_LTE = top_k_gates(logits_LTE, top_k)
        if expert >= logits_LTE.shape[-1]:
            return gates_LTE, selected_LTE
        had_it_LT1 = selected_LTE[..., expert : expert + 1]
        left_LTE = selected_LTE.clone()
        left_LTE[..., expert] = False
        renormalised_LTE = (
            logits_LTE.masked_fill(~left_LTE, -math.inf).softmax(-1).masked_fill(~left_LTE, 0.0)
        )
        return torch.where(had_it_LT1, renormalised_LTE, gates_LTE), left_LTE

    return gating


def noisy(scale: float, seed: int) -> Gating:
    """Gating over logits with independent normal noise of standard deviation `scale`, drawn on the CPU."""
    generator = torch.Generator().manual_seed(seed)

    def gating(logits_LTE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        noise_LTE = torch.randn(logits_LTE.shape, generator=generator).to(logits_LTE)
        return top_k_gates(logits_LTE + scale * noise_LTE, top_k)

    return gating


def tempered(temperature: float) -> Gating:
    """Gating over logits divided by a temperature: above 1 the gates are flatter, the selection the same."""

    def gating(logits_LTE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        return top_k_gates(logits_LTE / temperature, top_k)

    return gating


def with_top_k(num_selected: int) -> Gating:
    """Gating that selects another number of experts."""

    def gating(logits_LTE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        del top_k
        return top_k_gates(logits_LTE, num_selected)

    return gating


def quantized(weight: Tensor, bits: int) -> Tensor:
    """A weight rounded to 2^bits - 1 levels, symmetric about 0, one scale for each output row (the last axis).

    Round-to-nearest with the row's largest magnitude as the last level: no value is clipped.
    """
    largest_level = (1 << (bits - 1)) - 1
    step = weight.abs().amax(-1, keepdim=True) / largest_level
    levels = (weight / step.where(step > 0, 1.0)).round().clamp(-largest_level, largest_level)
    return levels * step


@contextmanager
def quantized_experts(model: nn.Module, bits: int) -> Iterator[None]:
    """Round A and B of all experts inside the block; afterwards they are what they were, to the bit."""
    weights = [weight for pair in adapter_parameters(model).experts for weight in (pair.A, pair.B)]
    kept = [weight.detach().clone() for weight in weights]
    try:
        with torch.no_grad():
            for weight in weights:
                weight.copy_(quantized(weight, bits))
        yield
    finally:
        with torch.no_grad():
            for weight, original in zip(weights, kept, strict=True):
                weight.copy_(original)


def with_words_dropped(rows: Sequence[Row], probability: float, seed: int) -> list[Row]:
    """Rows whose prompts lose each word, a run without white space, with a probability; answers are untouched.

    The white space before a word goes with it. A prompt that would lose every word keeps its last.
    """
    generator = np.random.default_rng(seed)
    return [replace(row, prompt=_thinned(row.prompt, probability, generator)) for row in rows]


def _thinned(prompt: str, probability: float, generator: np.random.Generator) -> str:
    words = re.findall(r"\s*\S+", prompt)
    stays = (generator.random(len(words)) >= probability).tolist()
    if all(stays):
        return prompt
    kept = [word for word, stay in zip(words, stays, strict=True) if stay] or words[-1:]
    return "".join(kept).lstrip()


def _evaluations(
    adapter: AttachedAdapter, workbench: Workbench, perturbation: Perturbation, seed: int
) -> Iterator[Evaluation]:
    """One evaluation for each way of applying a perturbation; several where experts are dropped in turn."""
    examples = workbench.data.report
    if perturbation.kind == "words_dropped":
        examples = _examples_with_words_dropped(workbench, perturbation, seed)
    for disturbed in _disturbances(adapter.model, perturbation, seed):
        with disturbed:
            yield adapter.evaluate(workbench, examples)


def _disturbances(
    model: nn.Module, perturbation: Perturbation, seed: int
) -> Iterator[AbstractContextManager[None]]:
    """What must hold during each evaluation."""
    amount = perturbation.amount or 0.0
    settings = moe_lora_layers(model)[0].moe_lora_settings["default"]
    match perturbation.kind:
        case "expert_dropped":
            for expert in range(settings.num_experts):
                yield _same_gating(model, without_expert(expert))
        case "top_k_minus_1" | "top_k_plus_1":
            num_selected = settings.top_k + (1 if perturbation.kind == "top_k_plus_1" else -1)
            if 1 <= num_selected <= settings.num_experts:
                yield _same_gating(model, with_top_k(num_selected))
        case "router_noise":

            def noise_of(layer: MoeLoraLayer) -> Gating:
                return noisy(amount, derived_seed(seed, perturbation.name, layer.module_name))

            yield replaced_gating(model, noise_of)
        case "router_temperature":
            yield _same_gating(model, tempered(amount))
        case "weights_bits":
            yield quantized_experts(model, int(amount))
        case "words_dropped":
            yield nullcontext()


def _same_gating(model: nn.Module, gating: Gating) -> AbstractContextManager[None]:
    return replaced_gating(model, lambda _: gating)


def _examples_with_words_dropped(
    workbench: Workbench, perturbation: Perturbation, seed: int
) -> tuple[Example, ...]:
    rows = with_words_dropped(
        workbench.report_rows, perturbation.amount or 0.0, derived_seed(seed, perturbation.name)
    )
    base = workbench.foundation
    return encode_rows(rows, base.tokenizer, kind=base.kind, max_tokens=workbench.workload.task.max_tokens)


def _mean(figures: Sequence[float]) -> float:
    return math.fsum(figures) / len(figures)
