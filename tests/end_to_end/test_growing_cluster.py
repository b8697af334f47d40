"""A study on a cluster that starts from nothing but a head: Ray's own autoscaler brings nodes, and takes them away.

The nodes are Ray's fake ones, processes of this machine; autoscaler (version 2, as KubeRay has it), scheduler, driver,
clients and desk are real, and packs report planted losses.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.growth import GROWTH_VARIABLE
from tests.end_to_end.command import Started, ledger_of, make_place
from tests.end_to_end.heads import TOKEN, ray_head
from tests.end_to_end.planted_worker import SECONDS
from tests.end_to_end.test_shared_cluster import ROOT, StartedHasty, told, written
from tests.study.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
IDLE_S = 3.0
NUM_NODES = 2
_COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
_FIRST_ID = "f" * 51 + "00000"
"""How Ray's fake provider names the head."""
ENVIRONMENT = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": _FIRST_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _FIRST_ID,
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "PYTHONPATH": ROOT,
    SECONDS: "0.2",
}
ACCESS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "PYTHONPATH": ROOT,
    GROWTH_VARIABLE: json.dumps([{"nodes": NUM_NODES, "CPU": 1}]),
}


def autoscaling(gcs_port: int) -> dict[str, Any]:
    """A head without CPUs, and up to two workers of one CPU."""
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1, "object_store_memory": 80 * 2**20},
            "node_config": {},
            "min_workers": 0,
            "max_workers": NUM_NODES,
        },
    }
    provider = {
        "type": "external",  # the kind `fake_multinode` wants a file that Ray's wheel lacks
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "launch_multiple": True,
        "head_node_id": _FIRST_ID,
        "gcs_address": f"127.0.0.1:{gcs_port}",
    }
    return {
        "cluster_name": "growing",
        "max_workers": NUM_NODES,
        "provider": provider,
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        "idle_timeout_minutes": IDLE_S / 60,
        "upscaling_speed": 1.0,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{kind: [] for kind in _COMMANDS},
    }


def until(holds: Callable[[], bool], within_s: float, otherwise: str) -> None:
    """Wait until something holds, or fail."""
    give_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < give_up_at, otherwise
        time.sleep(0.3)


def test_nodes_come_for_packs_that_wait_and_go_when_idle(tmp_path: Path):
    place, home, port = make_place(tmp_path), tmp_path / "home", free_port()
    config = tmp_path / "autoscaling.json"
    config.write_text(json.dumps(autoscaling(port)))
    options = [f"--autoscaling-config={config}"]
    with ray_head(tmp_path, num_cpus=0, options=options, gcs_port=port, **ENVIRONMENT) as head:
        until(lambda: head.num_nodes == 1, 300, "the head has no node of its own")
        command = ("launch", written(place, "one"), "--phase", "search")
        started: Started = StartedHasty(
            place, *command, "--home", str(home), "--address", head.gcs_address, **ACCESS
        )
        try:
            until(lambda: head.num_nodes == 1 + NUM_NODES, 400, "nodes did not come")
            ended = started.wait()
        finally:
            started.clean_up()
        assert ended.code == 0, ended.err
        until(lambda: head.num_nodes == 1, 300, "idle nodes stayed")
    with ledger_of(home) as ledger:
        trials = ledger.trials("one")
    assert trials
    assert all(trial.ending is not None and trial.attempts == 1 for trial in trials)
    assert len({detail["pack"] for detail in told(home, "one", "pack_ready")}) >= NUM_NODES
