"""Flat buffers: the weights of all modules of a shape in one tensor, and beside them what an optimizer needs.

A step over buffers is a few batched operations, where one over parameters is thousands of small ones.

Dimensions: M modules of one shape; what follows is the shape of a parameter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter


class Buffer:
    """Weights, gradients, changes and moments of parameters of one shape, which become views of `weights`."""

    def __init__(self, params: Sequence[Parameter], places: Sequence[int]) -> None:
        """Copy the parameters into one tensor and point them at it.

        Args:
            params: one or more of one shape, dtype and device.
            places: their numbers among the parameters of their group.
        """
        self.params = tuple(params)
        self.places = tuple(places)
        self.weights = torch.stack([param.detach() for param in params])
        self.gradients = torch.zeros_like(self.weights)
        self.changes = torch.zeros_like(self.weights)
        """What the last step added to the weights; kept, since fresh memory costs more than the arithmetic."""
        self.moments: dict[str, Tensor] = {}
        """States of the optimizer by name, (M, ...) each; empty before the first step."""
        self.idle: list[int] = []
        """Which parameters had no gradient when `gather` was called last; a step leaves them as they are."""
        self._weight_views = self.weights.unbind(0)
        self._gradient_views = self.gradients.unbind(0)
        self._point()

    @torch.no_grad()
    def gather(self) -> None:
        """Bring in gradients, and weights, that lie elsewhere."""
        places = enumerate(zip(self.params, self._weight_views, strict=True))
        moved = [place for place, (param, view) in places if param.data_ptr() != view.data_ptr()]
        for place in moved:
            self._weight_views[place].copy_(self.params[place])
        if moved:
            self._point()
        pairs = list(zip(self._gradient_views, (param.grad for param in self.params), strict=True))
        fresh = [(view, grad) for view, grad in pairs if grad is not None and grad is not view]
        if fresh:
            torch._foreach_copy_([view for view, _ in fresh], [grad for _, grad in fresh])
        self.idle = [place for place, (_, grad) in enumerate(pairs) if grad is None]
        for place in self.idle:
            self._gradient_views[place].zero_()
        self.show_gradients()

    def show_gradients(self) -> None:
        """Give the parameters their gradients, as views, but for the idle ones."""
        for place, (param, view) in enumerate(zip(self.params, self._gradient_views, strict=True)):
            if param.grad is not view and place not in self.idle:
                param.grad = view

    def _point(self) -> None:
        for param, view in zip(self.params, self._weight_views, strict=True):
            param.data = view


def buffers_of(groups: Sequence[Sequence[Parameter]]) -> list[list[Buffer]]:
    """Buffers of several groups whose members stand side by side, such as the two factors of each module.

    Args:
        groups: as many parameters in each; the first of one belongs to the first of the others.

    Returns:
        The buffers of each group; those at the same number hold the same members.
    """
    members: dict[tuple[object, ...], list[int]] = {}
    for place, together in enumerate(zip(*groups, strict=True)):
        kind = tuple((param.shape, param.dtype, param.device) for param in together)
        members.setdefault(kind, []).append(place)
    return [
        [Buffer([group[place] for place in places], places) for places in members.values()]
        for group in groups
    ]
