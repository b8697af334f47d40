"""The command `trialwright` as people run it outside the stack, who have nothing but an address and a token."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TIMEOUT_S = 400.0
_OURS = ("TRIALWRIGHT_", "RAY_", "MLFLOW_", "AWS_")
"""Variables that nobody outside has set."""


def ask_by_commands(study: str, access: Mapping[str, Mapping[str, str]], folder: Path) -> None:
    """Ask for a finished study's status and report at several addresses, at the same time.

    Args:
        study: its name.
        access: by address, the variables that let one in there.
        folder: where the reports go.

    Raises:
        RuntimeError: a command failed, or told something else than that the study is finished.
    """
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(
                lambda place: _ask(study, *place, folder / f"at-{place[0].rpartition(':')[2]}"),
                access.items(),
            )
        )


def _ask(study: str, address: str, access: Mapping[str, str], out: Path) -> None:
    told = json.loads(_run(access, "status", study, "--address", address, "--json"))
    _expect(told["study"] == study and told["state"] == "finished", address, told)
    paths = _run(access, "report", study, "--address", address, "--format", "json,csv", "--out", str(out))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    _expect(report["name"] == study and report["state"] == "finished", address, paths)
    _expect((out / "trials.csv").is_file(), address, paths)


def _run(access: Mapping[str, str], *arguments: str) -> str:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_OURS)}
    ended = subprocess.run(  # noqa: S603 (our own program)
        [f"{sys.prefix}/bin/trialwright", *arguments],
        env=kept | dict(access),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"trialwright {' '.join(arguments)} ended with {ended.returncode}: {ended.stderr}")
    return ended.stdout


def _expect(holds: bool, address: str, told: Any) -> None:
    if not holds:
        raise RuntimeError(f"at {address} the command told {told}")
