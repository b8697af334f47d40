import subprocess
import sys

import pytest
import torch

CPU_PROGRAM = """
import torch
from trainers.device import prepare_device
prepare_device("cpu", 3)
print(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.empty(8).isnan().any().item())
"""
CUDA_PROGRAM = """
import torch
from trainers.device import prepare_device
prepare_device("cuda", 1)
total = torch.cuda.get_device_properties(0).total_memory
try:
    torch.empty(int(0.97 * total), dtype=torch.uint8, device="cuda")
except torch.OutOfMemoryError as error:
    print(str(error))
"""


def run(program: str) -> str:
    """What a process of its own says, since a device is prepared once a process."""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_process_has_its_threads_and_repeats_itself():
    assert run(CPU_PROGRAM) == "3 True False"


@pytest.mark.gpu
def test_a_process_cannot_fill_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    assert "out of memory" in run(CUDA_PROGRAM)
