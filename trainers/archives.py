"""Archives that came from elsewhere, unpacked under one folder and nowhere else, and never beyond a size."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

MOST_FILES = 10_000
"""Files that an archive of ours may hold."""
_PIECE_BYTES = 1 << 20


class UnsafeArchiveError(ValueError):
    """An archive is damaged, or holds what no archive of ours does; its message says what, without a full stop."""


def is_within(name: str) -> bool:
    """Whether a relative path stays under the folder that it starts from."""
    parts = PurePosixPath(name).parts
    plain = bool(parts) and not any(letter in name for letter in "\\:\0")
    return plain and not name.startswith("/") and ".." not in parts


def open_archive(file: Path | IO[bytes]) -> zipfile.ZipFile:
    """An archive to read from, to be closed.

    Raises:
        UnsafeArchiveError: it is no ZIP archive, or a damaged one.
        OSError: the file cannot be read.
    """
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UnsafeArchiveError(f"it is no ZIP archive ({str(error)[:100]})") from None


def is_plainly_packed(entry: zipfile.ZipInfo) -> bool:
    """Whether a file is stored or deflated, as all of ours are; what else unpacks fails in ways of its own."""
    return entry.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def unpack(archive: zipfile.ZipFile, folder: Path, *, most_bytes: int, under: str = "") -> list[Path]:
    """Write an archive's files into a folder; their paths, in the archive's order.

    Every name is looked at before the first byte is written, and bytes are counted as they come, whatever the
    archive says of its sizes.

    Args:
        archive: an open ZIP archive.
        folder: where they go; it is there.
        most_bytes: most that all of them may hold together.
        under: only files whose names begin so, without this beginning.

    Raises:
        UnsafeArchiveError: a name leads elsewhere or stands twice, a link, too much, or a damaged archive.
        OSError: the folder cannot be written.
    """
    entries = [
        one for one in archive.infolist() if not one.filename.endswith("/") and one.filename.startswith(under)
    ]
    names = [one.filename.removeprefix(under) for one in entries]
    for entry, name in zip(entries, names, strict=True):
        if not is_within(name):
            raise UnsafeArchiveError(f"its file {entry.filename[:100]!r} leads elsewhere")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise UnsafeArchiveError(f"its file {entry.filename[:100]!r} is a link")
        if not is_plainly_packed(entry):
            raise UnsafeArchiveError(f"its file {entry.filename[:100]!r} is packed in an unusual way")
    paths_within = [PurePosixPath(name) for name in names]
    folders = {parent for path in paths_within for parent in path.parents}
    if len(set(paths_within)) < len(names) or len(names) > MOST_FILES or not folders.isdisjoint(paths_within):
        raise UnsafeArchiveError("it holds a name twice, or too many of them")
    left, paths = most_bytes, []
    for entry, name in zip(entries, names, strict=True):
        target = folder / name
        if not target.parent.resolve().is_relative_to(folder.resolve()) or target.is_symlink():
            raise UnsafeArchiveError(f"its file {entry.filename[:100]!r} would pass through a link")
        target.parent.mkdir(parents=True, exist_ok=True)
        left -= copy_member(archive, entry, target, most_bytes=left)
        paths.append(target)
    return paths


def copy_member(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo | str, target: Path, *, most_bytes: int
) -> int:
    """Write one file of an archive; how many bytes it had.

    Raises:
        UnsafeArchiveError: it holds more than `most_bytes`, is not there, or is damaged; nothing is left of it.
        OSError: the target cannot be written.
    """
    num_bytes = 0
    try:
        with target.open("wb") as sink:
            for piece in _pieces(archive, entry):
                num_bytes += len(piece)
                if num_bytes > most_bytes:
                    break
                sink.write(piece)
    except UnsafeArchiveError:
        target.unlink(missing_ok=True)
        raise
    if num_bytes > most_bytes:
        target.unlink()
        raise UnsafeArchiveError(f"it holds more than {most_bytes:,} bytes")
    return num_bytes


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo | str) -> Iterator[bytes]:
    try:
        with archive.open(entry) as source:
            while piece := source.read(_PIECE_BYTES):
                yield piece
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, OSError, ValueError) as error:
        raise UnsafeArchiveError(f"it is damaged ({str(error)[:100]})") from None
