"""The compose file as data: what each container is given, with variables filled in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.rehearsal.dockerfile import Image, read_dockerfile

ROOT = Path(__file__).resolve().parents[2]
_VARIABLE = re.compile(r"\$\{(\w+):-([^${}]*)\}")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume or a folder of the repository inside a container."""

    source: str
    """Name of a volume, or a path relative to the compose file."""
    target: str
    read_only: bool

    @property
    def is_volume(self) -> bool:
        """Whether it is a named volume."""
        return "/" not in self.source


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port that is published on this machine."""

    address: str
    host: int
    container: int


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service of the compose file."""

    name: str
    image: str
    is_ours: bool
    """Whether the image is built from our Dockerfile."""
    command: tuple[str, ...]
    environment: dict[str, str]
    user: tuple[int, int]
    read_only: bool
    working_dir: str
    secrets: tuple[str, ...]
    mounts: tuple[Mount, ...]
    tmpfs: dict[str, str]
    """Options of the temporary file systems by path."""
    networks: tuple[str, ...]
    ports: tuple[Port, ...]
    needs: dict[str, str]
    """Condition by the name of the service that must meet it."""
    check: tuple[str, ...]
    """Command that succeeds when the service is healthy; empty for one that runs once."""
    profiles: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The whole file."""

    services: dict[str, Service]
    internal: dict[str, bool]
    """By network: whether nothing outside can be reached through it."""
    secrets: dict[str, Path]
    image: Image


def read_compose(variables: Mapping[str, str], path: Path = ROOT / "docker-compose.yml") -> dict[str, Any]:
    """The file with its variables filled in.

    Args:
        variables: what differs from the defaults.
        path: the compose file.
    """
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    filled = _fill(document, variables)
    return {str(name): part for name, part in filled.items() if not str(name).startswith("x-")}


def read_stack(variables: Mapping[str, str]) -> Stack:
    """The compose file and the Dockerfile of this repository.

    Args:
        variables: of the compose file, as `.env` or the shell would give them.
    """
    document = read_compose(variables)
    image = read_dockerfile(ROOT / "Dockerfile")
    return Stack(
        services={name: _service(name, content, image) for name, content in document["services"].items()},
        internal={
            name: bool((content or {}).get("internal")) for name, content in document["networks"].items()
        },
        secrets={name: ROOT / content["file"] for name, content in document["secrets"].items()},
        image=image,
    )


def _fill(part: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {key: _fill(child, variables) for key, child in part.items()}
    if isinstance(part, list):
        return [_fill(child, variables) for child in part]
    if isinstance(part, str):
        return _VARIABLE.sub(lambda match: variables.get(match[1]) or match[2], part)
    return part


def _service(name: str, content: Mapping[str, Any], image: Image) -> Service:
    is_ours = "build" in content
    command = tuple(str(word) for word in content["command"])
    environment = {key: str(value) for key, value in content.get("environment", {}).items()}
    uid, gid = (int(part) for part in content["user"].split(":"))
    return Service(
        name=name,
        image=content["image"],
        is_ours=is_ours,
        command=(*image.entrypoint, *command) if is_ours else command,
        environment=(image.environment if is_ours else {}) | environment,
        user=(uid, gid),
        read_only=bool(content.get("read_only")),
        working_dir=image.working_dir if is_ours else "/",
        secrets=tuple(content.get("secrets", ())),
        mounts=tuple(_mount(one) for one in content.get("volumes", ())),
        tmpfs=dict(_tmpfs(one) for one in content.get("tmpfs", ())),
        networks=tuple(content["networks"]),
        ports=tuple(_port(one) for one in content.get("ports", ())),
        needs={one: what["condition"] for one, what in content.get("depends_on", {}).items()},
        check=tuple(content.get("healthcheck", {}).get("test", ("",)))[1:],
        profiles=tuple(content.get("profiles", ())),
    )


def _mount(one: str | Mapping[str, Any]) -> Mount:
    if isinstance(one, str):
        source, target, *options = one.split(":")
        return Mount(source=source, target=target, read_only="ro" in options)
    return Mount(source=one["source"], target=one["target"], read_only=bool(one.get("read_only")))


def _tmpfs(one: str) -> tuple[str, str]:
    path, _, options = one.partition(":")
    return path, options


def _port(one: str) -> Port:
    address, host, container = one.split(":")
    return Port(address=address, host=int(host), container=int(container))
