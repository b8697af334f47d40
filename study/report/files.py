"""Writing files so that a reader never sees half of one."""

import errno
import os
from pathlib import Path

from search_spaces.errors import RetryableError, SpecError, TrialwrightError

_DISK_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


def prepare(folder: Path) -> None:
    """Make a folder for the report.

    Raises:
        SpecError: it cannot be made or written.
        RetryableError: the disk is full or fails.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def write(path: Path, content: bytes) -> Path:
    """Write a file whole: under a temporary name, then renamed.

    Raises:
        SpecError: the folder cannot be written.
        RetryableError: the disk is full or fails.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unwritable(path, error) from error
    return path


def _unwritable(path: Path, error: OSError) -> TrialwrightError:
    if error.errno in _DISK_FAILURES:
        return RetryableError(
            f"The report cannot be written to '{path}' ({error.strerror}): free the disk, then write it again."
        )
    return SpecError(
        f"The report cannot be written to '{path}' ({error.strerror}): "
        "name a folder that you may write with --out."
    )
