"""Launches beside Ray's head, as this machine sees them: asked for at a socket, followed to their ends."""

import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from deploy.rehearsal.container import Container
from tests.faults.launched import Launched

_CREDENTIALS = struct.Struct("3i")
"""Process, user and group, as Linux tells them."""
_READY_S = 300.0
_KILLED = -signal.SIGKILL


class StackDriver(Launched):
    """One launch."""

    def __init__(
        self, place: Path, logs: "SharedFolder", command: list[str], environment: Mapping[str, str]
    ) -> None:
        """Ask for it.

        Args:
            place: the socket of `tests.faults.stack_driver`.
            logs: where it says what it says.
            command: arguments of `trialwright`.
            environment: variables that it has besides.
        """
        name = uuid4().hex
        super().__init__(*(logs.here / f"{name}.{stream}" for stream in ("out", "err")))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.connect(str(place))
        for path in (self._out, self._err):
            path.chmod(0o666)
        asked = {
            "command": command,
            "environment": dict(environment),
            "out": f"{logs.there}/{self._out.name}",
            "err": f"{logs.there}/{self._err.name}",
        }
        self._socket.sendall(f"{json.dumps(asked)}\n".encode())
        _, told, _, _ = self._socket.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
        self.pid: int = _CREDENTIALS.unpack(told[0][2])[0] if told else 0
        threading.Thread(target=self._follow, daemon=True).start()

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        if self.pid and not self.is_over:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._over.wait(30)

    def survivors(self) -> list[str]:
        """Nothing: the world looks for what is left on every node."""
        return []

    def clean_up(self) -> None:
        """End it."""
        self.kill()
        self._socket.close()

    def _follow(self) -> None:
        """Wait for the exit code, or for the silence of a process that was killed."""
        told = b""
        with suppress(OSError):
            told = self._socket.makefile("rb").readline()
        self._end(int(told) if told else _KILLED)


class SharedFolder:
    """A folder of a volume: its place on this machine, and in the containers."""

    def __init__(self, here: Path, there: str) -> None:
        self.here = here
        self.there = there
        if not here.exists():
            here.mkdir()
            here.chmod(0o777)


class DriverServer:
    """The process beside Ray's head that launches are forked from; there is a new one once the head was killed."""

    def __init__(self, head: Container, folder: SharedFolder, environment: Mapping[str, str]) -> None:
        self._head = head
        self._folder = folder
        self._environment = dict(environment)
        self._place = folder.here / "drivers.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, command: list[str], environment: Mapping[str, str]) -> StackDriver:
        """Start a driver, as soon as there is a process to fork it from."""
        give_up_at = time.monotonic() + _READY_S
        while True:
            self.start()
            with suppress(ConnectionError, FileNotFoundError):
                return StackDriver(self._place, self._folder, command, environment)
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"no driver can be forked: {self._log.read_text()[-2000:]}")
            time.sleep(0.1)

    def start(self) -> None:
        """Begin to import, if that is not done."""
        if self._process is None or self._process.poll() is not None:
            self._place.unlink(missing_ok=True)
            command = [
                "python",
                "-m",
                "tests.faults.stack_driver",
                f"{self._folder.there}/{self._place.name}",
            ]
            self._process = self._head.spawn(
                ["/opt/deploy/enter", *command], self._environment, self._log, self._log
            )

    @property
    def _log(self) -> Path:
        return self._folder.here / "drivers.log"
