"""One adapted linear layer of a pack: the frozen base once, the stacked experts of every lane.

Weights of all lanes lie in one tensor a factor, zero where a lane has fewer experts or a lower rank. A padded
expert is never selected; a padded rank adds products with zero, so that neither has a gradient that counts. No
product mixes lanes: a lane that is not a number stays alone with it.

Dimensions: L lanes, B rows of a lane, S positions, T = B * S tokens, E experts, R rank, I input features,
O output features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from peft.utils import resolve_quantization_backend
from torch import Tensor, nn

from search_spaces.designs import derived_seed
from trainers.moe_lora.dropout import keep_mask
from trainers.moe_lora.experts import Gating, Mixing, ParameterGating, Weights, mix_experts
from trainers.moe_lora.gating import (
    balance_loss,
    hidden_beyond,
    lane_top_k_gates,
    parameter_gates,
    top_k_gates,
)
from trainers.moe_lora.layer import AdapterSettings, MoeLoraLayer


@dataclass(frozen=True, kw_only=True)
class PassRows:
    """What the adapters must know of the rows of a forward pass."""

    num_rows: int
    """B, the same in every lane; rows of a lane stand together."""
    widths: tuple[int, ...]
    """Positions of each lane's rows when it is alone; the pass fills them up on the left to S."""
    dropout_seeds: tuple[int, ...]
    """Each lane's seed of this pass."""
    attention_mask: Tensor
    """(L * B, S), 1 at real tokens."""


@dataclass(kw_only=True)
class LaneStack:
    """The weights of all lanes in one layer, and how each lane mixes its experts."""

    settings: tuple[AdapterSettings, ...]
    """One a lane, alike in dropout and balancing."""
    weights: Weights
    """Leaves of autograd, so that all lanes' gradients arise in place."""
    mixing: Mixing
    num_experts_L11: Tensor | None  # noqa: N815 - a capital suffix is a tensor's dimensions
    """Experts of each lane; None where all have the same number."""

    @classmethod
    def of(cls, layers: Sequence[MoeLoraLayer], adapter: str = "default") -> Self:
        """Room for the adapters of the same layer in several lanes, zero so far."""
        settings = tuple(layer.moe_lora_settings[adapter] for layer in layers)
        widest = (max(one.num_experts for one in settings), max(one.r for one in settings))
        first = layers[0].moe_lora_A[adapter]
        shapes = (
            (widest[0], layers[0].in_features),
            (*widest, layers[0].in_features),
            (widest[0], layers[0].out_features, widest[1]),
        )
        zeros = (first.new_zeros((len(layers), *shape)).requires_grad_() for shape in shapes)
        num_experts = [one.num_experts for one in settings]
        differ = len(set(num_experts)) > 1
        return cls(
            settings=settings,
            weights=Weights(*zeros),
            mixing=lane_mixing(settings, like=first),
            num_experts_L11=_per_lane(num_experts, like=first, dtype=torch.long) if differ else None,
        )

    def parts(self, lane: int) -> list[Tensor]:
        """Views of a lane's own router, A and B."""
        return self._own(self.weights, lane)

    def gradients(self, lane: int) -> list[Tensor]:
        """A lane's gradients of router, A and B."""
        return self._own(Weights(*(_gradient(weight) for weight in self.weights)), lane)

    def balance_loss(self, logits_LTE: Tensor, selected_LTE: Tensor, weight_LT: Tensor) -> Tensor:
        """Load-balancing loss of each lane, as `trainers.moe_lora.gating.balance_loss`."""
        if self.num_experts_L11 is None:
            return balance_loss(logits_LTE, selected_LTE, weight_LT)
        hidden_LTE = hidden_beyond(logits_LTE, self.num_experts_L11)
        return balance_loss(hidden_LTE, selected_LTE, weight_LT, self.num_experts_L11.flatten())

    def _own(self, weights: Weights, lane: int) -> list[Tensor]:
        num_experts, rank = self.settings[lane].num_experts, self.settings[lane].r
        return [
            weights.router[lane, :num_experts],
            weights.A[lane, :num_experts, :rank],
            weights.B[lane, :num_experts, :, :rank],
        ]


class PackedLayer(nn.Module):
    """A linear layer with the mixtures of all lanes added, each to the rows of its lane."""

    def __init__(self, base_layer: nn.Module, module_name: str) -> None:
        """Wrap `base_layer`, which is `module_name` in the base model."""
        super().__init__()
        self.base_layer = base_layer
        self.module_name = module_name
        self.quantization_backend = resolve_quantization_backend(base_layer)
        self.stack: LaneStack | None = None
        self.rows: PassRows | None = None
        self.balance_loss_L: Tensor | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The base layer's output plus that of every lane's experts, in the base's dtype; x is (L * B, S, I)."""
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.stack is None or self.rows is None:
            return result
        keep_LTI = self._dropout_mask(x, self.stack.settings[0].dropout, self.rows)
        output, logits_LTE, _, selected_LTE = mix_experts(
            x, *self.stack.weights, mixing=self.stack.mixing, keep_LTI=keep_LTI
        )
        if self.stack.settings[0].balanced:
            weight_LT = self.rows.attention_mask.reshape(len(self.stack.settings), -1).to(logits_LTE.dtype)
            self.balance_loss_L = self.stack.balance_loss(logits_LTE, selected_LTE, weight_LT)
        if self.quantization_backend is None:
            result += output  # in place: adds in the wider dtype, rounds once, no copy
            return result
        return (result + output).to(result.dtype)

    def _dropout_mask(self, x: Tensor, dropout: float, rows: PassRows) -> Tensor | None:
        """keep_LTI; every lane draws from its own stream what it draws alone, so padding draws nothing."""
        if dropout == 0:
            return None
        seeds = [derived_seed(seed, self.module_name) for seed in rows.dropout_seeds]
        length, features = x.shape[-2:]
        if set(rows.widths) == {length}:
            return keep_mask(seeds, rows.num_rows * length, features, dropout=dropout, device=x.device)
        keep_LBSI = x.new_zeros((len(seeds), rows.num_rows, length, features), dtype=torch.uint8)
        for keep_BSI, seed, width in zip(keep_LBSI, seeds, rows.widths, strict=True):
            mask = keep_mask([seed], rows.num_rows * width, features, dropout=dropout, device=x.device)
            keep_BSI[:, length - width :] = mask.view(rows.num_rows, width, features)
        return keep_LBSI.flatten(1, 2)


def lane_mixing(settings: Sequence[AdapterSettings], *, like: Tensor) -> Mixing:
    """How each lane mixes its experts in training; one plain `Mixing` where all lanes do it alike.

    Args:
        settings: one a lane.
        like: a weight of theirs, for dtype and device.
    """
    mixings = [one.mixing(dropped=one.dropout > 0, gating=top_k_gates) for one in settings]
    if len({(one.num_experts, mixing) for one, mixing in zip(settings, mixings, strict=True)}) == 1:
        return mixings[0]
    scales = [one.scale for one in mixings]
    exacts = [one.exact for one in settings]
    return Mixing(
        top_k=max(one.top_k for one in settings),
        scale=_per_lane(scales, like=like, dtype=like.dtype),
        gate_exponent=settings[0].gate_exponent,
        exact=exacts[0] if len(set(exacts)) == 1 else _per_lane(exacts, like=like, dtype=torch.bool),
        gating=_lane_gating(settings, like),
        parameter_gating=_lane_parameter_gating([one.gate_exponent for one in settings], like),
    )


def _lane_gating(settings: Sequence[AdapterSettings], like: Tensor) -> Gating:
    if len({(one.num_experts, one.top_k) for one in settings}) == 1:
        return top_k_gates
    if like.device.type == "cpu":
        return _gating_by_kind(settings)
    num_experts_L11 = _per_lane([one.num_experts for one in settings], like=like, dtype=torch.long)
    top_k_L11 = _per_lane([one.top_k for one in settings], like=like, dtype=torch.long)

    def gating(logits_LTE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        return lane_top_k_gates(logits_LTE, top_k_L11, num_experts_L11, top_k)

    return gating


def _gating_by_kind(settings: Sequence[AdapterSettings]) -> Gating:
    """`top_k_gates` once for each pair of experts and top-k that occurs, which keeps every bit of its results.

    A last bit matters: an adaptive optimizer can make a relative 1e-7 in the gates 1e-4 in a gradient's norm.
    """
    kinds: dict[tuple[int, int], list[int]] = {}
    for lane, one in enumerate(settings):
        kinds.setdefault((one.num_experts, one.top_k), []).append(lane)

    def gating(logits_LTE: Tensor, _: int) -> tuple[Tensor, Tensor]:
        gates_LTE = torch.zeros_like(logits_LTE)
        selected_LTE = torch.zeros_like(logits_LTE, dtype=torch.bool)
        for (num_experts, top_k), lanes in kinds.items():
            gates, selected = top_k_gates(logits_LTE[lanes, :, :num_experts], top_k)
            gates_LTE[lanes, :, :num_experts] = gates
            selected_LTE[lanes, :, :num_experts] = selected
        return gates_LTE, selected_LTE

    return gating


def _lane_parameter_gating(exponents: Sequence[float], like: Tensor) -> ParameterGating:
    """`parameter_gates` once for each exponent that occurs, at most as many as there are kinds of family."""
    first, *others = sorted(set(exponents))
    chosen_L11 = {
        other: _per_lane([exponent == other for exponent in exponents], like=like, dtype=torch.bool)
        for other in others
    }

    def parameter_gating(gates_LTE: Tensor, selected_LTE: Tensor, _: float) -> Tensor:
        seen_LTE = parameter_gates(gates_LTE, selected_LTE, first)
        for exponent, here_L11 in chosen_L11.items():
            other_LTE = parameter_gates(gates_LTE, selected_LTE, exponent)
            seen_LTE = torch.where(here_L11, other_LTE, seen_LTE)
        return seen_LTE

    return parameter_gating


def _per_lane(values: Sequence[Any], *, like: Tensor, dtype: torch.dtype) -> Tensor:
    """(L, 1, 1)."""
    return torch.tensor(values, dtype=dtype, device=like.device)[:, None, None]


def _gradient(weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
