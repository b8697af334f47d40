"""What the whole suite shares: one thread a process, and the order of its files."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
"""Read once by torch and BLAS, here and in what tests start. Threads that wait for each other in a loop take the cores
from those they wait for: beside other processes, tests of small tensors took up to ten times as long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that the short ones even out what two workers have left at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
