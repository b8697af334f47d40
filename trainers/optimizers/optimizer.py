"""One optimizer for all families: a rule, with or without the preconditioner in front of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from search_spaces.errors import TrialFailedError
from trainers.moe_lora.adapter import AdapterParameters
from trainers.optimizers.buffers import Buffer, buffers_of
from trainers.optimizers.step_statistics import StepStatistics
from trainers.optimizers.together import step_together

EXPERTS_A, EXPERTS_B, ROUTERS, HEAD = "experts_A", "experts_B", "routers", "head"


class Rule(Protocol):
    """What a module such as `trainers.optimizers.sgd` offers."""

    RELEASE_UPDATES_A_FIRST: bool
    SETTINGS: tuple[str, ...]

    def fill_changes(
        self,
        buffers: Sequence[Buffer],
        directions: Sequence[Tensor],
        lrs: Sequence[float],
        settings: Mapping[str, Any],
        /,
    ) -> None:
        """Write what a step adds to the weights into the buffers."""


class MoeLoraOptimizer(Optimizer):
    """Trains the experts, routers and head of one adapter, each group at its own learning rate.

    The groups are named `experts_A`, `experts_B`, `routers` and, where there is one, `head`. Routers and head
    follow the plain rule and are never preconditioned. Learning-rate schedulers and `state_dict` work as for
    any optimizer. The parameters become views of flat buffers, one for each shape.
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
        buffers_A, buffers_B = buffers_of([weights[EXPERTS_A], weights[EXPERTS_B]])
        self.buffers: dict[str, list[Buffer]] = {
            EXPERTS_A: buffers_A,
            EXPERTS_B: buffers_B,
            ROUTERS: buffers_of([weights[ROUTERS]])[0],
            HEAD: buffers_of([weights[HEAD]])[0],
        }
        """By group; those of A and B at the same place hold the factors of the same modules."""
        self.rule = rule
        self.is_preconditioned = preconditioned
        self.updates_a_first = preconditioned and not simultaneous and rule.RELEASE_UPDATES_A_FIRST
        self.max_norms = dict(max_norms)
        self.num_steps = 0
        self.last_step = StepStatistics()

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
        outcome = step_together([self])[0]
        if isinstance(outcome, TrialFailedError):
            raise outcome
        return loss

    def group(self, name: str) -> dict[str, Any]:
        """The parameter group of a name."""
        return next(group for group in self.param_groups if group["name"] == name)

    def all_buffers(self) -> list[tuple[str, Buffer]]:
        """Every buffer with its group's name."""
        return [(name, buffer) for name, buffers in self.buffers.items() for buffer in buffers]

    def show_moments(self) -> None:
        """Give each parameter its own part of the moments as its state."""
        for _, buffer in self.all_buffers():
            if not buffer.moments or self.state.get(buffer.params[0]):
                continue
            for place, param in enumerate(buffer.params):
                self.state[param] = {name: moment[place] for name, moment in buffer.moments.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, as for any optimizer."""
        super().load_state_dict(state_dict)
        for _, buffer in self.all_buffers():
            states = [self.state.pop(param, {}) for param in buffer.params]
            if all(states):
                buffer.moments = {name: torch.stack([state[name] for state in states]) for name in states[0]}
        self.show_moments()
