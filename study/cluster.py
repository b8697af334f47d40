"""The door to Ray: an embedded one on this machine, or a cluster that runs already."""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from search_spaces.errors import SpecError
from study.home import Home
from study.spec import Resources

CONNECT_TIMEOUT_S = 5.0
OBJECT_STORE_BYTES = 256 * 2**20
"""Trials exchange numbers only, so the embedded Ray needs no more."""


def check_address(address: str | None) -> None:
    """Refuse a Ray address that nothing answers at, before anything is started.

    Args:
        address: `ray://host:port`, `host:port` of a head, or None for an embedded Ray.

    Raises:
        SpecError: the address is malformed or nobody listens there.
    """
    if address is None:
        return
    parsed = urlsplit(address if "://" in address else f"ray-head://{address}")
    try:
        host, port = parsed.hostname, parsed.port
    except ValueError:
        host, port = None, None
    if parsed.scheme not in {"ray", "ray-head"} or not host or not port:
        raise SpecError(
            f"Ray address {address!r} is not of the form host:port or ray://host:port: "
            "write it so, or leave --address out to use this machine."
        )
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise SpecError(
            f"Nothing answers at Ray address {address!r} ({error.strerror or error}): "
            "start the cluster, correct the address, or leave --address out to use this machine."
        ) from None


@contextmanager
def connected(address: str | None, home: Home, resources: Resources) -> Iterator[int]:
    """Ray for the duration of a launch; yields how many packs fit.

    An embedded Ray listens on loopback alone and asks for a token that only its own processes know.

    Args:
        address: as for `check_address`.
        home: gives Ray an empty working folder.
        resources: what a pack takes, and how many packs the study may have.
    """
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    else:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    here = {"num_cpus": os.cpu_count(), "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    ray.init(
        address=address or "local",
        runtime_env={"working_dir": str(home.empty_dir)},
        log_to_driver=False,
        logging_level="ERROR",
        configure_logging=True,
        **({**here, "_node_ip_address": "127.0.0.1"} if address is None else {}),
    )
    try:
        yield num_packs(resources, ray.cluster_resources())
    finally:
        ray.shutdown()


def num_packs(resources: Resources, cluster: dict[str, float]) -> int:
    """How many packs run at once: as declared, or as many as the cluster's CPUs and accelerators hold.

    Raises:
        SpecError: not even one pack fits.
    """
    fits = int(cluster.get("CPU", 0) // resources.cpus_per_pack)
    if resources.gpus_per_pack:
        fits = min(fits, int(cluster.get("GPU", 0) // resources.gpus_per_pack))
    if fits < 1:
        raise SpecError(
            f"A pack needs {resources.cpus_per_pack} CPUs and {resources.gpus_per_pack} GPUs, but the "
            f"cluster has {cluster.get('CPU', 0):g} and {cluster.get('GPU', 0):g}: lower resources.cpus_per_pack or "
            "resources.gpus_per_pack."
        )
    wanted = resources.packs if resources.packs != "auto" else resources.max_packs or fits
    return min(wanted, fits)
