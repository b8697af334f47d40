"""The weights of several adapters side by side, zero-padded to one shape, so that a forward pass reads them all.

Dimensions: M modules of one shape, L lanes; what follows is the shape of one module's weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.optimizers import EXPERTS_A, EXPERTS_B, ROUTERS, MoeLoraOptimizer
from trainers.optimizers.buffers import Buffer

GROUPS = (ROUTERS, EXPERTS_A, EXPERTS_B)


@dataclass(kw_only=True)
class _Stack:
    """The buffers of one shape in all lanes."""

    buffers: tuple[Buffer, ...]
    """One a lane."""
    weights: Tensor
    """(M, L, ...)."""
    gradients: Tensor
    leaves: tuple[Tensor, ...]
    """Each module's part of the weights, (L, ...): leaves of autograd."""

    @classmethod
    def of(cls, buffers: Sequence[Buffer]) -> "_Stack":
        first = buffers[0].weights
        widest = [max(sizes) for sizes in zip(*(buffer.weights.shape[1:] for buffer in buffers), strict=True)]
        weights = first.new_zeros((len(first), len(buffers), *widest))
        return cls(
            buffers=tuple(buffers),
            weights=weights,
            gradients=torch.zeros_like(weights),
            leaves=tuple(part.requires_grad_() for part in weights.unbind(0)),
        )

    def own(self, stacked: Tensor) -> list[Tensor]:
        """Each lane's part of a stacked tensor, without the padding."""
        parts = []
        for lane, buffer in enumerate(self.buffers):
            part = stacked[:, lane]
            for place, size in enumerate(buffer.weights.shape[1:], start=1):
                part = part.narrow(place, 0, size)
            parts.append(part)
        return parts


class LaneWeights:
    """Room for the adapters of several lanes; kept while they are the same adapters."""

    def __init__(self, optimizers: Sequence[MoeLoraOptimizer]) -> None:
        """Make room, zero so far.

        Args:
            optimizers: one a lane, over the same modules; they may differ in experts and rank.
        """
        self._stacks = {
            name: [_Stack.of(same) for same in zip(*(one.buffers[name] for one in optimizers), strict=True)]
            for name in GROUPS
        }
        stacks = [stack for stacks in self._stacks.values() for stack in stacks]
        self._places = [place for stack in stacks for place in stack.own(stack.weights)]
        self._own_gradients = [place for stack in stacks for place in stack.own(stack.gradients)]
        self._buffers = [buffer for stack in stacks for buffer in stack.buffers]
        self._lanes = [lane for stack in stacks for lane in range(len(stack.buffers))]
        self._leaves = [leaf for stack in stacks for leaf in stack.leaves]
        self._leaf_gradients = [part for stack in stacks for part in stack.gradients.unbind(0)]

    def of_module(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """One module's router, A and B of all lanes, as leaves of autograd."""
        router, A, B = (
            next(
                stack.leaves[stack.buffers[0].places.index(number)]
                for stack in stacks
                if number in stack.buffers[0].places
            )
            for stacks in self._stacks.values()
        )
        return router, A, B

    @torch.no_grad()
    def load(self) -> None:
        """Copy the lanes' weights in, and forget gradients."""
        torch._foreach_copy_(self._places, [buffer.weights for buffer in self._buffers])
        for leaf in self._leaves:
            leaf.grad = None

    @torch.no_grad()
    def hand_out(self, divisors: Sequence[int]) -> None:
        """Give the lanes' weights the gradients that have gathered here, each lane's divided by its number."""
        gathered = [(part, leaf.grad) for part, leaf in zip(self._leaf_gradients, self._leaves, strict=True)]
        torch._foreach_copy_(
            [part for part, grad in gathered if grad is not None],
            [grad for _, grad in gathered if grad is not None],
        )
        for part, grad in gathered:
            if grad is None:
                part.zero_()
        gradients = [buffer.gradients for buffer in self._buffers]
        torch._foreach_copy_(gradients, self._own_gradients)
        torch._foreach_div_(gradients, [float(divisors[lane]) for lane in self._lanes])
        for buffer in self._buffers:
            buffer.idle = []
            buffer.show_gradients()
