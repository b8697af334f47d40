"""Adapters that are disturbed while they are evaluated: other gates, coarser weights. Nothing here is trained.

Dimensions: L lanes, T tokens, E experts.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.designs import derived_seed
from trainers.moe_lora.adapter import adapter_parameters
from trainers.moe_lora.experts import Gating
from trainers.moe_lora.gating import top_k_gates
from trainers.moe_lora.routing import replaced_gating


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What is done to an adapter; by default nothing."""

    dropped_expert: int | None = None
    """Expert that is gone, see `without_experts`; one that a layer does not have changes nothing there."""
    top_k: int | None = None
    """Experts per token in place of the adapter's own."""
    noise: float = 0.0
    """Standard deviation of independent normal noise on the routers' logits."""
    noise_stream: tuple[int, str] = (0, "")
    """What the seed of a layer's noise derives from, with the layer's name."""
    temperature: float = 1.0
    """What the logits are divided by: above 1 the gates are flatter, the selection the same."""
    bits: int | None = None
    """Of the weights A and B of all experts, see `quantized`."""


def disturbed_gating(disturbances: Sequence[Disturbance], module_name: str) -> Gating:
    """Gating in one layer of lanes that have as many experts and as large a top-k, each disturbed in its own way.

    Noise is drawn on the CPU, pass by pass, from a stream of each lane and layer.

    Args:
        disturbances: one a lane.
        module_name: of the layer.
    """
    streams = [
        torch.Generator().manual_seed(derived_seed(*one.noise_stream, module_name)) if one.noise else None
        for one in disturbances
    ]

    def gating(logits_LTE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        disturbed_LTE = logits_LTE / _per_lane([one.temperature for one in disturbances], logits_LTE)
        if any(one.noise for one in disturbances):
            noise_LTE = _normal(streams, logits_LTE)
            disturbed_LTE += noise_LTE * _per_lane([one.noise for one in disturbances], logits_LTE)
        gates_LTE, selected_LTE = top_k_gates(disturbed_LTE, disturbances[0].top_k or top_k)
        dropped = [one.dropped_expert for one in disturbances]
        if all(expert is None for expert in dropped):
            return gates_LTE, selected_LTE
        return without_experts(disturbed_LTE, gates_LTE, selected_LTE, dropped)

    return gating


def without_experts(
    logits_LTE: Tensor, gates_LTE: Tensor, selected_LTE: Tensor, dropped: Sequence[int | None]
) -> tuple[Tensor, Tensor]:
    """Gates when one expert of a lane is gone: a token that had selected it shares its gates among the rest.

    The gates that are left are renormalised, and no other expert takes the place. A token that had selected this
    expert alone gets nothing from the layer's experts.

    Args:
        logits_LTE: the router's logits.
        gates_LTE: gates of `top_k_gates`.
        selected_LTE: selection of `top_k_gates`.
        dropped: each lane's expert that is gone; None: the lane keeps all.

    Returns:
        gates_LTE and selected_LTE.
    """
    experts = torch.arange(logits_LTE.shape[-1], device=logits_LTE.device)
    gone_L11 = torch.tensor([-1 if expert is None else expert for expert in dropped], device=experts.device)
    gone_L1E = experts == gone_L11[:, None, None]
    had_it_LT1 = (selected_LTE & gone_L1E).any(-1, keepdim=True)
    left_LTE = selected_LTE & ~gone_L1E
    renormalised_LTE = logits_LTE.masked_fill(~left_LTE, -math.inf).softmax(-1).masked_fill(~left_LTE, 0.0)
    return torch.where(had_it_LT1, renormalised_LTE, gates_LTE), left_LTE


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


@contextmanager
def disturbed(model: nn.Module, disturbance: Disturbance) -> Iterator[None]:
    """Disturb a lone adapter inside the block; afterwards it is what it was, to the bit."""
    with (
        replaced_gating(model, lambda layer: disturbed_gating([disturbance], layer.module_name)),
        quantized_experts(model, disturbance.bits) if disturbance.bits else nullcontext(),
    ):
        yield


def _normal(streams: Sequence[torch.Generator | None], like_LTE: Tensor) -> Tensor:
    """Standard normal numbers of each lane's stream, zeros where it has none."""
    shape = like_LTE.shape[1:]
    drawn = [
        torch.zeros(shape) if stream is None else torch.randn(shape, generator=stream) for stream in streams
    ]
    return torch.stack(drawn).to(like_LTE)


def _per_lane(values: Sequence[float], like_LTE: Tensor) -> Tensor:
    """(L, 1, 1)."""
    return like_LTE.new_tensor(values)[:, None, None]
