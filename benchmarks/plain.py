"""The mixture of experts as one writes it first, and as the method's release does: a loop over the experts."""

import torch
from torch import Tensor, nn

from search_spaces.families import Family
from trainers.moe_lora.layer import MoeLoraLayer


class PlainLayer:
    """The mixture of a layer, expert by expert."""

    def __init__(self, layer: MoeLoraLayer) -> None:
        """Copy the weights."""
        self.settings = layer.moe_lora_settings["default"]
        self.router = _leaf(layer.moe_lora_router["default"])
        self.A = [_leaf(A_RI) for A_RI in layer.moe_lora_A["default"]]
        self.B = [_leaf(B_OR) for B_OR in layer.moe_lora_B["default"]]
        self.out_features = layer.out_features

    def __call__(self, x: Tensor) -> Tensor:
        """Output of the experts; the gate's exponent by the release's trick of detached products."""
        probabilities = torch.softmax(x @ self.router.T, dim=-1)
        top = probabilities.topk(self.settings.top_k, dim=-1)
        gates = torch.zeros_like(probabilities).scatter(-1, top.indices, top.values)
        gates = gates / gates.sum(-1, keepdim=True)
        y = x.new_zeros(*x.shape[:-1], self.out_features)
        for expert, (A_RI, B_OR) in enumerate(zip(self.A, self.B, strict=True)):
            gate = gates[..., expert : expert + 1]
            output = self.settings.scale * (x @ A_RI.T @ B_OR.T)
            if self.settings.gate_exponent == 1:
                y = y + gate * output
            else:
                seen = gate.detach() ** self.settings.gate_exponent
                y = y + seen * output + (gate - seen) * output.detach()
        return y


class PlainOptimizer:
    """Inverts two small matrices for each expert, then lets torch's optimizer move each weight."""

    def __init__(
        self,
        layers: list[PlainLayer],
        family: Family,
        *,
        lr: float,
        router_lr: float,
        damping: float,
        eps: float,
    ) -> None:
        """Take over the layers' weights."""
        self.damping = damping
        self.pairs = [pair for layer in layers for pair in zip(layer.A, layer.B, strict=True)]
        self.routers = [layer.router for layer in layers]
        self.preconditioned = family.preconditioned
        groups = [
            {"params": [weight for pair in self.pairs for weight in pair], "lr": lr},
            {"params": self.routers, "lr": router_lr},
        ]
        if family.rule == "adamw":
            self.rule: torch.optim.Optimizer = torch.optim.AdamW(groups, eps=eps, weight_decay=0.0)
        else:
            self.rule = torch.optim.SGD(groups)

    @torch.no_grad()
    def step(self) -> None:
        """Precondition, clip the routers, move."""
        for A_RI, B_OR in self.pairs if self.preconditioned else ():
            damping = self.damping * torch.eye(len(A_RI), device=A_RI.device)
            A_RI.grad = torch.linalg.inv(B_OR.T @ B_OR + damping) @ gradient_of(A_RI)
            B_OR.grad = gradient_of(B_OR) @ torch.linalg.inv(A_RI @ A_RI.T + damping)
        nn.utils.clip_grad_norm_(self.routers, 1.0)
        self.rule.step()


def gradient_of(weight: Tensor) -> Tensor:
    """A weight's gradient, which must be there."""
    if weight.grad is None:
        raise ValueError("A weight has no gradient; run backward first.")
    return weight.grad


def _leaf(weight: Tensor) -> Tensor:
    return weight.detach().clone().requires_grad_()
