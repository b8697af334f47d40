"""What is told to or read from all MoE-LoRA layers: statistics, gating, padding masks, dropout seeds, balance.

Dimensions: B rows, T tokens, E experts.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainers.moe_lora.experts import Gating
from trainers.moe_lora.layer import MoeLoraLayer
from trainers.moe_lora.statistics import RoutingStatistics


def moe_lora_layers(model: nn.Module) -> list[MoeLoraLayer]:
    """Every MoE-LoRA layer of a model, in module order; empty when it has none."""
    return [module for module in model.modules() if isinstance(module, MoeLoraLayer)]


@contextmanager
def routing_statistics(model: nn.Module, adapter: str = "default") -> Iterator[RoutingStatistics]:
    """Collect gate entropy and load per expert from every forward pass inside the block.

    Padding is left out where `set_token_mask` has told it. The result may be read inside and after the block.
    """
    statistics = RoutingStatistics(adapter=adapter)
    with _routing_collected(model, statistics):
        yield statistics


@contextmanager
def routing_ignored(model: nn.Module) -> Iterator[None]:
    """Collect nothing from the forward passes inside the block, even inside `routing_statistics`."""
    with _routing_collected(model, None):
        yield


@contextmanager
def _routing_collected(model: nn.Module, statistics: RoutingStatistics | None) -> Iterator[None]:
    layers = moe_lora_layers(model)
    before = [layer.routing for layer in layers]
    for layer in layers:
        layer.routing = statistics
    try:
        yield
    finally:
        for layer, previous in zip(layers, before, strict=True):
            layer.routing = previous


@contextmanager
def replaced_gating(model: nn.Module, gating_of: Callable[[MoeLoraLayer], Gating]) -> Iterator[None]:
    """Route tokens in another way inside the block, for evaluation: gradients would still be the usual ones.

    Args:
        model: a model with MoE-LoRA layers.
        gating_of: gives each layer its gating, in place of `top_k_gates`.
    """
    layers = moe_lora_layers(model)
    before = [layer.gating for layer in layers]
    for layer in layers:
        layer.gating = gating_of(layer)
    try:
        yield
    finally:
        for layer, previous in zip(layers, before, strict=True):
            layer.gating = previous


def set_token_mask(model: nn.Module, mask: Tensor | None) -> None:
    """Tell every layer which tokens count in routing statistics and load balancing; the output never changes.

    Args:
        model: any model; one without MoE-LoRA layers is left as it is.
        mask: shape (B, T) of the batches to come, nonzero for real tokens, such as an attention mask;
            none: every token counts.
    """
    for layer in moe_lora_layers(model):
        layer.token_mask = mask


def set_dropout_seed(model: nn.Module, seed: int | None) -> None:
    """Make every layer draw its dropout mask from (seed, module name), anew in each forward pass.

    So a step can be repeated exactly, and a checkpointed layer recomputes with the same mask. Give each
    micro-batch a seed of its own. None returns to torch's global stream.
    """
    for layer in moe_lora_layers(model):
        layer.dropout_seed = seed


def load_balancing_loss(model: nn.Module, adapter: str = "default") -> Tensor:
    """Load-balancing loss of the last training forward pass, summed over layers, not yet weighted.

    1 per layer under perfect balance. Differentiable with respect to the routers and their inputs. It can be
    read once per forward pass.

    Raises:
        ValueError: when nothing was recorded: the adapter's `load_balance_weight` is 0, or no forward pass in
            training mode came before; or that pass ran without gradients, as reentrant checkpointing does.
    """
    losses = [
        layer.balance_losses.pop(adapter)
        for layer in moe_lora_layers(model)
        if adapter in layer.balance_losses
    ]
    if not losses:
        raise ValueError(
            f"Adapter {adapter!r} has recorded no load-balancing loss; give it a load_balance_weight above 0 "
            "and run a forward pass in training mode first."
        )
    total = torch.stack([loss.to(losses[0].device) for loss in losses]).sum()
    if torch.is_grad_enabled() and not total.requires_grad:
        raise ValueError(
            f"The load-balancing loss of adapter {adapter!r} has no gradient; run its forward pass with gradients "
            'on and checkpoint with {"use_reentrant": False}.'
        )
    return total
