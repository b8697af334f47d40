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

RELEASE_UPDATES_A_FIRST = True
"""Whether the method's release preconditions B with the A that this step has already changed."""

_LONG_PAST = 1e9
"""A step count at which both bias corrections are exactly 1 for any usable beta."""


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
        states: their optimizer states: `step`, `exp_avg` and `exp_avg_sq`, made when empty.
        group: the parameter group; `lr`, `weight_decay`, `betas`, `eps`, `bias_correction` and `fused` count.
    """
    for weight, state in zip(weights, states, strict=True):
        if not state:
            step_device = weight.device if group["fused"] else torch.device("cpu")
            state["step"] = torch.zeros((), device=step_device)
            state["exp_avg"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
    steps = [state["step"] for state in states]
    counted = steps if group["bias_correction"] else [torch.full_like(step, _LONG_PAST) for step in steps]
    adamw(
        list(weights),
        list(directions),
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        [],
        counted,
        fused=group["fused"],
        foreach=None if not group["fused"] else False,
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
    if counted is not steps:
        for step in steps:
            step.add_(1)
