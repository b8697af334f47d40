"""How a record gets into a claims file: whole or not at all, and with nothing else changed."""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from search_spaces.errors import SpecError
from study.claims.file import read_claims
from study.claims.yaml_block import with_item, with_key

GIT_TIMEOUT_S = 10.0


def write_registered(path: Path, record: dict[str, Any]) -> None:
    """Write `registered` into the file.

    Raises:
        SpecError: the file cannot be written, or not without a change of its meaning.
    """
    _write(path, with_key(_text(path), "registered", record), {"registered": record})


def append_amendment(path: Path, record: dict[str, Any]) -> None:
    """Write one more entry into `amendments`.

    Raises:
        SpecError: the file cannot be written, or not without a change of its meaning.
    """
    records = [*(read_claims(path).get("amendments") or []), record]
    _write(path, with_item(_text(path), "amendments", records), {"amendments": records})


def timestamp(now: datetime | None) -> str:
    """A moment in UTC, such as `2026-11-22T16:00:00Z`; None: this one."""
    return (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def commit_of(path: Path) -> str:
    """The commit that is checked out where a file lies, or `none`."""
    command = ["git", "-C", str(path.resolve().parent), "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)  # noqa: S603 -- a fixed command
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.strip() if done.returncode == 0 else "none"


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8")


def _write(path: Path, text: str, records: dict[str, Any]) -> None:
    """Write the text under a temporary name, read it back, and rename it."""
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(text.encode("utf-8"))
        shutil.copymode(target, temporary)
        if not _says(temporary, {**read_claims(path), **records}):
            raise SpecError(
                f"{path} cannot be written into without a change of its meaning: write a key on each line, and "
                "nothing behind the last one."
            )
        temporary.replace(target)
    except OSError as error:
        raise SpecError(
            f"{path} cannot be written ({error.strerror}): check the permissions of the file and its folder."
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def _says(path: Path, expected: dict[str, Any]) -> bool:
    try:
        return read_claims(path) == expected
    except SpecError:
        return False
