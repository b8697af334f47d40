"""The AdamW rule: Adam's moments of the direction, decoupled weight decay.

Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101; `torch.optim.adamw`
does the arithmetic, fused where the device can. The moments are those of the preconditioned gradient, as in
the method's release. Differs from PyTorch in one option: without bias correction, as released, the moments
are used as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from trainers.optimizers.buffers import Buffer

RELEASE_UPDATES_A_FIRST = True
"""Whether the method's release preconditions B with the A that this step has already changed."""
SETTINGS: tuple[str, ...] = ("betas", "eps", "bias_correction", "fused")
"""What of a parameter group the rule reads, besides `lr` and `weight_decay`."""

_LONG_PAST = 1e9
"""A step count at which both bias corrections are exactly 1 for any usable beta."""


def fill_changes(
    buffers: Sequence[Buffer], directions: Sequence[Tensor], lrs: Sequence[float], settings: Mapping[str, Any]
) -> None:
    """Write what a step adds to the weights, decay aside, into the buffers' `changes`, and move the moments.

    A step at learning rate 1 from zero is made for all, and then scaled, so that one call serves any rates.

    Args:
        buffers: of any number of optimizers; their moments `step`, `exp_avg` and `exp_avg_sq` are made when absent.
        directions: their gradients or preconditioned gradients.
        lrs: their learning rates.
        settings: `betas`, `eps`, `bias_correction` and `fused`, the same for all.
    """
    for buffer in buffers:
        if not buffer.moments:
            steps_on = buffer.weights.device if settings["fused"] else torch.device("cpu")
            buffer.moments = {
                "step": torch.zeros(len(buffer.params), device=steps_on),
                "exp_avg": torch.zeros_like(buffer.weights),
                "exp_avg_sq": torch.zeros_like(buffer.weights),
            }
    steps = [buffer.moments["step"] for buffer in buffers]
    torch._foreach_add_(steps, 1)
    before = [
        step[0] - 1 if settings["bias_correction"] else torch.full_like(step[0], _LONG_PAST) for step in steps
    ]
    changes = [buffer.changes for buffer in buffers]
    torch._foreach_zero_(changes)
    adamw(
        changes,
        list(directions),
        [buffer.moments["exp_avg"] for buffer in buffers],
        [buffer.moments["exp_avg_sq"] for buffer in buffers],
        [],
        before,
        fused=settings["fused"],
        foreach=None if not settings["fused"] else False,
        amsgrad=False,
        beta1=settings["betas"][0],
        beta2=settings["betas"][1],
        lr=1.0,
        weight_decay=0.0,
        eps=settings["eps"],
        maximize=False,
    )
    torch._foreach_mul_(changes, list(lrs))
