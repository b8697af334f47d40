"""The locked dependencies, as `make lock` writes them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNTIME, EVERYTHING, CONSTRAINTS = "requirements.lock", "requirements-dev.lock", "constraints.txt"
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*\\?$")
_HASH = re.compile(r"^\s+--hash=sha256:(?P<sha256>[0-9a-f]{64})\s*\\?$")


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One release."""

    name: str
    version: str
    marker: str
    """Where it is installed; empty: everywhere."""
    sha256: tuple[str, ...]
    """Of each file that may be installed."""


def read_lock(path: Path) -> dict[str, Locked]:
    """The releases of a lock file by normalised name.

    Raises:
        ValueError: a line is neither a pinned release nor a hash of one.
    """
    found: dict[str, Locked] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if pin := _PIN.match(line):
            name = normalised(pin["name"])
            found[name] = Locked(name=name, version=pin["version"], marker=pin["marker"] or "", sha256=())
        elif (digest := _HASH.match(line)) and name:
            one = found[name]
            found[name] = Locked(
                name=name, version=one.version, marker=one.marker, sha256=(*one.sha256, digest["sha256"])
            )
        else:
            raise ValueError(f"{path.name}: {line!r} is no pinned release")
    return found


def torch_pin(root: Path = ROOT) -> Locked:
    """The release of torch, which no lock holds: its builds differ from index to index."""
    (pin,) = (
        line for line in (root / CONSTRAINTS).read_text("utf-8").splitlines() if line.startswith("torch==")
    )
    return Locked(name="torch", version=pin.partition("==")[2], marker="", sha256=())


def normalised(name: str) -> str:
    """A package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
