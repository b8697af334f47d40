"""Read data sets of the Hugging Face hub, or the same ones from a local folder.

A local folder is what `Dataset.save_to_disk` writes, a clone of the hub's repository, or files named after
their split (`train.parquet`, `test.jsonl`, …). No script of a data set is ever run.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from search_spaces.errors import RetryableError, SpecError
from trainers.part_files import Report
from trainers.tasks.rows import Row, TaskSource, refuse_own_fields
from trainers.workload import Task

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class HubSet:
    """A data set and how its records become rows."""

    name: str
    repository: str
    config: str | None
    held_out: str
    """The split that is kept for the report; the other labelled splits are for training and selection."""
    splits: tuple[str, ...]
    """Labelled splits for training and selection."""
    convert: Callable[[Record], Row | None]
    """A record's row; None when it has no label or is not text."""
    description: str
    licence: str


def source_of(hub_set: HubSet) -> TaskSource:
    """The registry's entry of a data set."""
    return TaskSource(
        name=hub_set.name,
        description=hub_set.description,
        licence=f"{hub_set.licence}, hub data set {hub_set.repository}",
        load=partial(_load, hub_set),
        check=partial(_check, hub_set),
    )


def _load(hub_set: HubSet, task: Task, parts_dir: Path, report: Report) -> list[Row]:
    _check(hub_set, task, parts_dir)
    report(f"Reading {task.name} from {task.path or 'the hub'}.")
    loaded = _open(hub_set, task)
    rows = []
    for split in (*hub_set.splits, hub_set.held_out):
        if split in loaded:
            records = _without_pictures(loaded[split])
            rows += _convert(hub_set, records, held_out=split == hub_set.held_out)
    if not rows:
        known = ", ".join(str(split) for split in loaded)
        raise SpecError(
            f"Task {task.name!r} found no labelled rows in the splits it knows "
            f"({', '.join((*hub_set.splits, hub_set.held_out))}) among {known}: check task.path."
        )
    return rows


def _convert(hub_set: HubSet, records: Iterable[Record], *, held_out: bool) -> list[Row]:
    rows = []
    for record in records:
        try:
            row = hub_set.convert(record)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise SpecError(
                f"Task {hub_set.name!r} cannot read a record with the columns {', '.join(record)} "
                f"({error!r}): it expects those of the hub's {hub_set.repository}."
            ) from error
        if row is not None:
            rows.append(Row(prompt=row.prompt, options=row.options, answer=row.answer, held_out=held_out))
    return rows


def _open(hub_set: HubSet, task: Task) -> Mapping[str, Any]:
    """The data set's splits by name."""
    if task.path is not None:
        return _open_folder(hub_set, Path(task.path).expanduser())
    import datasets

    try:
        return dict(datasets.load_dataset(hub_set.repository, hub_set.config))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise RetryableError(
            f"Task {task.name!r}: data set {hub_set.repository!r} is not cached here and the hub cannot be "
            "reached: check the network, or download it elsewhere and name its folder in task.path."
        ) from error


def _open_folder(hub_set: HubSet, folder: Path) -> Mapping[str, Any]:
    import datasets

    try:
        if (folder / "dataset_dict.json").is_file():
            return dict(datasets.load_from_disk(str(folder)))
        configured = hub_set.config if hub_set.config and (folder / hub_set.config).is_dir() else None
        directory = folder / configured if configured else folder
        return dict(datasets.load_dataset(str(directory)))
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        cause = " ".join(str(error).split())
        raise SpecError(
            f"task.path {str(folder)!r} is no readable data set ({cause}): name a folder that save_to_disk "
            "wrote, or one with files such as train.parquet."
        ) from error


def _without_pictures(split: Any) -> Any:
    """Leave pictures as they are stored: only whether there is one matters."""
    import datasets

    for column, feature in split.features.items():
        if isinstance(feature, datasets.Image):
            split = split.cast_column(column, datasets.Image(decode=False))
    return split


def _check(hub_set: HubSet, task: Task, parts_dir: Path) -> None:
    del parts_dir
    refuse_own_fields(task, path_allowed=True)
    if task.path is None:
        return
    folder = Path(task.path).expanduser()
    if not folder.is_dir() or not any(folder.iterdir()):
        raise SpecError(
            f"task.path {task.path!r} is no folder with a data set in it: "
            f"name the local copy of {hub_set.repository!r}, or leave it out to read the hub."
        )
