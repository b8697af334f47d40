"""One optimizer for all families: a rule, with or without the preconditioner in front of it.

Dimensions: M modules of one shape, E experts, R rank, I input features, O output features.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from trainers.moe_lora.adapter import AdapterParameters
from trainers.optimizers.precondition import precondition_A, precondition_B
from trainers.optimizers.step_statistics import StepStatistics, require_finite

EXPERTS_A, EXPERTS_B, ROUTERS, HEAD = "experts_A", "experts_B", "routers", "head"


class Rule(Protocol):
    """What a module such as `trainers.optimizers.sgd` offers."""

    RELEASE_UPDATES_A_FIRST: bool

    def update(
        self,
        weights: Sequence[Tensor],
        directions: Sequence[Tensor],
        states: Sequence[dict[str, Any]],
        group: Mapping[str, Any],
        /,
    ) -> None:
        """Move weights in place along directions."""


class MoeLoraOptimizer(Optimizer):
    """Trains the experts, routers and head of one adapter, each group at its own learning rate.

    The groups are named `experts_A`, `experts_B`, `routers` and, where there is one, `head`. Routers and head
    follow the plain rule and are never preconditioned. Learning-rate schedulers and `state_dict` work as for
    any optimizer.
    """

    def __init__(
        self,
        adapter: AdapterParameters,
        rule: Rule,
        *,
        preconditioned: bool,
        lrs: Mapping[str, float],
        simultaneous: bool,
        max_norms: Mapping[str, float | None],
        settings: Mapping[str, Any],
    ) -> None:
        """Build the parameter groups; `build_optimizer` checks and explains the arguments."""
        weights = {
            EXPERTS_A: [pair.A for pair in adapter.experts],
            EXPERTS_B: [pair.B for pair in adapter.experts],
            ROUTERS: list(adapter.routers),
            HEAD: list(adapter.head),
        }
        fused = all(weight.device.type in {"cpu", "cuda"} for group in weights.values() for weight in group)
        groups = [
            {"name": name, "params": group, "lr": lrs[name]} for name, group in weights.items() if group
        ]
        super().__init__(groups, {**settings, "fused": fused})
        self.last_step = StepStatistics()
        # kept from step to step: fresh memory of this size costs more than the arithmetic
        self._before = [torch.empty_like(w) for w in self._params(EXPERTS_A) + self._params(EXPERTS_B)]
        self._num_steps = 0
        self._rule = rule
        self._preconditioned = preconditioned
        self._together = simultaneous or not rule.RELEASE_UPDATES_A_FIRST
        self._max_norms = dict(max_norms)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step with the gradients at hand; weights without a gradient stay.

        Gradients above a maximal norm are scaled down in place, as `torch.nn.utils.clip_grad_norm_` does.

        Args:
            closure: computes the loss and its gradients anew; optional, as for any optimizer.

        Returns:
            The closure's loss, or None.

        Raises:
            NonFiniteStepError: when a gradient norm is not finite (nothing moved then), or the update is not.
            TrialFailedError: when a preconditioner cannot be factorised.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        grad_norms = self._clip()
        experts: list[Tensor] = [*self._params(EXPERTS_A), *self._params(EXPERTS_B)]
        torch._foreach_copy_(self._before, experts)
        num_factorised, num_damped = self._move_experts()
        torch._foreach_sub_(self._before, experts)
        for name in (ROUTERS, HEAD):
            params = [param for param in self._params(name) if param.grad is not None]
            self._apply(name, params, _gradients(params))
        update_norm = float(get_total_norm(self._before))
        require_finite({"update": update_norm}, self._num_steps + 1)
        self._num_steps += 1
        self.last_step = StepStatistics(
            expert_grad_norm=grad_norms["expert gradient"],
            router_grad_norm=grad_norms["router gradient"],
            head_grad_norm=grad_norms["head gradient"],
            update_norm=update_norm,
            num_factorised=num_factorised,
            num_damped=num_damped,
        )
        return loss

    def _clip(self) -> dict[str, float]:
        """Measure the gradient norms, refuse what is not finite, and clip; returns the norms before."""
        named = {
            "expert gradient": self._params(EXPERTS_A) + self._params(EXPERTS_B),
            "router gradient": self._params(ROUTERS),
            "head gradient": self._params(HEAD),
        }
        device = self.param_groups[0]["params"][0].device
        totals = [get_total_norm(_gradients(params)).to(device) for params in named.values()]
        norms = dict(zip(named, torch.stack(totals).tolist(), strict=True))  # one wait for the device
        require_finite(norms, self._num_steps + 1)
        for (name, params), total in zip(named.items(), totals, strict=True):
            max_norm = self._max_norms.get(name)
            if max_norm is not None:
                clip_grads_with_norm_(params, max_norm, total)
        return norms

    def _move_experts(self) -> tuple[int, int]:
        """Apply the rule to A and B; returns the numbers of factorised and of further damped matrices."""
        A, B = self._params(EXPERTS_A), self._params(EXPERTS_B)
        pairs = [(a, b) for a, b in zip(A, B, strict=True) if a.grad is not None and b.grad is not None]
        A, B = [a for a, _ in pairs], [b for _, b in pairs]
        if not self._preconditioned:
            self._apply(EXPERTS_A, A, _gradients(A))
            self._apply(EXPERTS_B, B, _gradients(B))
            return 0, 0
        damping = self.param_groups[0]["damping"]
        directions_A, damped_A = _preconditioned(precondition_A, A, B, damping)
        if not self._together:
            self._apply(EXPERTS_A, A, directions_A)
        directions_B, damped_B = _preconditioned(precondition_B, B, A, damping)
        if self._together:
            self._apply(EXPERTS_A, A, directions_A)
        self._apply(EXPERTS_B, B, directions_B)
        return sum(len(a) + len(b) for a, b in pairs), damped_A + damped_B

    def _apply(self, name: str, weights: list[Parameter], directions: Sequence[Tensor]) -> None:
        group = next((group for group in self.param_groups if group["name"] == name), None)
        if group is not None and weights:
            self._rule.update(weights, directions, [self.state[weight] for weight in weights], group)

    def _params(self, name: str) -> list[Parameter]:
        return [param for group in self.param_groups if group["name"] == name for param in group["params"]]


def _gradients(params: Iterable[Parameter]) -> list[Tensor]:
    return [param.grad for param in params if param.grad is not None]


def _preconditioned(
    precondition: Callable[[Tensor, Tensor, float], tuple[Tensor, int]],
    weights: Sequence[Parameter],
    partners: Sequence[Parameter],
    damping: float,
) -> tuple[list[Tensor], int]:
    """Precondition the gradients of `weights`, one batch per shape; returns directions in the same order."""
    batches: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, (weight, partner) in enumerate(zip(weights, partners, strict=True)):
        batches[weight.shape, partner.shape, weight.dtype, weight.device].append(index)
    directions: dict[int, Tensor] = {}
    num_damped = 0
    for indices in batches.values():
        gradients = torch.stack(_gradients(weights[index] for index in indices))
        batch, damped = precondition(gradients, torch.stack([partners[index] for index in indices]), damping)
        directions.update(zip(indices, batch.unbind(0), strict=True))
        num_damped += damped
    return [directions[index] for index in range(len(weights))], num_damped
