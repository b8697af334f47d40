"""MoE-LoRA and its optimizers written a second time, expert by expert, as plainly as the formulas allow.

Nothing is shared with `trainers`: gradients come from autograd on detached products, preconditioners from
`torch.linalg.inv`, and Adam is spelled out. Slow and obvious, so that the fast code has something to be wrong
against.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(kw_only=True)
class Layer:
    """A frozen linear layer with its experts as separate tensors."""

    weight: Tensor
    bias: Tensor | None
    router: Tensor
    """Shape (E, I)."""
    A: list[Tensor]
    """One (R, I) per expert."""
    B: list[Tensor]
    """One (O, R) per expert."""
    top_k: int
    scale: float
    exponent: float
    input_gradient: str

    def __call__(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Output for tokens x (T, I); `keep` is a dropout mask that already holds 1 / (1 - p)."""
        gates, mask = self.gates(x)
        y = x @ self.weight.T + (0 if self.bias is None else self.bias)
        seen_by_experts = x if keep is None else x * keep
        for i in range(len(self.A)):
            y = y + self._expert(i, seen_by_experts, gates[:, i : i + 1], mask[:, i : i + 1])
        return y

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Softmax over all experts, cut to the top-k and renormalised."""
        p = torch.softmax(x @ self.router.T, dim=-1)
        mask = torch.zeros_like(p)
        for token in range(len(p)):
            for expert in p[token].argsort(descending=True)[: self.top_k]:
                mask[token, expert] = 1.0
        return p * mask / (p * mask).sum(-1, keepdim=True), mask

    def _expert(self, i: int, x: Tensor, g: Tensor, mask: Tensor) -> Tensor:
        w = (mask * g.detach() ** self.exponent).detach()
        e = self.scale * x @ self.A[i].T @ self.B[i].T
        if self.input_gradient == "faithful":  # the release's trick, for any exponent
            return w * e + (g - w) * e.detach()
        for_input = self.scale * x @ self.A[i].detach().T @ self.B[i].detach().T
        for_parameters = self.scale * x.detach() @ self.A[i].T @ self.B[i].T
        return (
            g.detach() * for_input
            + w * (for_parameters - for_parameters.detach())
            + (g - g.detach()) * e.detach()
        )

    def leaves(self) -> list[Tensor]:
        return [*self.A, *self.B, self.router]


def layer_of(module: nn.Module, *, exponent: float, input_gradient: str, dtype: torch.dtype) -> Layer:
    """Copy a MoE-LoRA layer's weights into a reference layer."""

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().to(dtype).requires_grad_()

    base, settings = module.base_layer, module.moe_lora_settings["default"]
    return Layer(
        weight=base.weight.detach().to(dtype),
        bias=None if base.bias is None else base.bias.detach().to(dtype),
        router=leaf(module.moe_lora_router["default"]),
        A=[leaf(a) for a in module.moe_lora_A["default"]],
        B=[leaf(b) for b in module.moe_lora_B["default"]],
        top_k=settings.top_k,
        scale=settings.scale,
        exponent=exponent,
        input_gradient=input_gradient,
    )


@dataclass(kw_only=True)
class Optimizer:
    """One of the families, parameter by parameter."""

    layers: list[Layer]
    rule: str
    preconditioned: bool
    lr: float
    router_lr: float
    damping: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    bias_correction: bool = True
    simultaneous: bool = True
    router_max_norm: float = 1.0
    lr_ratio: float = 1.0

    def __post_init__(self) -> None:
        """Start Adam's memory."""
        self.moments: dict[int, tuple[Tensor, Tensor]] = {}
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        self._clip_routers()
        for layer in self.layers:
            for a, b in zip(layer.A, layer.B, strict=True):
                old_a = a.clone()
                self._move(a, self._direction_of_a(a, b), self.lr)
                partner = old_a if self.simultaneous or self.rule == "sgd" else a
                self._move(b, self._direction_of_b(b, partner), self.lr * self.lr_ratio)
            self._move(layer.router, layer.router.grad, self.router_lr)
        for layer in self.layers:
            for leaf in layer.leaves():
                leaf.grad = None

    def _clip_routers(self) -> None:
        norm = sum(float(layer.router.grad.pow(2).sum()) for layer in self.layers) ** 0.5
        if norm > self.router_max_norm:
            for layer in self.layers:
                layer.router.grad.mul_(self.router_max_norm / (norm + 1e-6))

    def _direction_of_a(self, a: Tensor, b: Tensor) -> Tensor:
        # B has not moved yet when A moves
        if not self.preconditioned:
            return a.grad
        return torch.linalg.inv(b.T @ b + self.damping * torch.eye(b.shape[1], dtype=b.dtype)) @ a.grad

    def _direction_of_b(self, b: Tensor, a: Tensor) -> Tensor:
        if not self.preconditioned:
            return b.grad
        return b.grad @ torch.linalg.inv(a @ a.T + self.damping * torch.eye(a.shape[0], dtype=a.dtype))

    def _move(self, weight: Tensor, direction: Tensor, lr: float) -> None:
        if self.rule == "sgd":
            weight -= lr * direction
            return
        m, v = self.moments.get(id(weight), (torch.zeros_like(weight), torch.zeros_like(weight)))
        m = self.betas[0] * m + (1 - self.betas[0]) * direction
        v = self.betas[1] * v + (1 - self.betas[1]) * direction**2
        self.moments[id(weight)] = (m, v)
        if self.bias_correction:
            m, v = m / (1 - self.betas[0] ** self.steps), v / (1 - self.betas[1] ** self.steps)
        weight -= lr * m / (v.sqrt() + self.eps)
