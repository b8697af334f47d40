"""What this machine offers a study, and what it lacks."""

import os
import shutil
import sys
from importlib.util import find_spec
from typing import Any

import psutil

from study.home import Home
from study.manifest import PACKAGES, package_version

MIN_FREE_BYTES = 5 * 2**30
MIN_MEMORY_BYTES = 4 * 2**30
MIN_PYTHON = (3, 11)


def examine(home: Home) -> list[dict[str, Any]]:
    """Findings, each with a name, whether it is well, and a sentence."""
    free = shutil.disk_usage(home.root).free
    memory = psutil.virtual_memory().available
    python = sys.version.split()[0]
    return [
        _finding("python", sys.version_info >= MIN_PYTHON, f"Python {python}; 3.11 or newer is needed."),
        *(
            _finding(name, package_version(name) != "absent", f"{name} {package_version(name)}.")
            for name in PACKAGES
        ),
        _finding("device", True, _devices()),
        _finding("bfloat16", True, _bfloat16()),
        _finding("processors", True, f"{os.cpu_count()} CPUs."),
        _finding(
            "memory", memory > MIN_MEMORY_BYTES, f"{memory / 2**30:.1f} GiB of memory are free; 4 are needed."
        ),
        _finding(
            "disk", free > MIN_FREE_BYTES, f"{free / 2**30:.1f} GiB are free in {home.root}; 5 are needed."
        ),
        *_parts(home),
    ]


def examination_text(findings: list[dict[str, Any]]) -> str:
    """The findings, a line each."""
    lines = [f"{'ok' if finding['ok'] else 'LACKING':<8} {finding['says']}" for finding in findings]
    return "\n".join(lines)


def _finding(name: str, well: bool, says: str) -> dict[str, Any]:
    return {"name": name, "ok": bool(well), "says": says}


def _devices() -> str:
    if find_spec("torch") is None:
        return "torch is not installed, so no device was looked for."
    import torch

    if not torch.cuda.is_available():
        return "No CUDA device: trials train on the CPU."
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"CUDA devices: {', '.join(names)}."


def _bfloat16() -> str:
    if find_spec("torch") is None:
        return "torch is not installed, so bfloat16 was not timed."
    import torch

    from trainers.precision import SLOW_BFLOAT16, bfloat16_time

    found = bfloat16_time(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    advice = (
        ": write `dtype: float32` under `base` for studies on this machine." if found > SLOW_BFLOAT16 else "."
    )
    return f"Matrix products in bfloat16 take {found:.1f} times as long as in float32{advice}"


def _parts(home: Home) -> list[dict[str, Any]]:
    from trainers.parts import PARTS, is_ready

    return [
        _finding(
            part.name,
            True,
            f"{part.requirement} is {'ready' if is_ready(part, home.parts_dir) else 'fetched when a study needs it'}.",
        )
        for part in PARTS.values()
    ]
