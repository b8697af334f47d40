"""What a container of our own image starts with, read from the Dockerfile's last stage."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Image:
    """The settings of an image that a container inherits."""

    entrypoint: tuple[str, ...]
    environment: dict[str, str]
    user: str
    """`uid:gid`."""
    working_dir: str
    copies: dict[str, str]
    """Folders in the image by the folder of the repository that they are copied from."""


def read_dockerfile(path: Path) -> Image:
    """Read the last stage.

    Args:
        path: the Dockerfile.
    """
    copies: dict[str, str] = {}
    environment: dict[str, str] = {}
    entrypoint, user, working_dir = [], "", "/"
    for keyword, rest in _last_stage(path.read_text(encoding="utf-8")):
        if keyword == "ENTRYPOINT":
            entrypoint = json.loads(rest)
        elif keyword == "ENV":
            environment.update(_pair(word) for word in shlex.split(rest))
        elif keyword == "USER":
            user = rest
        elif keyword == "WORKDIR":
            working_dir = rest
        elif keyword == "COPY" and not rest.startswith("--from"):
            source, target = rest.split()
            copies[source] = target
    return Image(
        entrypoint=tuple(entrypoint),
        environment=environment,
        user=user,
        working_dir=working_dir,
        copies=copies,
    )


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _last_stage(text: str) -> list[tuple[str, str]]:
    """Instructions after the last FROM, as keyword and rest, continued lines joined and comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    instructions = [(keyword.upper(), rest.strip()) for keyword, rest in parts]
    last = max(number for number, (keyword, _) in enumerate(instructions) if keyword == "FROM")
    return instructions[last + 1 :]
