"""What a study's trials keep beside the record: checkpoints while they run, adapters of the confirmed configurations.

They lie in the home, which then all nodes share, or in an object store (TRIALWRIGHT_STORE). The driver drops what an
ended trial no longer needs, and brings kept adapters from the store into the home.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from study.home import Home
from study.ledger import StudyRecord
from trainers.places import Folder, StoreFolder, parse_store

_WORKERS = 4
"""Threads that remove objects, so that the driver waits for none."""
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
        if not isinstance(self.adapters, StoreFolder):
            return 0
        files = sorted(self.adapters.files(), key=lambda file: file.endswith(_LAST_FILE))
        missing = [file for file in files if not (self.adapters_dir / file).exists()]
        for file in missing:
            folder, _, name = file.rpartition("/")
            _write_whole(self.adapters_dir / file, self.adapters.read(folder, name))
        return len(missing)


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
    root = parse_store(home.store) / "studies" / f"{study.name}-{study.uid[:8]}"
    return KeptFiles(checkpoints=root / "checkpoints", adapters=root / "adapters", adapters_dir=local)


def _write_whole(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.rename(path)
