"""A Ray head with its dashboard on free ports of loopback, behind a token, in a session of its own."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.study.servers import free_port

TOKEN = "5e" * 32
_MARK = "TRIALWRIGHT_TEST_HEAD"
_RAY = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
_START_S = 300.0


@dataclass(frozen=True)
class Head:
    """Where a head answers."""

    address: str
    """Of its dashboard."""
    client_address: str
    """Of its Ray Client server."""
    home: Path
    """Where its jobs keep studies."""
    gcs_address: str
    """Which drivers of this machine join."""
    mark: str
    """What all its processes carry in their environment."""

    @property
    def num_nodes(self) -> int:
        """Nodes of its cluster on this machine, itself included."""
        return sum(process.name() == "raylet" for process in _marked(self.mark))

    def get(self, path: str, token: str = TOKEN) -> Any:
        """What its dashboard answers."""
        return self._ask("GET", path, token)

    def stop_job(self, job_id: str) -> None:
        """What `ray job stop` does."""
        self._ask("POST", f"/api/jobs/{job_id}/stop", TOKEN)

    def _ask(self, method: str, path: str, token: str) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(self.address + path, headers=headers, method=method)  # noqa: S310 (ours)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.loads(answer.read())


@contextmanager
def ray_head(
    folder: Path, *, num_cpus: int = 2, options: Sequence[str] = (), gcs_port: int = 0, **environment: str
) -> Iterator[Head]:
    """A head whose every process is ended by its own id, with variables that its jobs inherit."""
    mark = uuid4().hex
    ports = {name: free_port() for name in ("gcs", "dashboard", "client", "agent")}
    ports["gcs"] = gcs_port or ports["gcs"]
    options = [
        *options,
        "--head",
        f"--num-cpus={num_cpus}",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
    ]
    options += [f"--port={ports['gcs']}", f"--dashboard-port={ports['dashboard']}"]
    options += [
        f"--ray-client-server-port={ports['client']}",
        f"--dashboard-agent-listen-port={ports['agent']}",
    ]
    options += [
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--object-store-memory={100 * 2**20}",
        "--block",
    ]
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback only
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "GRPC_ENABLE_FORK_SUPPORT": "0",  # else what it forks for Ray Client may die (Ray's issue 63202)
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TRIALWRIGHT_HOME": str(folder / "home"),
        **environment,
        _MARK: mark,
    }
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _RAY, "start", *options],
            cwd=folder,
            env=kept | settings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    urls = (f"http://127.0.0.1:{ports['dashboard']}", f"ray://127.0.0.1:{ports['client']}")
    head = Head(*urls, home=folder / "home", gcs_address=f"127.0.0.1:{ports['gcs']}", mark=mark)
    try:
        _wait_for(head, process, folder / "head.log")
        yield head
    finally:
        _end(mark)
        process.wait(120)


def _wait_for(head: Head, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_at = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < give_up_at:
        try:
            if isinstance(head.get("/api/jobs/"), list):
                return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.2)
    pytest.fail(f"Ray's head did not start: {log.read_text()[-2000:]}")


def _end(mark: str) -> None:
    """End what carries the mark until nothing does: some start others while they are being ended."""
    give_up_at = time.monotonic() + 60
    while (living := list(_marked(mark))) and time.monotonic() < give_up_at:
        for process in living:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(0.2)


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process
