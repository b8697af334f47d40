"""The file-system calls that a program makes below a folder, in their order, as `strace` saw them."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,mkdir,rmdir,unlink,unlinkat"
_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")
_WRITE = re.compile(r'^\d+<(?P<path>[^>]*)>, "(?P<data>.*)", \d+(, (?P<offset>\d+))?$', re.DOTALL)
_ON_FILE = re.compile(r"^\d+<(?P<path>[^>]*)>(, (?P<size>\d+))?$")
_OPEN = re.compile(r'^AT_FDCWD<[^>]*>, "(?P<path>[^"]*)", (?P<flags>[A-Z_|]+)')
_UNLINKAT = re.compile(r'^(AT_FDCWD|\d+)<(?P<folder>[^>]*)>, "(?P<name>[^"]*)", (?P<flags>\w+)$')
_STRINGS = re.compile(r'"([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One call that changed something, or made a change durable."""

    kind: str
    """create, write, truncate, sync, rename, mkdir, rmdir or unlink."""
    path: str
    """Relative to the folder."""
    data: bytes = b""
    offset: int | None = None
    """Of a write; None: at the file's end."""
    size: int = 0
    """That a truncated file has."""
    target: str = ""
    """Of a renaming."""


def can_record() -> bool:
    """Whether there is `strace`, and it may trace."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-o", "/dev/null", "true"], check=False, capture_output=True).returncode
        == 0
    )


def record(folder: Path, arguments: Sequence[str], log: Path) -> list[Operation]:
    """Run Python with some arguments; what it did below a folder.

    Args:
        folder: absolute.
        arguments: of the interpreter.
        log: where the trace goes.
    """
    traced = ["strace", "-y", "-x", "-s", str(2**24), "-e", f"trace={_CALLS}", "-o", str(log)]
    subprocess.run([*traced, sys.executable, *arguments], check=True)
    with log.open(encoding="latin-1") as lines:
        return list(_operations(lines, str(folder)))


def _operations(lines: Iterator[str], folder: str) -> Iterator[Operation]:
    for line in lines:
        if folder not in line:
            continue
        called = _CALL.match(line)
        if called is None or int(called["result"]) < 0:
            continue
        for operation in _read(called["name"], called["arguments"], folder):
            if not operation.path.startswith("..") and not operation.path.endswith("-shm"):
                yield operation


def _read(name: str, arguments: str, folder: str) -> Iterator[Operation]:
    def inside(path: str) -> str:
        return path.removeprefix(folder).lstrip("/") if path.startswith(folder) else ".."

    if name in {"write", "pwrite64"} and (found := _WRITE.match(arguments)):
        offset = None if found["offset"] is None else int(found["offset"])
        data = ast.literal_eval(f'b"{found["data"]}"')
        yield Operation(kind="write", path=inside(found["path"]), data=data, offset=offset)
    elif name in {"fsync", "fdatasync", "ftruncate"} and (found := _ON_FILE.match(arguments)):
        kind = "truncate" if name == "ftruncate" else "sync"
        yield Operation(kind=kind, path=inside(found["path"]), size=int(found["size"] or 0))
    elif name == "openat" and (found := _OPEN.match(arguments)):
        if "O_CREAT" in found["flags"]:
            yield Operation(kind="create", path=inside(found["path"]))
        if "O_TRUNC" in found["flags"]:
            yield Operation(kind="truncate", path=inside(found["path"]))
    elif name == "unlinkat" and (found := _UNLINKAT.match(arguments)):
        kind = "rmdir" if "REMOVEDIR" in found["flags"] else "unlink"
        path = found["name"] if found["name"].startswith("/") else f"{found['folder']}/{found['name']}"
        yield Operation(kind=kind, path=inside(path))
    elif name in {"rename", "mkdir", "rmdir", "unlink"}:
        paths = [inside(path) for path in _STRINGS.findall(arguments)]
        yield Operation(kind=name, path=paths[0], target=paths[1] if name == "rename" else "")
