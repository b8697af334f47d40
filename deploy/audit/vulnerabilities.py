"""Known vulnerabilities of the locked releases, by pip-audit, and where its service cannot be asked, by project."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from deploy.audit.lock import Locked
from deploy.audit.newest import PROJECTS, ask_projects

TIMEOUT_S = 40
NUM_FIRST = 3
"""Releases by which it is seen whether the service is there: some mirrors of PyPI have none."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the service said."""

    wrong: tuple[str, ...]
    """A sentence for each finding that is not accepted."""
    num_checked: int
    """Releases of which the service knows."""
    problem: str
    """Why nothing or not everything was checked; empty where all was."""


def check_vulnerabilities(
    releases: Sequence[Locked],
    accepted: Sequence[Mapping[str, Any]],
    *,
    today: date,
    command: Sequence[str] = (sys.executable, "-m", "pip_audit"),
    projects: str = PROJECTS,
) -> Findings:
    """Ask the service of PyPI about releases, or, where it cannot be asked, the pages of its projects.

    Args:
        releases: by name and version.
        accepted: `id`, `package`, `reason` and `until` of findings that cannot be mended yet.
        today: decides which of these have expired.
        command: pip-audit.
        projects: address of the projects' pages, which are asked where pip-audit's service cannot be.
    """
    expired = [
        f"{one['id']} of {one['package']} was accepted until {one['until']}: update the package, or say again why not."
        for one in accepted
        if one["until"] < today
    ]
    first, problem = _asked(releases[:NUM_FIRST], command)
    if not problem and all("skip_reason" in one for one in first):
        problem = (
            f"the service knows none of the first {len(first)} releases, so it was not asked for the rest"
        )
    if not problem:
        answer, problem = _asked(releases, command)
    if problem:
        answer = ask_projects(releases, projects)
        problem += "; the pages of projects, asked instead, tell of the newest releases only"
    known = {(one["package"], one["id"]) for one in accepted if one["until"] >= today}
    checked = [one for one in answer if "skip_reason" not in one]
    found = [
        f"{one['name']} {one['version']} has {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no release yet'}: update it, or accept it with a reason and a "
        "day in deploy/audit/accepted.yaml."
        for one in checked
        for vulnerability in one["vulns"]
        if not known & {(one["name"], name) for name in (vulnerability["id"], *vulnerability["aliases"])}
    ]
    if not problem and len(checked) < len(releases):
        problem = f"the service does not know {len(releases) - len(checked)} of {len(releases)} releases"
    return Findings(wrong=(*expired, *found), num_checked=len(checked), problem=problem)


def _asked(releases: Sequence[Locked], command: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit found for each release, or why it could not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requirements.txt"
        path.write_text("".join(f"{one.name}=={one.version.partition('+')[0]}\n" for one in releases))
        options = [
            "--requirement",
            str(path),
            "--no-deps",
            "--disable-pip",
            "--format",
            "json",
            "--aliases",
            "on",
        ]
        options += ["--progress-spinner", "off", "--timeout", "10"]
        try:
            ended = subprocess.run(  # noqa: S603 -- a tool of our own environment
                [*command, *options], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return [], f"the service did not answer within {TIMEOUT_S} s"
    try:
        return list(json.loads(ended.stdout)["dependencies"]), ""
    except (ValueError, KeyError):
        lines = [line for line in ended.stderr.strip().splitlines() if line.strip()]
        return (
            [],
            f"pip-audit did not answer ({lines[-1][:200] if lines else f'exit code {ended.returncode}'})",
        )
