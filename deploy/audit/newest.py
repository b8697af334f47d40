"""Known vulnerabilities by the pages of PyPI's projects: some mirrors have these, and none of single releases."""

import json
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from deploy.audit.lock import Locked

PROJECTS = "https://pypi.org/pypi"
_TIMEOUT_S = 10.0
_AT_ONCE = 8


def ask_projects(releases: Sequence[Locked], projects: str) -> list[dict[str, Any]]:
    """Answers as pip-audit gives them, for those that are the newest of their projects: a page tells of no other.

    Args:
        releases: by name and version.
        projects: address under which each project has a page `<name>/json`.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(partial(_ask_project, projects), releases))


def _ask_project(projects: str, release: Locked) -> dict[str, Any]:
    answer: dict[str, Any] = {"name": release.name, "version": release.version}
    try:
        with urllib.request.urlopen(f"{projects}/{release.name}/json", timeout=_TIMEOUT_S) as reply:  # noqa: S310
            page = json.load(reply)
        newest, known = page["info"]["version"], page["vulnerabilities"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return answer | {"skip_reason": f"{type(error).__name__}: {error}"}
    if newest != release.version.partition("+")[0]:
        return answer | {"skip_reason": f"{newest} is newer"}
    vulns = [
        {"id": one["id"], "aliases": one["aliases"], "fix_versions": one["fixed_in"]}
        for one in known
        if not one.get("withdrawn")
    ]
    return answer | {"vulns": vulns}
