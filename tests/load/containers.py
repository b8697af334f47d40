"""Cores divided among the parts of a stack as Linux divides them among docker-compose.yml's containers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psutil
import yaml

from tests.deploy.files import COMPOSE

_GROUPS = Path("/sys/fs/cgroup")
_HIERARCHIES = (_GROUPS / "cpu", _GROUPS)
"""Where groups that divide cores are, by the first and by the second version of control groups."""
_SHARES = 1024
"""Docker's, where a file does not say."""


@dataclass(frozen=True)
class Containers:
    """Control groups of one run, with the shares that the file gives its services."""

    folder: Path | None
    """In which they are made; together they weigh as much as one session. None where this machine lets us make none."""

    @property
    def divided_by(self) -> str:
        """What Linux divides the cores among."""
        return "sessions" if self.folder is None else "control groups"

    def put(self, container: str, *processes: int) -> None:
        """Move processes into a service's container, which is made if there is none; what they start will be in it."""
        if self.folder is None:
            return
        group = self.folder / container
        if not group.exists():
            group.mkdir()
            _set_shares(group, _shares_of(container))
        for one in processes:
            with suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(one), encoding="ascii")

    def enter(self, container: str) -> list[str]:
        """A command that runs another in a service's container, as `docker compose exec` does."""
        if self.folder is None:
            return []
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / container / "cgroup.procs")]


@contextmanager
def containers() -> Iterator[Containers]:
    """Groups for the duration of a block; processes that are left go back to where the caller is."""
    folder = _new_folder()
    if folder is None:
        yield Containers(None)
        return
    try:
        yield Containers(folder)
    finally:
        for group in [*folder.glob("*/"), folder]:
            for one in (group / "cgroup.procs").read_text(encoding="ascii").split():
                with suppress(OSError):
                    (folder.parent / "cgroup.procs").write_text(one, encoding="ascii")
            group.rmdir()


def _new_folder() -> Path | None:
    """Where groups can be made; None where this machine lets us make none."""
    found = next((one for one in _HIERARCHIES if _divides_cores(one)), None)
    if found is None:
        return None
    folder = found / f"trialwright-{uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError:
        return None
    if (folder / "cgroup.subtree_control").exists():
        (folder / "cgroup.subtree_control").write_text("+cpu", encoding="ascii")
    return folder


def _divides_cores(hierarchy: Path) -> bool:
    """Whether groups can be made there, and divide the processor's time."""
    control = hierarchy / "cgroup.subtree_control"
    is_cpu = (hierarchy / "cpu.shares").exists() or (
        control.exists() and "cpu" in control.read_text(encoding="ascii").split()
    )
    return is_cpu and os.access(hierarchy / "cgroup.procs", os.W_OK)


def _shares_of(service: str) -> int:
    found = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"][service]
    return int(found.get("cpu_shares", _SHARES))


def _set_shares(group: Path, shares: int) -> None:
    """As container runtimes do."""
    if (group / "cpu.shares").exists():
        (group / "cpu.shares").write_text(str(shares), encoding="ascii")
    else:
        (group / "cpu.weight").write_text(str(1 + (shares - 2) * 9999 // 262142), encoding="ascii")


def tree(process: int) -> list[int]:
    """Ids of a process and of all that it has started."""
    return [process, *(one.pid for one in psutil.Process(process).children(recursive=True))]
