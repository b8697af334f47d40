"""All that hangs on the runs beside parameters, tags and metrics, each with a word for its present state.

What is noted in the ledger as sent differs from that word where something must be sent (again): when it has changed,
when the run that it hangs on is a new one, or when the store was lost.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from study.ledger import StudyRecord, TrialActivity
from study.tracking.adapters import CARD, Chosen, portable
from study.tracking.arrangement import arranged_tags, artifact_path
from study.tracking.cards import card
from study.tracking.datasets import datasets
from study.tracking.descriptions import NOTE, Places, family_description, study_description
from study.tracking.findings import Findings
from study.tracking.store import TrackingStore

DOCUMENTS = "documents"
"""Key under which the spec, plan and manifest are noted as attached."""
ADAPTER = "adapter"
"""Folder of a family's artifacts in which its adapter lies."""
LINKED = ("report.html", "report.pdf", "report.md", "report.json", "trials.csv")
"""Files of a report that the description links, where they are there."""


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """One thing that hangs on a run or on the experiment."""

    key: str
    """Under which the ledger notes it."""
    state: str
    """A digest of what it is now and where it hangs; empty where there is nothing to send."""
    send: Callable[[TrackingStore], None]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What there is to hang things on, and what they are made of."""

    study: StudyRecord
    trials: Sequence[TrialActivity]
    family_metrics: Mapping[str, Mapping[str, float]]
    """Family → the metrics of its run."""
    found: Findings
    experiment: str
    study_run: str
    """Empty where the user has deleted it."""
    family_runs: Mapping[str, str]
    """Family → id of its run, without those that the user has deleted."""
    folders: Sequence[Path]
    """Folders that were asked to be attached, the newest report last."""
    adapters: Sequence[Chosen]
    """Those that can be read from here."""


def attachments(scene: Scene) -> Iterator[Attachment]:
    """Everything that should hang on the study's runs, as it is now."""
    chosen = {one.family: one for one in scene.adapters}
    yield from _arranged(scene)
    if scene.study_run:
        yield _documents(scene)
        yield from (_folder(scene, folder) for folder in scene.folders)
        yield _study_note(scene)
    runs = {"": scene.study_run} if scene.study_run else {}
    for family, run in {**runs, **scene.family_runs}.items():
        yield from _datasets(scene, family, run)
    for family, run in scene.family_runs.items():
        if family in chosen:
            yield from _adapter(scene, chosen[family], run)
        yield _family_note(scene, family, run, has_adapter=family in chosen)


def documents(study: StudyRecord) -> dict[str, str]:
    """The study's spec, plan and manifest as files."""
    texts = {
        "spec.yaml": yaml.safe_dump(dict(study.spec), sort_keys=False, allow_unicode=True),
        "manifest.json": json.dumps(study.manifest, indent=2),
    }
    return texts if study.plan is None else texts | {"plan.json": json.dumps(study.plan, indent=2)}


def folder_state(folder: Path) -> str:
    """A digest of names, sizes and times of a folder's files; empty where there is nothing."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        return ""
    stats = [(str(path.relative_to(folder)), path.stat()) for path in files]
    return _digest([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def _arranged(scene: Scene) -> Iterator[Attachment]:
    tags = arranged_tags(scene.study.created_at)
    yield Attachment(
        key="pages",
        state=_digest([scene.experiment, tags]),
        send=lambda store: store.set_experiment_tags(scene.experiment, tags),
    )


def _documents(scene: Scene) -> Attachment:
    study = scene.study

    def send(store: TrackingStore) -> None:
        for file, text in documents(study).items():
            store.write_text(scene.study_run, text, file)

    state = _digest([scene.study_run, study.spec, study.manifest, study.plan])
    return Attachment(key=DOCUMENTS, state=state, send=send)


def _folder(scene: Scene, folder: Path) -> Attachment:
    """A report, on the study's run; its figures on the families', too."""
    figures = folder / "figures"

    def send(store: TrackingStore) -> None:
        store.upload(scene.study_run, folder, "report")
        for run in scene.family_runs.values() if figures.is_dir() else ():
            store.upload(run, figures, "figures")

    content = folder_state(folder)
    hangs_on = [scene.study_run, *scene.family_runs.values()]
    return Attachment(key=str(folder), state=content and _digest([hangs_on, content]), send=send)


def _study_note(scene: Scene) -> Attachment:
    places = Places(
        experiment=scene.experiment,
        study_run=scene.study_run,
        family_runs=scene.family_runs,
        files=_files(scene),
    )
    note = study_description(scene.study, scene.family_metrics, scene.found, places)

    def send(store: TrackingStore) -> None:
        store.set_experiment_tags(scene.experiment, {NOTE: note})
        store.set_tags(scene.study_run, {NOTE: note})

    return Attachment(key="note", state=_digest([scene.experiment, scene.study_run, note]), send=send)


def _files(scene: Scene) -> list[str]:
    report = scene.folders[-1] if scene.folders else None
    reports = [f"report/{name}" for name in LINKED if report is not None and (report / name).is_file()]
    figures = ["report/figures"] if report is not None and (report / "figures").is_dir() else []
    return [*reports, *figures, "spec.yaml", "manifest.json"]


def _family_note(scene: Scene, family: str, run: str, *, has_adapter: bool) -> Attachment:
    adapter = artifact_path(scene.experiment, run, f"{ADAPTER}/{CARD}") if has_adapter else ""
    note = family_description(family, scene.study, scene.found, adapter)
    return Attachment(
        key=f"note:{family}",
        state=_digest([run, note]),
        send=lambda store: store.set_tags(run, {NOTE: note}),
    )


def _datasets(scene: Scene, family: str, run: str) -> Iterator[Attachment]:
    splits = datasets(scene.study)
    if splits:
        yield Attachment(
            key=f"datasets:{family}",
            state=_digest([run, [vars(one) for one in splits]]),
            send=lambda store: store.log_datasets(run, splits),
        )


def _adapter(scene: Scene, chosen: Chosen, run: str) -> Iterator[Attachment]:
    """The weights, which are sent once, and the card, which is sent whenever its text changes."""
    text = card(chosen, scene.study)
    key = chosen.planned.key
    yield Attachment(
        key=f"adapter:{chosen.family}",
        state=_digest([run, key, folder_state(chosen.folder)]),
        send=partial(_send_adapter, chosen=chosen, base=scene.study.spec.get("base") or {}, run=run),
    )
    yield Attachment(
        key=f"card:{chosen.family}",
        state=_digest([run, key, text]),
        send=lambda store: store.write_text(run, text, f"{ADAPTER}/{CARD}"),
    )


def _send_adapter(store: TrackingStore, *, chosen: Chosen, base: Mapping[str, Any], run: str) -> None:
    with portable(chosen, base) as folder:
        store.upload(run, folder, ADAPTER)
    store.set_tags(run, {"adapter": chosen.planned.key})


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
