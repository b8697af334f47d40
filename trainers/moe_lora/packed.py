"""One adapted linear layer of a pack: the frozen base once, the stacked experts of every lane.

Weights of all lanes lie in one tensor a factor, zero where a lane has fewer experts or a lower rank. A padded
expert is never selected; a padded rank adds products with zero, so that neither has a gradient that counts. No
product mixes lanes: a lane that is not a number stays alone with it.

Dimensions: L lanes, B rows of a lane, S positions, T = B * S tokens, E experts, I input features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from peft.utils import resolve_quantization_backend
from torch import Tensor, nn

from search_spaces.designs import derived_seed
from trainers.moe_lora.disturbance import Disturbance, disturbed_gating, quantized
from trainers.moe_lora.dropout import keep_mask
from trainers.moe_lora.experts import Gating, Mixing, ParameterGating, Weights, mix_experts
from trainers.moe_lora.gating import (
    balance_loss,
    hidden_beyond,
    lane_top_k_gates,
    parameter_gates,
    top_k_gates,
)
from trainers.moe_lora.layer import AdapterSettings
from trainers.moe_lora.statistics import RoutingStatistics


@dataclass(frozen=True, kw_only=True)
class PassRows:
    """What the adapters must know of the rows of a forward pass."""

    attention_mask: Tensor | None
    """(L * B, S), 1 at real tokens; rows of a lane stand together. None: no token counts, since all are generated."""
    dropout_seeds: tuple[int, ...] = ()
    """Each lane's seed of this pass; none in evaluation, which drops nothing."""


@dataclass(kw_only=True)
class LaneStack:
    """The weights of all lanes in one layer, and how each lane mixes its experts."""

    settings: tuple[AdapterSettings, ...]
    """One a lane, alike in dropout and balancing."""
    weights: Weights
    """Leaves of autograd, so that all lanes' gradients arise in place."""
    training: Mixing
    evaluation: Mixing
    num_experts_L11: Tensor | None  # noqa: N815 - a capital suffix is a tensor's dimensions
    """Experts of each lane; None where all have the same number."""

    @classmethod
    def of(cls, settings: Sequence[AdapterSettings], weights: Weights) -> Self:
        """How lanes with these settings and weights mix their experts.

        Raises:
            ValueError: they differ in dropout or balancing, which a study states once for all.
        """
        if len({(one.dropout, one.balanced) for one in settings}) > 1:
            raise ValueError(
                "The lanes of a pack differ in dropout or balancing; give each kind a pack of its own."
            )
        num_experts = [one.num_experts for one in settings]
        differ = len(set(num_experts)) > 1
        return cls(
            settings=tuple(settings),
            weights=weights,
            training=lane_mixing(settings, like=weights.A, dropped=True),
            evaluation=lane_mixing(settings, like=weights.A, dropped=False),
            num_experts_L11=_per_lane(num_experts, like=weights.A, dtype=torch.long) if differ else None,
        )

    def balance_loss(self, logits_LTE: Tensor, selected_LTE: Tensor, weight_LT: Tensor) -> Tensor:
        """Load-balancing loss of each lane, as `trainers.moe_lora.gating.balance_loss`."""
        if self.num_experts_L11 is None:
            return balance_loss(logits_LTE, selected_LTE, weight_LT)
        hidden_LTE = hidden_beyond(logits_LTE, self.num_experts_L11)
        return balance_loss(hidden_LTE, selected_LTE, weight_LT, self.num_experts_L11.flatten())


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
        self.routing: RoutingStatistics | None = None
        self.gating: Gating | None = None

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The base layer's output plus that of every lane's experts, in the base's dtype; x is (L * B, S, I)."""
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.stack is None or self.rows is None:
            return result
        keep_LTI = self._dropout_mask(x, self.stack.settings, self.rows)
        mixing = self.stack.evaluation if keep_LTI is None else self.stack.training
        if self.gating is not None:
            mixing = replace(mixing, gating=self.gating)
        output, logits_LTE, gates_LTE, selected_LTE = mix_experts(
            x, *self.stack.weights, mixing=mixing, keep_LTI=keep_LTI
        )
        if self.rows.attention_mask is not None:
            weight_LT = self.rows.attention_mask.reshape(len(self.stack.settings), -1).to(logits_LTE.dtype)
            if self.routing is not None:
                self.routing.add(self.module_name, gates_LTE, selected_LTE, weight_LT)
            if self.stack.settings[0].balanced and self.rows.dropout_seeds:
                self.balance_loss_L = self.stack.balance_loss(logits_LTE, selected_LTE, weight_LT)
        if self.quantization_backend is None:
            result += output  # in place: adds in the wider dtype, rounds once, no copy
            return result
        return (result + output).to(result.dtype)

    @torch.no_grad()
    def disturb(self, disturbances: Sequence[Disturbance]) -> None:
        """Disturb each lane: its gates until `gating` is None again, its weights until they are loaded anew.

        Args:
            disturbances: one a lane.
        """
        if self.stack is None:
            raise ValueError(f"{self.module_name} has no lanes to disturb.")
        settings = [
            replace(own, top_k=one.top_k or own.top_k)
            for own, one in zip(self.stack.settings, disturbances, strict=True)
        ]
        self.gating = _gating_by_kind(
            settings,
            lambda lanes: disturbed_gating([disturbances[lane] for lane in lanes], self.module_name),
        )
        for bits in {one.bits for one in disturbances if one.bits}:
            lanes = [lane for lane, one in enumerate(disturbances) if one.bits == bits]
            for weight in (self.stack.weights.A, self.stack.weights.B):
                weight[lanes] = quantized(weight[lanes], bits)

    def _dropout_mask(self, x: Tensor, settings: Sequence[AdapterSettings], rows: PassRows) -> Tensor | None:
        """keep_LTI; every lane draws from its own stream what it draws alone."""
        if settings[0].dropout == 0 or not rows.dropout_seeds:
            return None
        seeds = [derived_seed(seed, self.module_name) for seed in rows.dropout_seeds]
        num_tokens = x.shape[:-1].numel() // len(seeds)
        return keep_mask(seeds, num_tokens, x.shape[-1], dropout=settings[0].dropout, device=x.device)


def lane_mixing(settings: Sequence[AdapterSettings], *, like: Tensor, dropped: bool) -> Mixing:
    """How each lane mixes its experts; one plain `Mixing` where all lanes do it alike.

    Args:
        settings: one a lane.
        like: a weight of theirs, for dtype and device.
        dropped: whether there is a dropout mask where the settings ask for one.
    """
    mixings = [one.mixing(dropped=dropped and one.dropout > 0, gating=top_k_gates) for one in settings]
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


def _gating_by_kind(
    settings: Sequence[AdapterSettings], gating_of: Callable[[list[int]], Gating] = lambda _: top_k_gates
) -> Gating:
    """A gating once for each pair of experts and top-k that occurs, which keeps every bit of its results.

    A last bit matters: an adaptive optimizer can make a relative 1e-7 in the gates 1e-4 in a gradient's norm.

    Args:
        settings: one a lane.
        gating_of: from the lanes of a kind to their gating.
    """
    kinds: dict[tuple[int, int], list[int]] = {}
    for lane, one in enumerate(settings):
        kinds.setdefault((one.num_experts, one.top_k), []).append(lane)
    gatings = [(kind, lanes, gating_of(lanes)) for kind, lanes in kinds.items()]

    def gating(logits_LTE: Tensor, _: int) -> tuple[Tensor, Tensor]:
        gates_LTE = torch.zeros_like(logits_LTE)
        selected_LTE = torch.zeros_like(logits_LTE, dtype=torch.bool)
        for (num_experts, top_k), lanes, gating_of_kind in gatings:
            gates, selected = gating_of_kind(logits_LTE[lanes, :, :num_experts], top_k)
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
