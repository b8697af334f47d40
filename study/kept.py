"""What a study's trials keep beside the record: checkpoints while they run, adapters of the confirmed configurations.

They lie in the home, which then all nodes share, or in an object store (TRIALWRIGHT_STORE). The driver drops what an
ended trial no longer needs, and brings kept adapters from the store into the home: those that MLflow shows as soon as
they are chosen, the others when it ends. Whoever deletes a study removes all of it.
"""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self
from uuid import uuid4

from study.home import Home
from study.ledger import Ledger, StudyRecord
from study.records import STORED
from trainers.places import Folder, StoreFolder, parse_store

_WORKERS = 4
"""Threads that remove objects, so that the driver waits for none."""
REMOVAL_PATIENCE_S = 20.0
"""How long a store may answer with errors to whoever deletes a study: somebody waits, and can ask again."""
_LAST_FILE = "adapter_config.json"
"""PEFT looks for it first: an adapter without it is not there."""


@dataclass(frozen=True, kw_only=True)
class KeptFiles:
    """Where a study's checkpoints and adapters lie. A context manager: removals not begun at its end are left."""

    checkpoints: Folder
    """A folder a trial below it."""
    adapters: Folder
    """The same."""
    adapters_dir: Path
    """Where the home has the adapters; `adapters` itself without a store."""
    _removals: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_WORKERS, "drops checkpoints")
    )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the removals that have begun."""
        self._removals.shutdown(wait=True, cancel_futures=True)

    def drop_checkpoints(self, key: str) -> None:
        """Remove the checkpoints of a trial; returns at once where that may take a while."""
        if isinstance(self.checkpoints, StoreFolder):
            self._removals.submit(self.checkpoints.remove, key)
        else:
            shutil.rmtree(self.checkpoints / key, ignore_errors=True)

    def drop_all_checkpoints(self) -> None:
        """Remove what is left of any trial."""
        if isinstance(self.checkpoints, StoreFolder):
            self.checkpoints.remove()
        else:
            shutil.rmtree(self.checkpoints, ignore_errors=True)

    def bring_adapters(self) -> int:
        """Copy adapters that the home has not yet; how many files were copied.

        Raises:
            StoreAwayError: the store did not answer.
            OSError: the home cannot be written.
        """
        return _bring(self.adapters, self.adapters_dir) if isinstance(self.adapters, StoreFolder) else 0

    def bring_adapter(self, key: str) -> None:
        """Copy the adapter of a trial, unless the home has it or the store has none; asks the store only once.

        Raises:
            StoreAwayError: the store did not answer.
            OSError: the home cannot be written.
        """
        if isinstance(self.adapters, StoreFolder) and not (self.adapters_dir / key / _LAST_FILE).exists():
            _bring(replace(self.adapters, patience_s=0.0), self.adapters_dir, key=key)


def kept_files(home: Home, study: StudyRecord) -> KeptFiles:
    """Where a study's files lie.

    Args:
        home: says whether there is a store.
        study: whose own name in it is unlike that of a study with the same name elsewhere.

    Raises:
        SpecError: TRIALWRIGHT_STORE is malformed.
    """
    local = home.adapters_dir(study.name)
    if home.store is None:
        return KeptFiles(checkpoints=home.checkpoints_dir(study.name), adapters=local, adapters_dir=local)
    root = _in_store(home.store, study)
    return KeptFiles(checkpoints=root / "checkpoints", adapters=root / "adapters", adapters_dir=local)


def note_store(home: Home, ledger: Ledger, study: str) -> None:
    """Note in the ledger that a study keeps files in this home's store, if it has one, before there are any."""
    if home.store is not None and home.store not in _stores(ledger, study):
        ledger.record_event(study, STORED, {"store": home.store})


def remove_files(home: Home, ledger: Ledger, study: StudyRecord) -> None:
    """Remove all that a study keeps beside the record, wherever its launches kept it.

    To be called before the record goes, for it alone knows what is whose in a store. May be called again.

    Args:
        home: whose folder of the study goes, and whose store is looked into for studies of old, which noted none.
        ledger: has noted the stores.
        study: held by the caller, so that nobody runs it.

    Raises:
        SpecError: TRIALWRIGHT_STORE is malformed.
        StoreAwayError: a store did not answer.
    """
    for store in {*_stores(ledger, study.name), *filter(None, [home.store])}:
        replace(_in_store(store, study), patience_s=REMOVAL_PATIENCE_S).clear()
    shutil.rmtree(home.study_dir(study.name), ignore_errors=True)


def _stores(ledger: Ledger, study: str) -> Sequence[str]:
    return [event.detail["store"] for event in ledger.events(study) if event.kind == STORED]


def _in_store(store: str, study: StudyRecord) -> StoreFolder:
    return parse_store(store) / "studies" / f"{study.name}-{study.uid[:8]}"


def _bring(store: StoreFolder, home: Path, *, key: str = "") -> int:
    """Copy the files of whole adapters that the home has not yet, of one or of all; how many."""
    files = [PurePosixPath(key, file) for file in (store / key if key else store).files()]
    whole = {file.parent for file in files if file.name == _LAST_FILE}
    missing = [file for file in files if file.parent in whole and not (home / file).exists()]
    for file in sorted(missing, key=lambda file: file.name == _LAST_FILE):
        _write_whole(home / file, store.read(str(file.parent), file.name))
    return len(missing)


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}")  # two threads may bring the same
    partial.write_bytes(content)
    partial.rename(path)
