"""A Ray cluster of two nodes on this machine, of one CPU each, in a session of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

_NODES = """
import sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(second)
print("removed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


class Nodes:
    """The cluster under way."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.address = process.stdout.readline().strip()

    def remove_second(self) -> None:
        """End the second node at once."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == "removed"


@contextmanager
def two_nodes(**environment: str) -> Iterator[Nodes]:
    """Two nodes for the duration of a block; `environment` is that of their workers."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    process = subprocess.Popen(
        [sys.executable, "-c", _NODES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env=kept | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"} | environment,
    )
    try:
        yield Nodes(process)
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.communicate("\n\n", timeout=300)
        for child in children:
            if child.is_running():
                child.send_signal(signal.SIGKILL)
