"""Brings a stack up in the order of its conditions, and takes it down without a trace."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.rehearsal.container import Container
from deploy.rehearsal.network import Networks
from deploy.rehearsal.ports import PublishedPort
from deploy.rehearsal.stack import Service, Stack
from deploy.rehearsal.stand_ins import stand_in

START_TIMEOUT_S = 400.0
_HEALTHY, _ENDED_WELL = "service_healthy", "service_completed_successfully"


class RunningStack:
    """The containers of a stack, each service once or as often as it is scaled."""

    def __init__(
        self, stack: Stack, scale: Mapping[str, int], folder: Path, say: Callable[[str], None]
    ) -> None:
        self._stack = stack
        self._scale = scale
        self._folder = folder
        self._say = say
        self._networks = Networks(stack.internal)
        self._ports: list[PublishedPort] = []
        self._met: dict[str, str] = {}
        self.containers: dict[str, Container] = {}

    def start(self) -> None:
        """Start every service that is scaled to at least one, each when its conditions are met.

        Raises:
            RuntimeError: one ended, or was not healthy in time.
        """
        self._networks.open()
        wanted = [one for one in self._stack.services.values() if self._scale.get(one.name, 0)]
        for service in wanted:
            self._add_hosts(service)
        waiting = {service.name: service for service in wanted}
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while waiting or set(self._met) != {service.name for service in wanted}:
            if time.monotonic() > give_up_at:
                late = sorted({one.name for one in wanted} - set(self._met))
                raise RuntimeError(f"not ready within {START_TIMEOUT_S:.0f} s: {late}\n{self._logs(late)}")
            for name in [name for name, service in waiting.items() if self._may_start(service)]:
                self._start(waiting.pop(name))
            self._look()
            time.sleep(0.2)

    def of(self, service: str) -> list[Container]:
        """The containers of a service."""
        return [container for container in self.containers.values() if container.service.name == service]

    def address(self, host: str, network: str) -> str:
        """Where a container is in a network."""
        return self._networks.address(host, network)

    def start_again(self, host: str) -> None:
        """End a container, if it still runs, and start it on its volumes, as an engine restarts one that ended."""
        container = self.containers[host]
        container.end()
        container.start(self._stack, self._networks.hosts_file(host), self._folder / "volumes")

    def cut(self, host: str) -> None:
        """Let nothing pass between a container and all others, until `mend`."""
        self._networks.cut(host)

    def mend(self, host: str) -> None:
        """Undo `cut`."""
        self._networks.mend(host)

    def end(self) -> None:
        """End every process, the last started first, and remove namespaces and bridges."""
        for port in self._ports:
            port.close()
        try:
            for container in reversed(self.containers.values()):
                container.end()
        finally:
            self._networks.close()

    def _may_start(self, service: Service) -> bool:
        return all(self._met.get(name) == condition for name, condition in service.needs.items())

    def _add_hosts(self, service: Service) -> None:
        number = self._scale[service.name]
        standing, difference = stand_in(service, self._stack)
        if difference:
            self._say(f"{service.name}: {difference}")
        for replica in range(number):
            host = service.name if number == 1 else f"{service.name}-{replica + 1}"
            namespace = self._networks.add_host(host, service.networks)
            self.containers[host] = Container(standing, host, namespace, self._folder)

    def _start(self, service: Service) -> None:
        volumes = self._folder / "volumes"
        for mount in service.mounts:
            place = volumes / mount.source
            if mount.is_volume and not place.exists():
                place.mkdir(parents=True)
                os.chown(place, *service.user)
        for container in self.of(service.name):
            container.start(self._stack, self._networks.hosts_file(container.host), volumes)
            for port in service.ports:
                target = (self._networks.address(container.host, service.networks[-1]), port.container)
                self._ports.append(PublishedPort(port.address, port.host, target))

    def _look(self) -> None:
        for name in {container.service.name for container in self.containers.values()} - set(self._met):
            containers = self.of(name)
            codes = [container.exit_code() for container in containers]
            if all(code == 0 for code in codes):
                self._meet(name, _ENDED_WELL)
            elif any(code is not None for code in codes):
                raise RuntimeError(f"{name} ended with {codes}:\n{self._logs([name])}")
            elif containers[0].service.check and all(container.is_healthy() for container in containers):
                self._meet(name, _HEALTHY)

    def _meet(self, name: str, condition: str) -> None:
        self._met[name] = condition
        took = time.monotonic() - self.of(name)[0].began
        self._say(f"{name}: {'healthy' if condition == _HEALTHY else 'done'} after {took:.1f} s")

    def _logs(self, names: list[str]) -> str:
        return "\n".join(
            f"--- {one.host}\n{one.last_lines()}"
            for name in names
            for one in self.of(name)
            if one.log.exists()
        )
