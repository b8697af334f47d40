"""Becomes a container's process; run by `container.py` in fresh namespaces, alone, with the standard library only.

The file system is this machine's beneath a layer in memory, so that paths of the image can be laid over it and a
read-only root can be tried. Then privileges are given up and the command replaces this process.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any


def mount(*arguments: str) -> None:
    """Run mount, and stop if it fails."""
    subprocess.run(["mount", *arguments], check=True)  # noqa: S603, S607


def lay_root(scratch: Path) -> Path:
    """This machine's files beneath a writable layer."""
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=755", "none", str(scratch))
    upper, work, root = (scratch / name for name in ("upper", "work", "root"))
    for folder in (upper, work, root):
        folder.mkdir()
    mount("-t", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", "overlay", str(root))
    mount("-t", "proc", "proc", str(root / "proc"))
    for name in ("dev", "sys"):
        mount("--rbind", f"/{name}", str(root / name))
    mount("-t", "tmpfs", "-o", "mode=1777", "none", str(root / "dev/shm"))
    mount("-t", "tmpfs", "-o", "mode=755", "none", str(root / "run"))
    return root


def lay(root: Path, source: str, target: str, *, read_only: bool = False) -> None:
    """Bind a file or folder into the root; bindings of lower levels come along."""
    place = within(root, target)
    place.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).is_dir():
        place.mkdir(exist_ok=True)
    elif not place.exists():
        place.touch()
    mount("--rbind", source, str(place))
    if read_only:
        mount("-o", "remount,bind,ro", str(place))


def show(root: Path, path: Path) -> None:
    """Let every user see a folder of this machine, wherever it lies, be it in one that is the owner's or covered."""
    for parent in reversed(path.parents[:-1]):
        inner = root / parent.relative_to("/")
        inner.mkdir(exist_ok=True)
        inner.chmod(inner.stat().st_mode | 0o011)
    lay(root, str(path), str(path))


def within(root: Path, path: str) -> Path:
    """Where a path of the container lies; links (/var/run) lead as on this machine, but inside the root."""
    return root / str(Path(path).resolve()).lstrip("/")


def main() -> None:
    """Read the description, lay the file system, become the process."""
    description: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    socket.sethostname(description["host"])
    root = lay_root(Path(description["scratch"]))
    for path, options in description["tmpfs"].items():
        place = within(root, path)
        place.mkdir(parents=True, exist_ok=True)
        mount("-t", "tmpfs", "-o", options or "mode=1777", "none", str(place))
    for name in description["visible"]:
        show(root, Path(name))
    for source, target, read_only in description["binds"]:
        lay(root, source, target, read_only=read_only)
    (root / description["working_dir"].lstrip("/")).mkdir(parents=True, exist_ok=True)
    if description["read_only"]:
        mount("-o", "remount,ro", str(root))
    os.chroot(root)
    os.chdir(description["working_dir"])
    command = description["command"]
    os.execvpe(command[0], command, description["environment"])  # noqa: S606 (no shell is wanted)


main()
