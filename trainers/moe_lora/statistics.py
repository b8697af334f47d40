"""Where the tokens go: sums over forward passes that become routing statistics.

Dimensions: L lanes, T tokens, E experts.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainers.moe_lora.gating import gate_entropy_nats


@dataclass(kw_only=True)
class _LayerSums:
    """Running sums of one layer, kept on its device so that collecting never waits for it."""

    entropy: Tensor
    slots: Tensor
    """Routed token slots per expert, shape (E,)."""
    tokens: Tensor


@dataclass(kw_only=True)
class RoutingStatistics:
    """What `routing_statistics` has seen so far."""

    adapter: str
    """Adapter whose routers are watched."""
    layers: dict[str, _LayerSums] = field(default_factory=dict)
    """Sums by module name."""

    @torch.no_grad()
    def add(self, module_name: str, gates_LTE: Tensor, selected_LTE: Tensor, weight_LT: Tensor) -> None:
        """Count the tokens of one forward pass of one layer, each by its weight (0 for padding)."""
        entropy = (gate_entropy_nats(gates_LTE) * weight_LT).sum()
        slots_E = (selected_LTE * weight_LT.unsqueeze(-1)).sum((0, 1))
        seen = self.layers.get(module_name)
        if seen is None:
            self.layers[module_name] = _LayerSums(entropy=entropy, slots=slots_E, tokens=weight_LT.sum())
        else:
            seen.entropy += entropy
            seen.slots += slots_E
            seen.tokens += weight_LT.sum()

    @property
    def gate_entropy_nats(self) -> float:
        """Entropy of the gates in nats, mean over tokens and layers; 0 to ln(top_k)."""
        means = [layer.entropy / layer.tokens.clamp_min(1) for layer in self._seen()]
        return float(torch.stack([mean.cpu() for mean in means]).mean())

    @property
    def expert_load_frac(self) -> Tensor:
        """Fraction of the routed tokens that each expert got, shape (E,), mean over layers; sums to 1.

        A token routed to k experts counts k times. A layer with fewer experts counts 0 for the rest.
        """
        loads = [layer.slots / layer.slots.sum().clamp_min(1) for layer in self._seen()]
        return nn.utils.rnn.pad_sequence([load.cpu() for load in loads], batch_first=True).mean(0)

    def _seen(self) -> list[_LayerSums]:
        if not self.layers:
            raise ValueError(f"No token has passed adapter {self.adapter!r} inside routing_statistics yet.")
        return list(self.layers.values())
