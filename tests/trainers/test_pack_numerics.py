"""Packs where nothing promises the last bit: several threads, a base in bfloat16, a GPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.trainers.test_pack import alone, even_bench, one_thread, setups, together
from trainers.device import prepare_device
from trainers.pack import Pack
from trainers.workbench import Workbench, open_workbench

__all__ = ["one_thread"]

BFLOAT16_TOLERANCE = 1e-4
"""Relative, of a loss; bfloat16 itself rounds to 4e-3."""

Figures = dict[str, list[dict[str, object]]]


@pytest.fixture
def two_threads(one_thread: None) -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def in_company_and_alone(shared: Workbench, folder: Path) -> tuple[Figures, Figures]:
    members = setups(folder, mixed=True)
    return together(members, Pack(shared, len(members)), len(members)), alone(members, shared)


def losses(found: Figures) -> dict[str, list[float]]:
    """Select losses by trial, and the outcomes, which must be there for each."""
    return {key: [float(one["metrics"]["select_loss_nats"]) for one in said] for key, said in found.items()}  # type: ignore[index]


def assert_close(company: Figures, lone: Figures, tolerance: float) -> None:
    assert company.keys() == lone.keys()
    expected = losses(lone)
    for key, mine in losses(company).items():
        assert mine == pytest.approx(expected[key], rel=tolerance)


def test_two_threads_keep_measurements_within_a_millionth(tmp_path, two_threads):
    shared = even_bench(tmp_path, adapter={"dropout": 0.1})
    assert_close(*in_company_and_alone(shared, tmp_path), tolerance=1e-6)


def test_a_bfloat16_base_keeps_measurements_within_a_fraction_of_its_rounding(tmp_path):
    """A product of more rows may take another kernel, and one of its elements then differs by up to 4e-3."""
    shared = even_bench(tmp_path, adapter={"dropout": 0.1})
    shared.foundation.model.bfloat16()
    assert_close(*in_company_and_alone(shared, tmp_path), tolerance=BFLOAT16_TOLERANCE)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", BFLOAT16_TOLERANCE)])
def test_a_gpu_keeps_measurements_within_the_same_tolerances(tmp_path, dtype, tolerance):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    prepare_device("cuda", 1)
    made = even_bench(tmp_path, adapter={"dropout": 0.1}).workload
    made = made.model_copy(update={"base": made.base.model_copy(update={"dtype": dtype})})
    shared = open_workbench(made, tmp_path, tmp_path / "cache", "cuda")
    assert_close(*in_company_and_alone(shared, tmp_path), tolerance=tolerance)
