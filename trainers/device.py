"""How a process uses its device: threads, memory, and the settings without which results would not repeat."""

import os

import torch

MEMORY_FRAC = 0.95
"""Share of a GPU's memory that a process may take; the rest is the driver's, the display's and the libraries'."""


def prepare_device(device: torch.device | str, num_threads: int) -> None:
    """Make this process repeatable on its device, once and before it computes anything.

    Args:
        device: `cpu`, `cuda` or one GPU such as `cuda:0`, which no other process uses.
        num_threads: processor cores for operations on the CPU.
    """
    device = torch.device(device)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may sum in another order
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # nothing reads it
    torch.backends.cudnn.benchmark = False
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.set_per_process_memory_fraction(MEMORY_FRAC, index)
