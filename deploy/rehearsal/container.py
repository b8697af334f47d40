"""A container as a process: started in namespaces of its own, asked for its health, entered, ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.rehearsal.network import ip
from deploy.rehearsal.stack import ROOT, Service, Stack

EXEC_TIMEOUT_S = 240.0
END_TIMEOUT_S = 60.0
USERS = (
    "trialwright:x:1000:1000::/home/trialwright:/usr/sbin/nologin\npostgres:x:999:999::/:/usr/sbin/nologin\n"
)
"""The images' users."""
RESOLVER = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
"""Names are in /etc/hosts. An engine's resolver says at once that it knows no others and no IPv6; so does this."""


class Container:
    """One replica of a service."""

    def __init__(self, service: Service, host: str, namespace: str, folder: Path) -> None:
        self.service = service
        self.host = host
        self._namespace = namespace
        self._folder = folder / "containers" / host
        self._folder.mkdir(parents=True)
        self.log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.began = time.monotonic()

    def start(self, stack: Stack, hosts_file: str, volumes: Path) -> None:
        """Start the service's command as the compose file describes it.

        Args:
            stack: the whole file.
            hosts_file: text of /etc/hosts.
            volumes: folder of the named volumes.
        """
        (self._folder / "hosts").write_text(hosts_file)
        (self._folder / "passwd").write_text(_passwd())
        (self._folder / "resolv.conf").write_text(RESOLVER)
        (self._folder / "scratch").mkdir(exist_ok=True)
        description = self._folder / "description.json"
        description.write_text(json.dumps(self._describe(stack, volumes)))
        unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork"]
        inside = [sys.executable, "-I", str(Path(__file__).with_name("inside.py")), str(description)]
        self.began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                ["ip", "netns", "exec", self._namespace, *unshare, *inside],  # noqa: S607
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def is_healthy(self) -> bool:
        """Whether its health check succeeds now."""
        return self._init() is not None and self.run(self.service.check).returncode == 0

    def run(
        self, command: Sequence[str], timeout_s: float = EXEC_TIMEOUT_S
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, as `docker compose exec` does.

        Args:
            command: program and arguments.
            timeout_s: seconds that it may take.
        """
        return subprocess.run(  # noqa: S603
            [*self._entering(), *command],
            env=self.service.environment | {"PATH": _path(self.service)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def spawn(
        self, command: Sequence[str], environment: Mapping[str, str], out: Path, err: Path
    ) -> "subprocess.Popen[bytes]":
        """Start a command inside, and do not wait for it: what is returned is its parent, with its exit code.

        Args:
            command: program and arguments.
            environment: variables besides the service's.
            out: file for what it says.
            err: file for what it complains of.
        """
        with out.open("ab") as out_file, err.open("ab") as err_file:
            return subprocess.Popen(  # noqa: S603
                [*self._entering(), *command],
                env=self.service.environment | {"PATH": _path(self.service)} | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                start_new_session=True,
            )

    def pids(self) -> list[int]:
        """Every process in its network namespace, where all of its descendants are."""
        return [int(pid) for pid in ip("netns", "pids", self._namespace).split()]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of it."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def last_lines(self, number: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-number:])

    def end(self) -> None:
        """End every process that is in its network namespace, where all of its descendants are.

        Raises:
            RuntimeError: one does not end.
        """
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(20)
        give_up_at = time.monotonic() + END_TIMEOUT_S
        while pids := self.pids():
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"processes of {self.host} do not end: {pids}")
            self.signal(signal.SIGKILL)
            time.sleep(0.05)

    def _entering(self) -> list[str]:
        """What precedes a command that runs inside."""
        init = self._init()
        if init is None:
            raise RuntimeError(f"{self.host} does not run: {self.last_lines()}")
        into = ("--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd")
        return ["nsenter", f"--target={init}", *into, *as_user(self.service)]

    def _init(self) -> int | None:
        """Id of its first process on this machine."""
        try:
            children = psutil.Process(self._process.pid).children() if self._process else []
        except psutil.NoSuchProcess:
            return None
        return int(children[0].pid) if children else None

    def _describe(self, stack: Stack, volumes: Path) -> dict[str, object]:
        service = self.service
        binds: list[tuple[str, str, bool]] = [
            (str(self._folder / "hosts"), "/etc/hosts", True),
            (str(self._folder / "passwd"), "/etc/passwd", True),
            (str(self._folder / "resolv.conf"), "/etc/resolv.conf", True),
        ]
        if service.is_ours:
            binds.append((sys.prefix, "/opt/trialwright", True))
            binds += [(str(ROOT / source), target, True) for source, target in stack.image.copies.items()]
        for mount in service.mounts:
            source = volumes / mount.source if mount.is_volume else ROOT / mount.source
            binds.append((str(source), mount.target, mount.read_only))
        binds += [(str(stack.secrets[name]), f"/run/secrets/{name}", True) for name in service.secrets]
        visible = [str(ROOT), sys.prefix, sys.base_prefix, *_paths_of_packages()]
        return {
            "host": self.host,
            "scratch": str(self._folder / "scratch"),
            "visible": sorted(set(visible)),
            "binds": binds,
            "tmpfs": service.tmpfs,
            "working_dir": service.working_dir,
            "read_only": service.read_only,
            "environment": service.environment | {"PATH": _path(service)},
            "command": [*as_user(service), *service.command],
        }


def as_user(service: Service) -> list[str]:
    """Gives up every capability, and the way back to them, for the service's user."""
    uid, gid = service.user
    return [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={gid}",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "--",
    ]


def _path(service: Service) -> str:
    """Programs of the image; those of this machine that stand in for another image's lie in the usual folders."""
    return service.environment.get("PATH", "/usr/local/bin:/usr/bin:/bin")


def _paths_of_packages() -> list[str]:
    """Folders outside the environment that packages are imported from."""
    return [path for path in sys.path if path.endswith("site-packages") and os.path.isdir(path)]  # noqa: PTH112


def _passwd() -> str:
    """This machine's users, but those whose ids the images' users have."""
    lines = Path("/etc/passwd").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [
        line
        for line in lines
        if line.split(":")[2] not in {"999", "1000"} and not line.startswith("postgres:")
    ]
    return "".join(kept) + USERS
