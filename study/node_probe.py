"""What a node says of itself before a study uses it. Sent to the node as it is, which may not have Trialwright.

So this module imports the standard library alone, and whatever else it looks at within its functions.
"""

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = ("trialwright", "ray", "torch", "transformers", "peft")
MODULES = ("search_spaces", "trainers", "study")
_WHERE = f"import {', '.join(MODULES)}; print(*(m.__path__[0] for m in ({', '.join(MODULES)})), sep=chr(10))"
_IMPORT_S = 60


def look_at_node(asked: dict[str, Any]) -> dict[str, Any]:
    """Look at this machine, from within a process as packs have it.

    Args:
        asked: `home`, a folder; `token`, a file in it that the driver has just written; `paths` that the study names;
            `store`, an object store's URL or None, and `secrets` of how to reach it.

    Returns:
        `versions` by package, `imported` and `installed` folders by module, `code` (a digest of the modules' sources),
        whether the home is `shared` and what is wrong with writing it (`unwritable`), the `paths` that are `missing`,
        and what is wrong with the `store`.
    """
    imported = _imported()
    ours = imported == _installed()
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "imported": imported,
        "installed": _installed(),
        "code": _digest(list(imported.values())) if imported else "",
        "shared": (Path(asked["home"]) / asked["token"]).exists(),
        "unwritable": _unwritable(asked["home"]),
        "missing": [path for path in asked["paths"] if not Path(path).exists()],
        "store": _store_problem(asked["store"], asked["secrets"]) if ours and asked["store"] else "",
    }


def identity() -> dict[str, str]:
    """Versions by package, and the sources' digest as `code`, of what this process imports."""
    versions = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    return versions | {"code": _digest(list(_imported().values()))}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _imported() -> dict[str, str]:
    """The folders that this process imports the modules from; empty where one of them is not to be had."""
    found = {}
    for module in MODULES:
        spec = find_spec(module)
        if spec is None or not (spec.submodule_search_locations or spec.origin):
            return {}
        found[module] = str([*(spec.submodule_search_locations or ()), spec.origin][0])
    return found


def _installed() -> dict[str, str]:
    """The same of a process that nobody lent a folder: with no current folder and no PYTHONPATH."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as empty:
        said = subprocess.run(  # noqa: S603 (our own interpreter and words)
            [sys.executable, "-P", "-c", _WHERE],
            cwd=empty,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_IMPORT_S,
            check=False,
        )
    return dict(zip(MODULES, said.stdout.split("\n"), strict=False)) if said.returncode == 0 else {}


def _digest(folders: list[str]) -> str:
    """SHA-256 over all sources below some folders."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _unwritable(home: str) -> str:
    try:
        Path(home).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _store_problem(url: str, secrets: dict[str, str]) -> str:
    """What is wrong with an object store as seen from here; empty where nothing is."""
    from search_spaces.errors import SpecError
    from trainers.places import parse_store
    from trainers.store_settings import adopt_settings

    adopt_settings(secrets)
    try:
        parse_store(url).check()
    except SpecError as error:
        return str(error)
    return ""
