"""A real PostgreSQL server with its usual settings on a free port, for the duration of a block."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 60.0
USERS = ("postgres", "nobody")
"""Who runs the server where this process is root's, whom it refuses."""


def find_tool(name: str) -> str | None:
    """Path of one of PostgreSQL's programs, the newest version's; None where it is not installed."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(versions[-1]) if versions else shutil.which(name)


@contextmanager
def postgres_server() -> Iterator[str]:
    """URL of an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="trialwright-pg-"))
    user = None if os.getuid() else next(one.pw_name for one in pwd.getpwall() if one.pw_name in USERS)
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    data = str(folder / "data")
    made = [str(find_tool("initdb")), "-D", data, "-U", "owner", "-A", "trust"]
    subprocess.run(made, check=True, user=user, cwd=folder, capture_output=True)  # noqa: S603 (PostgreSQL's own)
    command = [str(find_tool("postgres")), "-D", data, "-p", str(port), "-k", str(folder)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=folder)  # noqa: S603
    try:
        _wait_for(port, server, folder / "log")
        yield f"postgresql://owner@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    asked = [str(find_tool("pg_isready")), "-h", "127.0.0.1", "-p", str(port), "-q"]
    give_up_at = time.monotonic() + START_S
    while time.monotonic() < give_up_at and server.poll() is None:
        if subprocess.run(asked, check=False).returncode == 0:  # noqa: S603 (PostgreSQL's own)
            return
        time.sleep(0.1)
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-500:]}")
