"""Networks as a container engine makes them: a bridge each, and a network namespace for every container."""

import ipaddress
import os
import random
import re
import subprocess
from collections.abc import Mapping, Sequence

_NAME = re.compile(r"^trw(\d+)\D")


def ip(*arguments: str) -> str:
    """Run iproute2.

    Args:
        arguments: its command line.

    Raises:
        RuntimeError: it failed; the message is its own.
    """
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class Networks:
    """The bridges and namespaces of one rehearsal, named after its process."""

    def __init__(self, internal: Mapping[str, bool]) -> None:
        sweep()
        self._mark = f"trw{os.getpid()}"
        self._links = 0
        self._hosts: dict[str, dict[str, str]] = {}
        self._outer: dict[str, list[str]] = {}
        self._bridges: dict[str, tuple[str, ipaddress.IPv4Network]] = {}
        self._internal = internal

    def open(self) -> None:
        """Make the bridges; this machine has an address only where a network is not internal."""
        taken = ip("-4", "route", "show")
        free = [second for second in range(200, 255) if f"10.{second}." not in taken]
        base = random.choice(free)
        for number, (name, is_internal) in enumerate(self._internal.items()):
            bridge, net = f"{self._mark}b{number}", ipaddress.IPv4Network(f"10.{base}.{number}.0/24")
            self._bridges[name] = (bridge, net)
            ip("link", "add", bridge, "type", "bridge")
            if not is_internal:
                ip("address", "add", f"{net[1]}/24", "dev", bridge)
            ip("link", "set", bridge, "up")

    def add_host(self, host: str, networks: Sequence[str]) -> str:
        """Make a namespace with an interface in each network; returns its name.

        Args:
            host: what the others call it.
            networks: names of networks.
        """
        namespace = f"{self._mark}-{host}"
        ip("netns", "add", namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
        self._hosts[host] = {}
        self._outer[host] = []
        for number, network in enumerate(networks):
            bridge, net = self._bridges[network]
            self._links += 1
            inner, outer = f"eth{number}", f"{self._mark}v{self._links}"
            self._outer[host].append(outer)
            address = str(net[9 + len(self._hosts)])
            ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace)
            ip("link", "set", outer, "master", bridge, "up")
            ip("-n", namespace, "address", "add", f"{address}/24", "dev", inner)
            ip("-n", namespace, "link", "set", inner, "up")
            if not self._internal[network]:
                ip("-n", namespace, "route", "add", "default", "via", str(net[1]))
            self._hosts[host][network] = address
        return namespace

    def cut(self, host: str) -> None:
        """Let nothing pass between a host and all others, until `mend`."""
        for outer in self._outer[host]:
            ip("link", "set", outer, "down")

    def mend(self, host: str) -> None:
        """Undo `cut`."""
        for outer in self._outer[host]:
            ip("link", "set", outer, "up")

    def address(self, host: str, network: str) -> str:
        """A host's address in a network."""
        return self._hosts[host][network]

    def hosts_file(self, host: str) -> str:
        """Names as a host sees them: those it shares a network with, by the first that both are in."""
        lines = ["127.0.0.1 localhost"]
        mine = self._hosts[host]
        for other, theirs in self._hosts.items():
            shared = [theirs[network] for network in mine if network in theirs]
            lines += [f"{shared[0]} {other}"] if shared else []
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        """Remove everything; nothing may run in the namespaces any more."""
        _remove(self._mark)


def sweep() -> None:
    """Remove what a rehearsal that was killed has left."""
    for name in _namespaces() + _bridges():
        found = _NAME.match(name)
        if found and not os.path.exists(f"/proc/{found[1]}"):  # noqa: PTH110 (a process, not a file)
            _remove(f"trw{found[1]}")


def _namespaces() -> list[str]:
    return [line.split()[0] for line in ip("netns", "list").splitlines() if line]


def _bridges() -> list[str]:
    return [line.split(":")[1].strip() for line in ip("-o", "link", "show", "type", "bridge").splitlines()]


def _remove(mark: str) -> None:
    for name in _namespaces():
        if name.startswith(f"{mark}-"):
            ip("netns", "delete", name)
    for name in _bridges():
        if name.startswith(f"{mark}b"):
            ip("link", "delete", name)
