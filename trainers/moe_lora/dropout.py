"""Dropout masks from a seed.

Dropout on every adapted layer would cost as much as the layer itself on a CPU: torch draws its masks serially
there, 6 ns an element. NumPy's SFC64 gives 64 raw bits in 1.5 ns, four elements' worth, and its raw stream
is the same on every platform and thread count. Accelerators draw with torch's own generator on the device.

Dimensions: L lanes, T tokens, I input features.
"""

import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_LEVELS = 1 << 16


def keep_probability(dropout: float) -> float:
    """The probability that an element stays, a multiple of 2**-16."""
    return 1 - round(dropout * _LEVELS) / _LEVELS


def keep_mask(
    seeds: Sequence[int], num_tokens: int, num_features: int, *, dropout: float, device: torch.device
) -> Tensor:
    """Independent dropout masks, one per lane.

    Args:
        seeds: one seed per lane, 0 to 2**63 - 1; a seed gives one mask on each kind of device.
        num_tokens: T.
        num_features: I.
        dropout: fraction of the elements that are dropped, resolved to 2**-16.
        device: where the mask is needed.

    Returns:
        keep_LTI of uint8, 1 where an element stays.
    """
    draw = _draw_cpu if device.type == "cpu" else _draw_device
    masks = [draw(seed, num_tokens * num_features, dropout, device) for seed in seeds]
    flat = masks[0].unsqueeze(0) if len(masks) == 1 else torch.stack(masks)
    return flat.view(len(masks), num_tokens, num_features)


def _draw_cpu(seed: int, num_elements: int, dropout: float, _device: torch.device) -> Tensor:
    raw = np.random.SFC64(seed).random_raw(-(-num_elements // 4))
    words = raw if sys.byteorder == "little" else raw.byteswap()
    bits = torch.from_numpy(words.view(np.int16))[:num_elements]
    threshold = round(dropout * _LEVELS) - _LEVELS // 2
    keep = torch.empty(num_elements, dtype=torch.uint8)
    return torch.ge(bits, threshold, out=keep)


def _draw_device(seed: int, num_elements: int, dropout: float, device: torch.device) -> Tensor:
    generator = torch.Generator(device).manual_seed(seed)
    keep = torch.empty(num_elements, dtype=torch.uint8, device=device)
    return keep.bernoulli_(keep_probability(dropout), generator=generator)
