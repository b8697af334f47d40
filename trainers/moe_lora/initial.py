"""Initial weights from (seed, module name) alone.

A_i is kaiming-uniform with a = sqrt(5), drawn per expert, which is uniform on +-1/sqrt(I); B_i is 0; the
router has `torch.nn.Linear`'s default, again uniform on +-1/sqrt(I). All is drawn in float32 on the CPU, so
that neither device, dtype, module order nor optimizer family can change it.

Dimensions: E experts, R rank, I input features, O output features.
"""

import math

import torch
from torch import Tensor

from search_spaces.designs import derived_seed


@torch.no_grad()
def fill_initial_weights(
    A_ERI: Tensor, B_EOR: Tensor, router_EI: Tensor, *, seed: int | None, module_name: str
) -> None:
    """Overwrite an adapter's weights in one layer; tensors on the meta device are left alone.

    Args:
        A_ERI: the experts' first factors.
        B_EOR: the experts' second factors.
        router_EI: the router's weights.
        seed: any integer; none draws from torch's global stream.
        module_name: the layer's name within the base model.
    """
    if A_ERI.is_meta:
        return
    bound = 1 / math.sqrt(A_ERI.shape[-1])
    for weights, role in ((A_ERI, "A"), (router_EI, "router")):
        generator = None
        if seed is not None:
            generator = torch.Generator().manual_seed(derived_seed(seed, module_name, role))
        drawn = torch.empty(weights.shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
        weights.copy_(drawn)
    B_EOR.zero_()
