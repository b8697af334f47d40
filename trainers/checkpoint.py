"""Checkpoints: safetensors and JSON under one name a step, written complete or not at all, read with a checksum.

They lie in a folder or in an object store (`trainers.places`). The tensors are written first and the state last, which
holds their checksum; so a checkpoint is complete or absent. The last two are kept, so that one that was damaged falls
back to the one before. Reports that come between two checkpoints lie beside them as small files of their own: a trial
that goes on from the checkpoint before repeats steps, but measures nothing twice. Nothing is unpickled.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainers.places import Folder, Place, place_at

TENSORS_FILE = "tensors.safetensors"
STATE_FILE = "state.json"
NUM_KEPT = 2
REPORT_FILE = "report.json"
_PREFIX, _REPORT_PREFIX = "step-", "report-"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a trial needs to go on exactly where it was."""

    step: int
    """Optimizer steps done."""
    tensors: Mapping[str, Tensor]
    """Weights and optimizer moments by name, on the CPU."""
    state: Mapping[str, Any]
    """Plain JSON: reports so far, counters, and the digest of the trial they belong to."""


def save_checkpoint(folder: Folder, checkpoint: Checkpoint) -> Folder:
    """Write a checkpoint durably and drop all but the newest two.

    Args:
        folder: the trial's own folder; made when absent.
        checkpoint: what to write; tensors may live on any device.

    Returns:
        The folder `step-<n>` that now holds it.

    Raises:
        OSError: the disk is full or cannot be written; earlier checkpoints are untouched.
        StoreAwayError: the object store did not take it; earlier checkpoints are untouched.
    """
    tensor_bytes = save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    )
    facts = {
        "step": checkpoint.step,
        "tensors_sha256": hashlib.sha256(tensor_bytes).hexdigest(),
        "state": dict(checkpoint.state),
    }
    document = {"sha256": _checksum(facts), "facts": facts}
    place, name = place_at(folder), f"{_PREFIX}{checkpoint.step:08d}"
    place.write(name, {TENSORS_FILE: tensor_bytes, STATE_FILE: json.dumps(document).encode()})
    for stale in _newest_first(place)[NUM_KEPT:]:
        place.remove(stale)
    return folder / name


def save_report(folder: Folder, number: int, report: Mapping[str, Any], *, digest: str) -> None:
    """Write what a trial reports durably, without its tensors.

    Args:
        folder: the trial's own folder.
        number: of the report, from 0.
        report: plain JSON.
        digest: of the trial.

    Raises:
        OSError: the disk is full or cannot be written.
        StoreAwayError: the object store did not take it.
    """
    facts = {"digest": digest, "report": dict(report)}
    document = {"sha256": _checksum(facts), "facts": facts}
    place_at(folder).write(f"{_REPORT_PREFIX}{number:08d}", {REPORT_FILE: json.dumps(document).encode()})


def load_reports(folder: Folder, *, digest: str) -> dict[int, Mapping[str, Any]]:
    """The reports that `save_report` wrote for this trial, by their numbers; damaged ones are left out.

    Raises:
        StoreAwayError: the object store did not answer.
    """
    place = place_at(folder)
    read = {
        name: _facts(place, name, REPORT_FILE)
        for name in place.names()
        if re.fullmatch(rf"{_REPORT_PREFIX}\d+", name)
    }
    return {
        int(name.removeprefix(_REPORT_PREFIX)): facts["report"]
        for name, facts in read.items()
        if facts is not None and facts.get("digest") == digest
    }


def load_newest(folder: Folder) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None when there is none.

    Args:
        folder: the trial's own folder; it may be absent.

    Raises:
        StoreAwayError: the object store did not answer.
    """
    place = place_at(folder)
    for candidate in _newest_first(place):
        checkpoint = _read(place, candidate)
        if checkpoint is not None:
            return checkpoint
    return None


def _read(place: Place, candidate: str) -> Checkpoint | None:
    """One checkpoint, or None when any byte of it is not what was written."""
    facts = _facts(place, candidate, STATE_FILE)
    if facts is None:
        return None
    try:
        tensor_bytes = place.read(candidate, TENSORS_FILE)
        if hashlib.sha256(tensor_bytes).hexdigest() != facts["tensors_sha256"]:
            return None
        step, state = facts["step"], facts["state"]
        if not (type(step) is int and step >= 0 and isinstance(state, dict)):
            return None
        return Checkpoint(step=step, tensors=load(tensor_bytes), state=state)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError):
        return None


def _facts(place: Place, name: str, file: str) -> dict[str, Any] | None:
    """What a JSON file with its checksum says, or None when any byte of it is not what was written."""
    try:
        document = json.loads(place.read(name, file))
        facts: dict[str, Any] = document["facts"]
        return facts if document["sha256"] == _checksum(facts) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _checksum(facts: Mapping[str, Any]) -> str:
    """SHA-256 over plain JSON, the same before it is written and after it is read."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _newest_first(place: Place) -> list[str]:
    return sorted((name for name in place.names() if name.startswith(_PREFIX)), reverse=True)
