"""The SGD rule: the direction times the learning rate, no momentum, as in the method's release.

Source: `torch.optim.sgd`, which does the arithmetic. Weight decay is added to the direction after any
preconditioning, so that it is decoupled from the preconditioner.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim.sgd import sgd

RELEASE_UPDATES_A_FIRST = False
"""Whether the method's release preconditions B with the A that this step has already changed."""


def update(
    weights: Sequence[Tensor],
    directions: Sequence[Tensor],
    states: Sequence[dict[str, Any]],
    group: Mapping[str, Any],
) -> None:
    """Move the weights of one parameter group in place.

    Args:
        weights: the parameters.
        directions: their gradients or preconditioned gradients.
        states: their optimizer states; SGD keeps none.
        group: the parameter group; `lr` and `weight_decay` are read.
    """
    sgd(
        list(weights),
        list(directions),
        [None for _ in states],
        weight_decay=group["weight_decay"],
        momentum=0.0,
        lr=group["lr"],
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )
