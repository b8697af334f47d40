"""One copy of a frozen base for all the processes of a machine.

Weights that were converted as they were loaded (a float32 base from bfloat16 files, say) lie in each process's own
memory. They are written once to a safetensors file, and every process then maps that file in place of its own
copy, so that the system keeps its pages once. A mapped weight has the bytes and the alignment of the weight that
it replaces, and so gives the same measurements to the bit. The map is private: who writes to a weight changes
nobody else's.

Buffers stay as they are, a few kilobytes that modules compute for themselves, and so do heads, which are trained.
Weights that transformers has mapped from the base's own files are shared already.
"""

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
import transformers
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

ALIGNMENT_BYTES = 64
"""Where PyTorch's own weights begin; kernels may sum in another order elsewhere."""

MAPS = Path("/proc/self/maps")
"""Linux's list of what a process has mapped."""

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}
"""As safetensors names them."""


def share_weights(model: nn.Module, cache_dir: Path, *, base_digest: str, private: Sequence[str] = ()) -> int:
    """Point the weights of a base on the CPU at a file that all processes of the machine map.

    The file is written by whoever comes first; one that does not hold these very bytes is replaced. Where there is
    no room for it, the weights stay where they are.

    Args:
        model: the base as it was loaded; its parameters stay the same objects, tied ones tied.
        cache_dir: where the file is kept; safe to delete, also while it is mapped.
        base_digest: SHA-256 of the base's files.
        private: modules whose weights are not shared, by their names or any part between dots.

    Returns:
        Bytes of the weights that are now mapped.
    """
    weights = {
        name: weight
        for name, weight in model.named_parameters()
        if not set(name.split(".")) & set(private) and _can_be_shared(weight)
    }
    weights = _not_mapped(weights)
    if not weights:
        return 0
    facts = [
        base_digest,
        transformers.__version__,
        type(model).__name__,
        [[name, str(weight.dtype), list(weight.shape)] for name, weight in weights.items()],
    ]
    path = cache_dir / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()}.weights"
    mapped = _mapped(path, weights) or _written(path, weights)
    if mapped is None:
        return 0
    for name, weight in weights.items():
        weight.data = mapped[name]
    _give_back_memory()
    return _num_bytes(weights)


def _can_be_shared(weight: Tensor) -> bool:
    """Whether a file without gaps can hold it aligned; the few others are small."""
    whole = weight.nbytes > 0 and weight.nbytes % ALIGNMENT_BYTES == 0
    return whole and weight.device.type == "cpu" and weight.is_contiguous() and weight.dtype in DTYPES


def _not_mapped(weights: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Those that do not lie in a mapped file already; all, where the system does not tell."""
    try:
        lines = [line.split(maxsplit=5) for line in MAPS.read_text().splitlines()]
    except OSError:
        return dict(weights)
    files = [
        tuple(int(place, 16) for place in line[0].split("-"))
        for line in lines
        if line[5:] and line[5].startswith("/")
    ]
    return {
        name: weight
        for name, weight in weights.items()
        if not any(start <= weight.data_ptr() < end for start, end in files)
    }


def _mapped(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The file's tensors; None unless every one has the bytes and the alignment of its weight."""
    try:
        with safe_open(path, framework="pt") as file:
            mapped = {name: file.get_tensor(name) for name in weights}
    except (OSError, SafetensorError):
        return None
    same = all(_same(mapped[name], weight.detach()) for name, weight in weights.items())
    return mapped if same else None


def _same(mapped: Tensor, weight: Tensor) -> bool:
    alike = (mapped.dtype, mapped.shape) == (weight.dtype, weight.shape)
    aligned = mapped.data_ptr() % ALIGNMENT_BYTES == 0
    return alike and aligned and torch.equal(mapped.view(torch.uint8), weight.view(torch.uint8))


def _written(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors of a file that one process writes while others wait for it; None where it cannot be written.

    Without the lock, processes that begin together would each map a file of their own.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            mapped = _mapped(path, weights)
            if mapped is None and shutil.disk_usage(path.parent).free >= 2 * _num_bytes(weights):
                _write(path, weights)
                mapped = _mapped(path, weights)
            return mapped
    except (OSError, NotImplementedError):  # no folder, no room after all, a file system without locks
        return None


def _write(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write the weights durably and in one step."""
    with NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
        partial = Path(file.name)
        try:
            file.write(_header(weights))
            for weight in weights.values():
                file.write(weight.detach().view(torch.uint8).numpy().data)
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _header(weights: Mapping[str, Tensor]) -> bytes:
    """Safetensors' header, filled with spaces so that the first weight is aligned, and so every other."""
    entries, end = {}, 0
    for name, weight in weights.items():
        start, end = end, end + weight.nbytes
        entries[name] = {
            "dtype": DTYPES[weight.dtype],
            "shape": list(weight.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT_BYTES)
    return len(text).to_bytes(8, "little") + text


def _give_back_memory() -> None:
    """Let glibc return what the replaced weights have freed; it would keep most of it for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _num_bytes(weights: Mapping[str, Tensor]) -> int:
    return sum(weight.nbytes for weight in weights.values())
