"""Reports for the service: written by a process of their own, one at a time, and kept until the study changes."""

import hashlib
import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from threading import Lock

import anyio
import anyio.to_thread

from search_spaces.errors import RetryableError, SpecError, unknown
from study.home import Home
from study.ledger import Ledger
from study.service.meters import Meters

MAIN_FILES = {
    "html": ("report.html",),
    "pdf": ("report.pdf",),
    "md": ("report.md",),
    "json": ("report.json",),
    "csv": ("trials.csv",),
    "tex": ("claims.tex", "families.tex"),
    "parquet": ("trials.parquet",),
}
"""Format → its main file; of several the first that is there."""
MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "md": "text/markdown; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "tex": "application/x-tex; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
KEPT = 2
"""States of a study whose reports are kept: the present one, and one that may be under way to someone."""
NUM_THREADS = 4
"""Requests for reports that hold a thread; one of them writes."""
_DONE = ".done"
_USER_MISTAKE = 2


class Reports:
    """Report files by study and format."""

    def __init__(
        self,
        home: Home,
        ledger: Ledger,
        meters: Meters,
        *,
        timeout_s: float,
        program: Sequence[str] = (sys.executable, "-m", "study.cli"),
    ) -> None:
        """Begin; nothing is written before it is asked for.

        Args:
            home: of the studies; the files are kept in its cache.
            ledger: the record.
            meters: told how long reports took.
            timeout_s: how long one may take.
            program: the command `trialwright`.
        """
        self._home = home
        self._ledger = ledger
        self._meters = meters
        self._timeout_s = timeout_s
        self._program = tuple(program)
        self._writing = Lock()
        self._threads = anyio.CapacityLimiter(NUM_THREADS)

    def path(self, study: str, name: str) -> Path:
        """A file of a study's report as the study stands now; waits while it is written.

        Args:
            study: its name.
            name: a format, for its main file, or the name of such a file, such as `report.html`.

        Raises:
            SpecError: no such study, format or file, or a study of which no report can be written.
            RetryableError: it took too long, or its process died.
        """
        return _main(self.folder(study, _format_of(name)))

    def archive(self, study: str, name: str) -> Path:
        """All files of a format in a ZIP archive, the main one first; as `path`."""
        folder = self.folder(study, _format_of(name))
        path = folder.with_suffix(".zip")
        with self._writing:
            if not path.is_file():
                _pack(folder, path, _main(folder))
        return path

    def folder(self, study: str, name: str) -> Path:
        """Where the files of a format lie, written if need be; as `path`."""
        folder = self._home.cache_dir / "reports" / study / fingerprint(self._ledger, study) / name
        with self._writing:
            if not (folder / _DONE).is_file():
                self._write(study, name, folder)
        return folder

    async def produce(self, study: str, name: str, *, archive: bool = False) -> Path:
        """As `path`, or `archive`, off the event loop; reports wait for each other, and keep nobody else."""
        function = self.archive if archive else self.path
        return await anyio.to_thread.run_sync(function, study, name, limiter=self._threads)

    def forget(self, study: str) -> None:
        """Drop what is kept of a study."""
        shutil.rmtree(self._home.cache_dir / "reports" / study, ignore_errors=True)

    def _write(self, study: str, name: str, folder: Path) -> None:
        began = time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = ["report", study, "--format", name, "--out", str(folder), "--home", str(self._home.root)]
        try:
            ended = subprocess.run(  # noqa: S603 -- our own program
                [*self._program, *command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
                text=True,
            )
        except subprocess.TimeoutExpired:
            raise RetryableError(f"The {name} report of study {study!r} took too long.") from None
        said = ended.stderr.strip().rpartition("\n")[2].removeprefix("trialwright: ")
        if ended.returncode == _USER_MISTAKE:
            raise SpecError(said)
        if ended.returncode:
            raise RetryableError(f"The {name} report of study {study!r} could not be written: {said}")
        (folder / _DONE).touch()
        self._meters.report_s.labels(name).observe(time.monotonic() - began)
        _drop_old(folder.parent.parent)


def fingerprint(ledger: Ledger, study: str) -> str:
    """A short text that changes whenever something happens in a study that its report may tell.

    Raises:
        SpecError: there is no such study.
    """
    record = ledger.study(study)
    trials = [
        (one.record.ending.outcome if one.record.ending else "", one.last_measurement, one.record.attempts)
        for one in ledger.trial_activity(study)
    ]
    parts = [record.uid, record.state, record.changed_at, record.manifest, record.plan, trials]
    text = json.dumps([*parts, len(ledger.events(study)), version("trialwright")])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _format_of(name: str) -> str:
    by_file = {file: one for one, files in MAIN_FILES.items() for file in files}
    wanted = by_file.get(name, name)
    if wanted not in MAIN_FILES:
        raise unknown("report format", name, MAIN_FILES)
    return wanted


def _main(folder: Path) -> Path:
    """The main file of a format whose files lie in a folder of its name."""
    return next(folder / file for file in MAIN_FILES[folder.name] if (folder / file).is_file())


def _drop_old(folder: Path) -> None:
    kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in kept[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _pack(folder: Path, path: Path, main: Path) -> None:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != _DONE]
    temporary = path.with_suffix(".part")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (main, *(file for file in files if file != main)):
            archive.write(file, file.relative_to(folder))
    temporary.replace(path)
