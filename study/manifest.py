"""Where a study ran: versions, hardware and digests, so that a reader can tell what differs elsewhere."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from study.spec import StudySpec

PACKAGES = (
    "trialwright",
    "torch",
    "transformers",
    "peft",
    "ray",
    "optuna",
    "mlflow",
    "datasets",
    "numpy",
    "scipy",
)


def manifest(
    spec: StudySpec, *, data_digest: str, split_digests: Mapping[str, str], base_digest: str
) -> dict[str, Any]:
    """What this study runs on; plain JSON.

    Args:
        spec: the study.
        data_digest: SHA-256 of the splits.
        split_digests: SHA-256 of each split alone, by its name.
        base_digest: SHA-256 of the base's files.
    """
    return {
        "spec_digest": spec.digest,
        "space_digests": {name: spec.space(name).digest for name in spec.families},
        "data_digest": data_digest,
        "split_digests": dict(split_digests),
        "base_digest": base_digest,
        "claims": None if spec.claims is None else registration(spec.claims),
        "seed": spec.seed,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "num_cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "accelerators": _accelerators(),
        "packages": {name: package_version(name) for name in PACKAGES},
    }


def registration(claims_path: str) -> dict[str, Any]:
    """A claims file as it is now, its SHA-256, and when it was locked; empty text where it was not."""
    from study.claims.digests import file_digest
    from study.claims.file import read_claims

    written = read_claims(claims_path)
    registered = written.get("registered") or {}
    return {
        "path": claims_path,
        "sha256": file_digest(written),
        "locked_at": registered.get("at", ""),
        "commit": registered.get("commit", ""),
        "written": written,
    }


def package_version(package: str) -> str:
    """The installed version of a package, or `absent`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    """The processor's model as Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _accelerators() -> str:
    """The models of the GPUs that NVIDIA's driver tells of, or `none`; loads no torch."""
    try:
        told = [
            path.read_text(encoding="utf-8")
            for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        ]
    except OSError:
        told = []
    lines = (line for text in told for line in text.splitlines())
    return ", ".join(line.partition(":")[2].strip() for line in lines if line.startswith("Model")) or "none"
