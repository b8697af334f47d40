"""The door to Ray: an embedded one on this machine, or a cluster that runs already."""

import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from search_spaces.errors import RetryableError, SpecError, TrialwrightError
from study.growth import GROWTH_VARIABLE, nodes_to_come
from study.home import Home
from study.spec import Resources

CONNECT_TIMEOUT_S = 5.0
_LOG = logging.getLogger(__name__)
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's one switch to the loopback address, on any system; `_node_ip_address` is resolved away from it."""
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How an HTTP/2 client opens (RFC 9113, 3.4): a preface and an empty SETTINGS frame."""
WORKER_ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""cuBLAS repeats its results only with a fixed workspace."""
OBJECT_STORE_BYTES = 256 * 2**20
"""Trials exchange numbers only, so the embedded Ray needs no more."""


@dataclass(frozen=True, kw_only=True)
class Packs:
    """Workers that each hold one copy of the base."""

    number: int
    """How many there may be at once as the cluster is now, at least one."""
    cpus: int
    """CPUs of each."""
    gpus: int
    """Accelerators of each."""
    asked: int | None = None
    """How many are asked for, even where fewer fit; None: as many as fit."""
    most: int | None = None
    """Upper limit where as many as fit are asked for; None: no limit."""
    hoped: int | None = None
    """How many of those asked for the cluster may come to hold; None: nothing is known of its growth."""
    as_needed: bool = False
    """Whether more than fit now are asked for only once trials wait for them."""

    @property
    def device(self) -> str:
        """Where trials train, as torch names it."""
        return "cuda" if self.gpus else "cpu"


def check_address(address: str | None) -> None:
    """Refuse a Ray address that no cluster answers at, before anything is started.

    Args:
        address: `host:port` of a cluster's head, or None for an embedded Ray.

    Raises:
        SpecError: the address is malformed, of Ray Client, or no Ray listens there.
    """
    if address is None:
        return
    try:
        parsed = urlsplit(f"//{address}")
        host, port = parsed.hostname, parsed.port
        (host or "").encode("idna")  # as whoever looks it up will write it
    except ValueError:
        parsed, host, port = urlsplit(""), None, None
    if address.startswith("ray://"):
        raise SpecError(
            f"Ray address {address!r} is one of Ray Client, through which a study cannot write its record: "
            "launch on a machine of the cluster and give the host:port of its head."
        )
    if not host or not port or parsed.path or parsed.username:
        raise SpecError(
            f"Ray address {address!r} is not of the form host:port: "
            "write it so, or leave --address out to use this machine."
        )
    problem = _problem_at(host, port)
    if problem:
        raise SpecError(
            f"No Ray cluster answers at address {address!r} ({problem}): "
            "start the cluster, correct the address, or leave --address out to use this machine."
        )


def _problem_at(host: str, port: int) -> str:
    """Why no gRPC server can be there; empty where one greets back, as Ray's head does."""
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connection:
            connection.sendall(_GREETING)
            reply = connection.recv(9)
    except TimeoutError:
        return "nothing answers"
    except OSError as error:
        return error.strerror or str(error)
    is_settings_frame = len(reply) > 3 and reply[3] == 4  # noqa: PLR2004 (RFC 9113, 6.5)
    return "" if is_settings_frame else "what listens there is not Ray"


@contextmanager
def connected(address: str | None, home: Home, resources: Resources) -> Iterator[Packs]:
    """Ray for the duration of a launch; yields the packs that fit.

    An embedded Ray listens on loopback alone and asks for a token that only its own processes know.

    Args:
        address: as for `check_address`.
        home: gives Ray an empty working folder.
        resources: what a pack takes, and how many packs the study may have.

    Raises:
        RetryableError: Ray did not start on this machine.
        SpecError: the cluster cannot be used, or no pack fits.
        RuntimeError: Ray was imported before, so that an embedded one would not heed its own token.
    """
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None:
        if "ray" in sys.modules and os.environ.get("RAY_AUTH_MODE") != "token":
            raise RuntimeError(
                "Ray was imported without RAY_AUTH_MODE=token, and reads it once in a process: import Ray, and "
                "whatever imports it, within `connected`."
            )
        os.environ.update(
            _LOOPBACK_ONLY | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        )
    else:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what goes wrong is said in our own words
    import ray

    _hear_warnings()
    cpus = int(this_machine(count_gpus=False)["CPU"])
    here = {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    try:
        with _keeping_handlers():
            ray.init(
                address=address or "local",
                runtime_env={"working_dir": str(home.empty_dir), "env_vars": WORKER_ENVIRONMENT},
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=True,
                **(here if address is None else {}),
            )
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        ray.shutdown()
        raise _not_usable(address, error) from error
    try:
        nodes = living_nodes().values()
        if address is None:
            yield fit_packs(resources, *nodes)
        else:
            yield fit_packs(resources, *nodes, may_wait=True, to_come=nodes_to_come())
    finally:
        _disconnect()


def _hear_warnings() -> None:
    """Log the warnings of a cluster, which Ray prints on stdout whatever `log_to_driver` says: that is for results."""
    from ray._private import worker

    def note(batch: Mapping[str, Any], **_: object) -> None:
        _LOG.info("%s", " ".join(batch["lines"]))

    worker.print_to_stdstream = note


@contextmanager
def _keeping_handlers() -> Iterator[None]:
    """Put back who hears SIGINT and SIGTERM: Ray, on connecting, has SIGTERM end the driver wherever it stands."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _disconnect() -> None:
    """Leave Ray while no other thread frees what is Ray's, for Ray then ends the process without a word (exit code 1).

    Cycles with references to objects and actors are collected by whichever thread comes to it. So they are collected
    before, and none are while Ray goes.
    """
    import ray

    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def _not_usable(address: str | None, error: Exception) -> TrialwrightError:
    """A sentence in place of Ray's own report."""
    cause = _cause(error)
    if address is None:
        return RetryableError(f"Ray did not start on this machine ({cause}): free memory, then launch again.")
    return SpecError(
        f"The Ray cluster at {address!r} cannot be used ({cause}): give it this machine's versions of Ray and "
        "Python, and its token by RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
    )


def _cause(error: Exception) -> str:
    """What went wrong, in few words: the last of Ray's errors that a report names, else how the report begins."""
    said = str(error).strip().splitlines()
    named = [line.partition(": ")[2] for line in said if line.startswith("ray.exceptions.")]
    return (named[-1].split(". ")[0] if named else said[0]).rstrip(".") if said else type(error).__name__


def this_machine(*, count_gpus: bool) -> dict[str, float]:
    """What an embedded Ray would have: the CPUs that this process may use and, if asked for, CUDA devices."""
    here = {"CPU": float(len(os.sched_getaffinity(0)))}
    if count_gpus:
        import torch

        here["GPU"] = float(torch.cuda.device_count())
    return here


def living_nodes() -> dict[str, Mapping[str, float]]:
    """What the nodes of the connected Ray have in all, by Ray's names of them, as far as they live."""
    import ray

    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def session_name() -> str:
    """A name of the connected Ray cluster, another after its head has started anew."""
    import ray

    return str(ray.get_runtime_context().get_session_name())


def fit_packs(
    resources: Resources,
    *nodes: Mapping[str, float],
    may_wait: bool = False,
    to_come: Sequence[Mapping[str, float]] = (),
) -> Packs:
    """How many packs run at once, and on what: as declared, or as many as the nodes hold.

    Args:
        resources: the study's wishes.
        nodes: CPUs and GPUs of each machine, by Ray's names.
        may_wait: whether a number of packs that is written down is asked for although none fits now.
        to_come: the machines that there may be once the cluster has grown, if that is known.

    Raises:
        SpecError: not even one pack fits, now or later, or it cannot be known whether packs are to have GPUs.
    """
    cpus, gpus = resources.cpus_per_pack, _gpus_per_pack(resources, (*nodes, *to_come))
    fits, hoped = num_fitting(cpus, gpus, nodes), _num_hoped(cpus, gpus, to_come)
    written = None if resources.packs == "auto" else resources.packs
    if fits < 1 and hoped < 1 and (to_come or not (may_wait and written)):
        raise _no_pack_fits(cpus, gpus, (*nodes, *to_come), may_wait=may_wait)
    if fits < 1 and not to_come and resources.gpus_per_pack == "auto" and not gpus:
        raise SpecError(
            "resources.gpus_per_pack is auto, and the cluster has no node yet on which to see whether packs are to "
            f"have GPUs: write 0 or 1, or start Ray on its head with {GROWTH_VARIABLE}."
        )
    most = resources.max_packs or max(hoped, fits)
    grows = written is None and min(hoped, most) > fits
    asked = min(hoped, most) if grows else written
    return Packs(
        number=max(1, min(asked or most, fits)),
        cpus=cpus,
        gpus=gpus,
        asked=asked,
        most=resources.max_packs,
        hoped=min(hoped, asked) if asked and hoped else None,
        as_needed=grows,
    )


def _gpus_per_pack(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> int:
    has_gpus = any(node.get("GPU", 0) > 0 for node in nodes)
    return int(has_gpus) if resources.gpus_per_pack == "auto" else resources.gpus_per_pack


def _num_hoped(cpus: int, gpus: int, to_come: Sequence[Mapping[str, float]]) -> int:
    """How many packs nodes to come would hold; packs without GPUs keep off nodes with GPUs where there are others."""
    plain = [node for node in to_come if not node.get("GPU", 0)]
    return num_fitting(cpus, gpus, plain if plain and not gpus else to_come)


def _no_pack_fits(cpus: int, gpus: int, nodes: Sequence[Mapping[str, float]], *, may_wait: bool) -> SpecError:
    most = [max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")]
    return SpecError(
        f"A pack needs {cpus} CPUs and {gpus} GPUs, but there are {most[0]:g} and "
        f"{most[1]:g}: lower resources.cpus_per_pack or resources.gpus_per_pack"
        + (", or write resources.packs as a number to have the cluster grow." if may_wait else ".")
    )


def num_fitting(cpus: int, gpus: int, nodes: Sequence[Mapping[str, float]]) -> int:
    """How many packs of so many CPUs and GPUs some machines hold, none of them on two."""
    return sum(
        min(
            int(node.get("CPU", 0) // cpus),
            int(node.get("GPU", 0) // gpus) if gpus else int(node.get("CPU", 0) // cpus),
        )
        for node in nodes
    )
