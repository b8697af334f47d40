"""The SGD rule: the direction times the learning rate, no momentum, as in the method's release.

Source: `torch.optim.sgd`. Weight decay is added after any preconditioning, so that it is decoupled from the
preconditioner.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.optimizers.buffers import Buffer

RELEASE_UPDATES_A_FIRST = False
"""Whether the method's release preconditions B with the A that this step has already changed."""
SETTINGS: tuple[str, ...] = ()
"""What of a parameter group the rule reads, besides `lr` and `weight_decay`."""


def fill_changes(
    buffers: Sequence[Buffer],
    directions: Sequence[Tensor],
    lrs: Sequence[float],
    settings: Mapping[str, Any],  # noqa: ARG001
) -> None:
    """Write what a step adds to the weights, decay aside, into the buffers' `changes`.

    Args:
        buffers: of any number of optimizers.
        directions: their gradients or preconditioned gradients.
        lrs: their learning rates.
        settings: nothing.
    """
    changes = [buffer.changes for buffer in buffers]
    torch._foreach_copy_(changes, list(directions))
    torch._foreach_mul_(changes, [-lr for lr in lrs])
