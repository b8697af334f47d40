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

    entropy_L: Tensor  # noqa: N815 - a capital suffix is a tensor's dimensions
    slots_LE: Tensor  # noqa: N815
    """Routed token slots per expert."""
    tokens_L: Tensor  # noqa: N815


@dataclass(kw_only=True)
class RoutingStatistics:
    """What `routing_statistics` has seen so far, of one lane or of several.

    Sums are kept in double where the device has it, and figures rounded to the gates' own precision, so that they do
    not depend on how lanes are padded.
    """

    adapter: str
    """Adapter whose routers are watched."""
    dtype: torch.dtype = torch.float32
    """Precision of the gates."""
    layers: dict[str, _LayerSums] = field(default_factory=dict)
    """Sums by module name."""

    @torch.no_grad()
    def add(self, module_name: str, gates_LTE: Tensor, selected_LTE: Tensor, weight_LT: Tensor) -> None:
        """Count the tokens of one forward pass of one layer, each by its weight (0 for padding)."""
        self.dtype = gates_LTE.dtype
        wide = self.dtype if gates_LTE.device.type == "mps" else torch.float64
        entropy_L = (gate_entropy_nats(gates_LTE.to(wide)) * weight_LT).sum(-1)
        slots_LE = (selected_LTE * weight_LT.unsqueeze(-1)).sum(1, dtype=wide)
        tokens_L = weight_LT.sum(-1, dtype=wide)
        seen = self.layers.get(module_name)
        if seen is None:
            self.layers[module_name] = _LayerSums(entropy_L=entropy_L, slots_LE=slots_LE, tokens_L=tokens_L)
        else:
            seen.entropy_L += entropy_L
            seen.slots_LE += slots_LE
            seen.tokens_L += tokens_L

    @property
    def gate_entropy_nats(self) -> float:
        """Entropy of the gates in nats, mean over tokens and layers; 0 to ln(top_k). For a single lane."""
        return self.gate_entropy_nats_of(0)

    @property
    def expert_load_frac(self) -> Tensor:
        """As `expert_load_frac_of`, for a single lane."""
        return self.expert_load_frac_of(0)

    def gate_entropy_nats_of(self, lane: int) -> float:
        """Entropy of a lane's gates in nats, mean over tokens and layers; 0 to ln(top_k)."""
        means = [layer.entropy_L[lane] / layer.tokens_L[lane].clamp_min(1) for layer in self._seen()]
        return float(torch.stack([mean.cpu() for mean in means]).mean().to(self.dtype))

    def expert_load_frac_of(self, lane: int) -> Tensor:
        """Fraction of a lane's routed tokens that each expert got, shape (E,), mean over layers; sums to 1.

        A token routed to k experts counts k times. A layer with fewer experts counts 0 for the rest.
        """
        loads = [layer.slots_LE[lane] / layer.slots_LE[lane].sum().clamp_min(1) for layer in self._seen()]
        return (
            nn.utils.rnn.pad_sequence([load.cpu() for load in loads], batch_first=True).mean(0).to(self.dtype)
        )

    def metrics(self, lane: int, num_experts: int) -> dict[str, float]:
        """A lane's figures by name, for a measurement."""
        loads = enumerate(self.expert_load_frac_of(lane)[:num_experts].tolist())
        shares = {f"expert_load_frac.{number:02d}": share for number, share in loads}
        return {"gate_entropy_nats": self.gate_entropy_nats_of(lane), **shares}

    def _seen(self) -> list[_LayerSums]:
        if not self.layers:
            raise ValueError(f"No token has passed adapter {self.adapter!r} inside routing_statistics yet.")
        return list(self.layers.values())
