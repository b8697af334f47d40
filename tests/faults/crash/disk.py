"""A disk in memory that operations are applied to, and what a power loss leaves of it."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.crash.recording import Operation


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    """What surely is on the disk."""


class Disk:
    """Files and folders below a folder."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._folders: set[str] = set()

    def apply(self, operation: Operation) -> None:
        """Do what was recorded."""
        path = operation.path
        if operation.kind == "create":
            self._files.setdefault(path, _File())
        elif operation.kind == "write":
            _put(self._files[path].content, operation.data, operation.offset)
        elif operation.kind == "truncate":
            content = self._files[path].content
            content[:] = content[: operation.size].ljust(operation.size, b"\0")
        elif operation.kind == "sync":
            if path in self._files:
                self._files[path].synced = bytes(self._files[path].content)
        elif operation.kind == "rename":
            self._rename(path, operation.target)
        elif operation.kind == "mkdir":
            self._folders.add(path)
        elif operation.kind == "rmdir":
            self._folders.discard(path)
        elif operation.kind == "unlink":
            self._files.pop(path, None)

    def content(self, path: str) -> bytes:
        """A file as the program saw it, synced or not; nothing where it is absent."""
        return bytes(self._files[path].content) if path in self._files else b""

    def lay_down(self, folder: Path, *, loses_unsynced: bool) -> None:
        """Write what is left after a power loss.

        Args:
            folder: made here.
            loses_unsynced: whether what was written and not synced is gone, while files keep their names.
        """
        folder.mkdir(parents=True)
        for name in sorted(self._folders):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for path, file in self._files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(file.synced if loses_unsynced else bytes(file.content))

    def _rename(self, path: str, target: str) -> None:
        def moved(name: str) -> str:
            return target + name[len(path) :] if name == path or name.startswith(f"{path}/") else name

        self._files = {moved(name): file for name, file in self._files.items()}
        self._folders = {moved(name) for name in self._folders}


def _put(content: bytearray, data: bytes, offset: int | None) -> None:
    start = len(content) if offset is None else offset
    content.extend(b"\0" * (start - len(content)))
    content[start : start + len(data)] = data
