from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import linear

from search_spaces.errors import SpecError
from tests.trainers.test_trial import bench
from trainers import precision
from trainers.precision import MODES, Probe, bfloat16_time, choose_mode, probe_precision, use_precision
from trainers.products import Product, products_of
from trainers.workbench import Workbench
from trainers.workload import Base

CPU = torch.device("cpu")
SQUARE = Product(num_tokens=16, num_inputs=24, num_outputs=8)
NARROW = replace(SQUARE, num_inputs=4)
"""Sums over 4 and, on the way back, over 8; the other over 24 and 8."""


@pytest.fixture(autouse=True)
def _same_mode_after():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def tiny_workbench(tmp_path: Path) -> Workbench:
    return bench(tmp_path)


@pytest.fixture
def made_up_hardware(monkeypatch: pytest.MonkeyPatch):
    """Kernels that round in `medium`, but in some shapes alone, with times that no neighbour disturbs."""

    def errors(left: torch.Tensor, right: torch.Tensor) -> dict[str, float]:
        rounds = left.shape[-1] == SQUARE.num_inputs
        return {"highest": 1e-7, "high": 1e-7, "medium": 1e-3 if rounds else 2e-7}

    def product_s(*_: torch.Tensor) -> float:
        return {"highest": 1.0, "high": 0.1, "medium": 0.5}[torch.get_float32_matmul_precision()]

    monkeypatch.setattr(precision, "_errors", errors)
    monkeypatch.setattr(precision, "_product_s", product_s)


@pytest.mark.usefixtures("made_up_hardware")
@pytest.mark.parametrize(
    ("products", "tolerance", "mode"),
    [
        ([NARROW], 1e-6, "medium"),
        ([NARROW] * 99 + [SQUARE], 1e-6, "highest"),  # exact on most shapes is not enough
        ([NARROW, replace(SQUARE, count=0)], 1e-6, "highest"),
        ([NARROW, SQUARE], 1e-2, "medium"),
        ([NARROW], 1e-7, "highest"),
    ],
)
def test_the_worst_shape_decides(products: list[Product], tolerance: float, mode: str):
    assert choose_mode(products, tolerance, CPU).mode == mode


@pytest.mark.usefixtures("made_up_hardware")
def test_a_mode_with_the_same_result_is_not_another_mode():
    figures = choose_mode([NARROW], 1e-6, CPU).figures
    assert {mode: one.relative_time for mode, one in figures.items()} == {
        "highest": 1.0,
        "high": 1.0,  # its time would be 0.1
        "medium": 0.5,
    }


@pytest.mark.usefixtures("made_up_hardware")
@pytest.mark.parametrize(("seconds", "mode"), [(0.94, "medium"), (0.96, "highest")])
def test_a_mode_must_be_clearly_faster(seconds: float, mode: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        precision,
        "_product_s",
        lambda *_: seconds if torch.get_float32_matmul_precision() == "medium" else 1.0,
    )
    assert choose_mode([NARROW], 1e-6, CPU).mode == mode


@pytest.mark.usefixtures("made_up_hardware")
def test_one_lucky_round_does_not_decide(monkeypatch: pytest.MonkeyPatch):
    times = iter([1.0, 0.5, 1.0, 0.5, 1.0, 0.99] * 2)  # highest, medium, three rounds of two products
    monkeypatch.setattr(precision, "_product_s", lambda *_: next(times))
    probe = choose_mode([NARROW], 1e-6, CPU)
    assert probe.mode == "highest"
    assert (probe.figures["medium"].relative_time, probe.figures["medium"].largest_relative_time) == (
        0.5,
        0.99,
    )


def test_errors_are_measured_against_float64():
    left, right = torch.randn(2, 64, 512, generator=torch.Generator().manual_seed(0)).split([40, 24], dim=1)
    right = right.mT
    exact = left.double() @ right.double()
    plain = float((exact - left @ right).norm() / exact.norm())
    found = precision._errors(left, right)
    assert found["highest"] == plain
    assert 1e-8 < plain < 1e-6  # some roundings of 6e-8
    assert found["medium"] < 1e-2  # bfloat16's three digits


def test_a_probe_leaves_the_mode_as_it_was_and_can_be_kept():
    use_precision("high")
    probe = choose_mode([SQUARE, replace(SQUARE, num_lanes=2, trained=True)], 1e-6, CPU)
    assert torch.get_float32_matmul_precision() == "high"
    assert set(probe.figures) == set(MODES)
    assert probe.figures["highest"].relative_time == 1
    assert Probe.from_json(probe.to_json()) == probe
    assert probe.torch_version == torch.__version__


def test_without_a_tolerance_nothing_is_tried():
    probe = choose_mode([SQUARE], 0.0, CPU)
    assert (probe.mode, probe.figures) == ("highest", {})


def test_an_unknown_mode_is_refused():
    with pytest.raises(SpecError, match="Unknown mode of matrix products 'mediun', did you mean 'medium'"):
        use_precision("mediun")


@pytest.mark.parametrize("num_lanes", [None, 3])
def test_operands_are_those_of_a_layer_and_its_gradients(num_lanes: int | None):
    product = replace(SQUARE, num_lanes=num_lanes, trained=True)
    (x, weights_t), (dy, weights), (dy_t, again) = product.operands(torch.Generator().manual_seed(0))
    x, weights = x.requires_grad_(), weights.requires_grad_()
    layer = linear if num_lanes is None else lambda inputs, matrix: inputs @ matrix.mT
    layer(x, weights).backward(dy)
    torch.testing.assert_close(layer(x, weights), x @ weights_t)
    torch.testing.assert_close(x.grad, dy @ weights)
    torch.testing.assert_close(weights.grad, dy_t @ again)


def test_the_products_are_those_of_the_workload(tiny_workbench: Workbench):
    found = products_of(tiny_workbench)
    base = {
        (product.num_tokens, product.num_inputs, product.num_outputs): product.count
        for product in found
        if product.num_lanes is None and product.count
    }
    # Hidden 32 in 2 layers; q and o, k and v, gate and up, down; then the vocabulary at few positions.
    vocabulary = tiny_workbench.foundation.model.config.vocab_size
    assert base == {
        (128, 32, 32): 4,
        (128, 32, 16): 4,
        (128, 32, 64): 4,
        (128, 64, 32): 2,
        (8, 32, vocabulary): 1,
    }
    adapters = [product for product in found if product.num_lanes is not None]
    assert all(product.trained for product in adapters)
    assert {(product.num_inputs, product.num_outputs) for product in adapters} == {
        pair for width in (4, 40, 128) for pair in ((32, width), (width, 32), (width, 16))
    }


def test_a_bfloat16_base_has_float32_products_in_its_adapters_alone(tiny_workbench: Workbench):
    tiny_workbench.foundation.model.bfloat16()
    assert all(product.num_lanes is not None for product in products_of(tiny_workbench))


def test_a_workbench_is_probed_by_its_own_tolerance(tiny_workbench: Workbench):
    probe = probe_precision(tiny_workbench)
    assert probe.tolerance == 1e-6
    assert all(one.error > 0 for one in probe.figures.values())
    assert probe.figures[probe.mode].error <= 1e-6
    exact = Base(model="path:x", matmul_tolerance=0.0)
    tiny_workbench.workload = tiny_workbench.workload.model_copy(update={"base": exact})
    assert probe_precision(tiny_workbench).figures == {}


def test_a_long_probe_says_so(tiny_workbench: Workbench, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    probe_precision(tiny_workbench, said.append)
    assert said == []
    monkeypatch.setattr(precision, "EXPECTED_S", 0.0)
    probe_precision(tiny_workbench, said.append)
    assert len(said) == 1


def test_bfloat16_is_timed_beside_float32(monkeypatch: pytest.MonkeyPatch):
    takes = {torch.float32: 2.0, torch.bfloat16: 5.0}
    monkeypatch.setattr(precision, "_product_s", lambda left, _: takes[left.dtype])
    assert bfloat16_time(CPU) == 2.5


@pytest.mark.gpu
def test_tensor_cores_that_round_are_refused_by_the_default_tolerance(tiny_workbench: Workbench):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    big = Product(num_tokens=512, num_inputs=2048, num_outputs=2048)
    probe = choose_mode([big], 1e-6, torch.device("cuda"))
    assert probe.device_name == torch.cuda.get_device_name()
    if torch.cuda.get_device_capability() >= (8, 0):
        assert probe.figures["high"].error > 1e-5
        assert choose_mode([big], 1e-2, torch.device("cuda")).mode != "highest"
    assert probe.mode == "highest"
