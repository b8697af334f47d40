"""Which float32 matrix products this hardware does fastest, within a tolerance that is measured and not assumed.

PyTorch's `torch.set_float32_matmul_precision` permits kernels that round their inputs to TF32 or bfloat16.
Whether they do so depends on the hardware, the library and the shape: on one processor `medium` changes rounding
only and saves time, on another it costs three decimal digits, and on some shapes alone. So every mode is tried
on the shapes of the workload, small and large, and its worst error counts.

The mode must be one for a whole study, or equal trials would not give equal measurements: the first process
probes, and all others are told.
"""

import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, cast, get_args

import torch
from torch import Tensor

from search_spaces.errors import unknown
from trainers.products import Product, products_of
from trainers.workbench import Workbench

Mode = Literal["highest", "high", "medium"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""As PyTorch names them; `highest` is plain float32."""

CLEARLY_FASTER = 0.95
"""Share of the time of `highest` that a mode may take at most to be preferred: less would be noise."""
NUM_ROUNDS = 3
"""Timings of all products in all modes, turn by turn."""
EXPECTED_S = 2.0
"""Seconds after which a probe says how long it took."""
BFLOAT16_SIZE = 512
"""Rows and columns of the matrices by which bfloat16 is timed."""
SLOW_BFLOAT16 = 2.0
"""Time of its products relative to float32 from which users are told of it."""


@dataclass(frozen=True, kw_only=True)
class ModeFigures:
    """What a mode came to."""

    error: float
    """Largest relative error of a product, in the Frobenius norm, against float64."""
    relative_time: float
    """Time of a step's products as a share of that of `highest`, the median over rounds."""
    largest_relative_time: float
    """The same in the least favourable round; it decides, as one round may be luck on a busy machine."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Which mode was chosen, and by what."""

    mode: Mode
    tolerance: float
    figures: Mapping[str, ModeFigures]
    """By mode; empty where none was tried."""
    torch_version: str
    device_name: str
    elapsed_s: float
    device_type: str = ""
    """`cpu` or `cuda`; empty in records that were made before it was kept."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        figures = {mode: ModeFigures(**one) for mode, one in document["figures"].items()}
        return cls(**{**document, "figures": figures})


def use_precision(mode: str) -> None:
    """Do all float32 products of this process in a mode from now on.

    Args:
        mode: one of `MODES`.

    Raises:
        SpecError: there is no such mode.
    """
    if mode not in MODES:
        raise unknown("mode of matrix products", mode, MODES)
    torch.set_float32_matmul_precision(mode)


def probe_precision(workbench: Workbench, report: Callable[[str], None] = lambda _: None) -> Probe:
    """Choose the mode of a study on this hardware, by its base's `matmul_tolerance`; sets none.

    Args:
        workbench: base and text, without adapters.
        report: receives a sentence where it took long.
    """
    tolerance, device = workbench.workload.base.matmul_tolerance, workbench.foundation.device
    probe = choose_mode(products_of(workbench), tolerance, device)
    if probe.elapsed_s > EXPECTED_S:
        report(f"Measuring how exact matrix products are took {probe.elapsed_s:.0f} s, once for the study.")
    return probe


def choose_mode(products: Sequence[Product], tolerance: float, device: torch.device) -> Probe:
    """Try every mode on some products, and take the fastest within the tolerance.

    Args:
        products: at least one that counts.
        tolerance: largest relative error that another mode than `highest` may have; 0: nothing is tried.
        device: where the products are done.
    """
    before = time.perf_counter()
    figures = _figures(products, device) if tolerance > 0 else {}
    times = {mode: one.largest_relative_time for mode, one in figures.items() if one.error <= tolerance}
    fastest = min(times, key=lambda mode: times[mode], default="highest")
    return Probe(
        mode=cast("Mode", fastest) if times.get(fastest, 1.0) <= CLEARLY_FASTER else "highest",
        tolerance=tolerance,
        figures=figures,
        torch_version=torch.__version__,
        device_name=device_name(device),
        device_type=device.type,
        elapsed_s=time.perf_counter() - before,
    )


def _figures(products: Sequence[Product], device: torch.device) -> dict[str, ModeFigures]:
    """Worst error and relative time of each mode."""
    generator = torch.Generator(device).manual_seed(0)
    errors = dict.fromkeys(MODES, 0.0)
    rounds_s = {mode: [0.0] * NUM_ROUNDS for mode in MODES}
    mode_before = torch.get_float32_matmul_precision()
    try:
        for product in products:
            for left, right in product.operands(generator):
                found = _errors(left, right)
                errors = {mode: max(errors[mode], found[mode]) for mode in MODES}
                if product.count:
                    timed = _timings_s(left, right, {m for m in MODES if found[m] != found["highest"]})
                    for mode, timings in timed.items():
                        for number, seconds in enumerate(timings):
                            rounds_s[mode][number] += product.count * seconds
    finally:
        torch.set_float32_matmul_precision(mode_before)
    return {mode: _mode_figures(errors[mode], rounds_s[mode], rounds_s["highest"]) for mode in MODES}


def _mode_figures(error: float, rounds_s: Sequence[float], highest_s: Sequence[float]) -> ModeFigures:
    shares = [one_s / other_s for one_s, other_s in zip(rounds_s, highest_s, strict=True)]
    return ModeFigures(
        error=error, relative_time=statistics.median(shares), largest_relative_time=max(shares)
    )


def _errors(left: Tensor, right: Tensor) -> dict[Mode, float]:
    """Relative error of a product in each mode, in the Frobenius norm against float64."""
    exact = left.double() @ right.double()
    size = exact.norm()
    errors: dict[Mode, float] = {}
    for mode in MODES:
        torch.set_float32_matmul_precision(mode)
        errors[mode] = float((exact - left @ right).norm() / size)
    return errors


def bfloat16_time(device: torch.device) -> float:
    """Time of a product in bfloat16 relative to float32; far above 1 on processors without instructions for it."""

    def product_s(dtype: torch.dtype) -> float:
        matrix = torch.ones(BFLOAT16_SIZE, BFLOAT16_SIZE, dtype=dtype, device=device)
        return min(_product_s(matrix, matrix) for _ in range(1 + NUM_ROUNDS))

    return product_s(torch.bfloat16) / product_s(torch.float32)


def _timings_s(left: Tensor, right: Tensor, differing: set[Mode]) -> dict[Mode, list[float]]:
    """Times of a product in each mode; a mode that gave the same result is `highest` by another name."""
    timings: dict[Mode, list[float]] = {mode: [] for mode in ("highest", *sorted(differing))}
    for _ in range(NUM_ROUNDS):
        for mode, measured in timings.items():
            torch.set_float32_matmul_precision(mode)
            measured.append(_product_s(left, right))
    return {mode: timings.get(mode, timings["highest"]) for mode in MODES}


def _product_s(left: Tensor, right: Tensor) -> float:
    _wait_for(left.device)
    before = time.perf_counter()
    _ = left @ right
    _wait_for(left.device)
    return time.perf_counter() - before


def _wait_for(device: torch.device) -> None:
    """Until all that was begun there is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """The GPU's, or the processor's instructions that PyTorch's kernels use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} with {torch.backends.cpu.get_cpu_capability()}"
