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
    """Make what a step adds to the weights, decay aside, the buffers' `changes`.

    Args:
        buffers: of any number of optimizers.
        directions: their gradients, which stay as they are, or preconditioned gradients, which may become the
            changes.
        lrs: their learning rates.
        settings: nothing.
    """
    pairs = list(zip(buffers, directions, strict=True))
    shared = [pair for pair in pairs if not _may_be_kept(*pair)]
    if shared:
        torch._foreach_copy_([buffer.changes for buffer, _ in shared], [direction for _, direction in shared])
    for buffer, direction in pairs:
        if _may_be_kept(buffer, direction):
            buffer.changes = direction
    torch._foreach_mul_([buffer.changes for buffer in buffers], [-lr for lr in lrs])


def _may_be_kept(buffer: Buffer, direction: Tensor) -> bool:
    """Whether a direction is nobody else's: not the gradient, nor a part of a batch of directions."""
    return direction is not buffer.gradients and direction.untyped_storage().nbytes() == direction.nbytes
