"""The faults that need the whole stack: what each does to its parts, and how it is mended."""

import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import psutil

from tests.faults.stack import WORKERS, StackRun

LONGEST_OUTAGE_S = 5.0
HANG_S = (5.0, 60.0)
"""How long a node hangs: less than Ray's patience with it, and more."""
Strike = Callable[[StackRun, random.Random], None]


def kill_driver(run: StackRun, _rng: random.Random) -> None:
    """SIGKILL."""
    run.driver.kill()


def kill_process(*kinds: str) -> Strike:
    """SIGKILL of one of Ray's processes of a kind; Ray starts another."""

    def strike(run: StackRun, rng: random.Random) -> None:
        found = run.world.processes(*kinds)
        if found:
            with suppress(psutil.NoSuchProcess):
                rng.choice(found).kill()

    return strike


def kill_worker(run: StackRun, rng: random.Random) -> None:
    """SIGKILL of everything on a worker node, which comes back."""
    run.world.start_again(_after_outage(run, rng.choice(WORKERS), rng))


def stop_worker(run: StackRun, rng: random.Random) -> None:
    """SIGSTOP of everything on a worker node for a while; a node that Ray has given up ends, and comes back."""
    container = run.world.running.containers[rng.choice(WORKERS)]
    container.signal(signal.SIGSTOP)
    time.sleep(rng.choice(HANG_S))
    container.signal(signal.SIGCONT)


def partition(run: StackRun, rng: random.Random) -> None:
    """Nothing passes between a worker node and all others for a while."""
    host = rng.choice(WORKERS)
    run.world.running.cut(host)
    time.sleep(rng.choice(HANG_S))
    run.world.running.mend(host)


def kill_head(run: StackRun, rng: random.Random) -> None:
    """SIGKILL of everything beside Ray's head, the driver included; a new head begins a new cluster."""
    with run.may_launch:
        run.world.start_again(_after_outage(run, "ray-head", rng))
        run.world.wait_for("ray-head")
        for host in WORKERS:
            run.world.start_again(host)


def kill_service_of(host: str) -> Strike:
    """SIGKILL of a container that the driver speaks to, or that looks at the study; it comes back."""

    def strike(run: StackRun, rng: random.Random) -> None:
        run.world.start_again(_after_outage(run, host, rng))
        run.world.wait_for(host)
        if host == "store":
            run.num_damaged += 2  # what stands in for it keeps objects in memory: all checkpoints are gone

    return strike


STACK_FAULTS: Mapping[str, Strike] = {
    "none": lambda _run, _rng: None,
    "driver-kill": kill_driver,
    "pack-kill": kill_process("ray::SimulatedActor", "ray::PackActor"),
    "client-kill": kill_process("PackClient"),
    "worker-kill": kill_worker,
    "worker-stop": stop_worker,
    "partition": partition,
    "head-kill": kill_head,
    "postgres-kill": kill_service_of("postgres"),
    "mlflow-kill": kill_service_of("mlflow"),
    "store-kill": kill_service_of("store"),
    "service-kill": kill_service_of("service"),
}


def _after_outage(run: StackRun, host: str, rng: random.Random) -> str:
    """Kill a container, and give its name after a while."""
    run.world.running.containers[host].end()
    time.sleep(rng.uniform(0.1, LONGEST_OUTAGE_S))
    return host
