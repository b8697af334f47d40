"""Checkpoints: safetensors and JSON in one folder a step, written atomically, read with a checksum.

A checkpoint is complete or absent: files are written and synced in a folder with a temporary name, which is
then renamed. The last two are kept, so that one damaged on disk falls back to the one before. Nothing is
unpickled.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

TENSORS_FILE = "tensors.safetensors"
STATE_FILE = "state.json"
NUM_KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a trial needs to go on exactly where it was."""

    step: int
    """Optimizer steps done."""
    tensors: Mapping[str, Tensor]
    """Weights and optimizer moments by name, on the CPU."""
    state: Mapping[str, Any]
    """Plain JSON: reports so far, counters, and the digest of the trial they belong to."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint durably and drop all but the newest two.

    Args:
        folder: the trial's own folder; made when absent.
        checkpoint: what to write; tensors may live on any device.

    Returns:
        The folder `step-<n>` that now holds it.

    Raises:
        OSError: the disk is full or cannot be written; earlier checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{checkpoint.step:08d}"
    partial = folder / f".partial-{os.getpid()}-{checkpoint.step}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        tensor_bytes = save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        )
        facts = {
            "step": checkpoint.step,
            "tensors_sha256": hashlib.sha256(tensor_bytes).hexdigest(),
            "state": dict(checkpoint.state),
        }
        document = {"sha256": _checksum(facts), "facts": facts}
        _write_durably(partial / TENSORS_FILE, tensor_bytes)
        _write_durably(partial / STATE_FILE, json.dumps(document).encode())
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        _sync_folder(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for stale in _newest_first(folder)[NUM_KEPT:]:
        shutil.rmtree(stale, ignore_errors=True)
    return target


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None when there is none.

    Args:
        folder: the trial's own folder; it may be absent.
    """
    for candidate in _newest_first(folder):
        checkpoint = _read(candidate)
        if checkpoint is not None:
            return checkpoint
    return None


def _read(candidate: Path) -> Checkpoint | None:
    """One checkpoint, or None when any byte of it is not what was written."""
    try:
        tensor_bytes = (candidate / TENSORS_FILE).read_bytes()
        document = json.loads((candidate / STATE_FILE).read_text())
        facts = document["facts"]
        if document["sha256"] != _checksum(facts):
            return None
        if hashlib.sha256(tensor_bytes).hexdigest() != facts["tensors_sha256"]:
            return None
        return Checkpoint(step=facts["step"], tensors=load(tensor_bytes), state=facts["state"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def _checksum(facts: Mapping[str, Any]) -> str:
    """SHA-256 over plain JSON, the same before it is written and after it is read."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
