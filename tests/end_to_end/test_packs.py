"""A study in packs of several lanes: as alone, whatever dies on the way, on one node and on two."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from study.ledger import Ledger, StudyState
from study.records import Outcome
from tests.end_to_end.command import (
    STUDY,
    STUDY_FILE,
    Started,
    ledger_of,
    make_place,
    num_ended,
    run,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SEARCH = STUDY_FILE[: STUDY_FILE.index("  sensitivity")]
"""Twelve trials with rungs."""
PACKED = SEARCH + "resources: {lanes: 4, packs: 1}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def alone(place: Path) -> Mapping[str, Any]:
    """What the study measures with one lane."""
    (place / "study.yaml").write_text(SEARCH + "resources: {lanes: 1, packs: 1}\n")
    ended = run(place, "launch", "study.yaml", "--home", "alone")
    assert ended.code == 0, ended.err
    with ledger_of(place / "alone") as ledger:
        return found(ledger)


def found(ledger: Ledger) -> Mapping[str, Any]:
    """Outcomes, rungs and figures of a study that ended; its measurements, none of them twice."""
    assert ledger.study(STUDY).state is StudyState.FINISHED
    records = {record.planned.key: record.ending for record in ledger.trials(STUDY)}
    measured = [(one.trial, one.step) for one in ledger.measurements(STUDY)]
    assert len(measured) == len(set(measured))
    return {
        "outcomes": {key: (ending.outcome, ending.steps) for key, ending in records.items()},
        "rungs": sorted((rung.trial, rung.rung, rung.action) for rung in ledger.rungs(STUDY)),
        "losses": {
            (one.trial, one.step): one.metrics["select_loss_nats"]
            for one in ledger.measurements(STUDY)
            if "select_loss_nats" in one.metrics
        },
    }


def assert_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    assert one["outcomes"] == other["outcomes"]
    assert one["rungs"] == other["rungs"]
    assert one["losses"] == pytest.approx(other["losses"], rel=1e-5, abs=1e-6)


def num_lost(home: Path) -> int:
    with ledger_of(home) as ledger:
        return sum(event.kind == "attempt_failed" for event in ledger.events(STUDY))


def kill_until_noticed(home: Path, started: Started, living: Callable[[], list[psutil.Process]]) -> None:
    """Kill a process of a kind, and another, until a trial was lost by it."""
    before = num_lost(home)
    while num_lost(home) == before:
        wait_until(living, started)
        for process in living()[:1]:
            process.kill()
        give_up_at = time.monotonic() + 5
        while num_lost(home) == before and time.monotonic() < give_up_at:
            time.sleep(0.1)


def test_four_lanes_give_what_one_gives_though_a_client_and_the_pack_are_killed(place, alone):
    (place / "study.yaml").write_text(PACKED)
    home = place / "together"
    started = Started(place, "launch", "study.yaml", "--home", str(home))
    try:
        wait_until(lambda: num_ended(home) >= 1, started)
        kill_until_noticed(home, started, started.clients)
        kill_until_noticed(home, started, started.packs)
        ended = started.wait()
        assert started.survivors() == []
    finally:
        started.clean_up()
    assert ended.code == 0, ended.err
    with ledger_of(home) as ledger:
        assert_alike(found(ledger), alone)
        assert all(record.ending.outcome is not Outcome.INFRA_FAILED for record in ledger.trials(STUDY))
        assert max(record.attempts for record in ledger.trials(STUDY)) > 1


NODES = """
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


@pytest.fixture
def nodes() -> Iterator["subprocess.Popen[str]"]:
    """Two nodes on this machine; a line on its input removes the second, another one ends both."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [sys.executable, "-c", NODES],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        env=environment | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled"},
    )
    try:
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.communicate("\n\n", timeout=60)
        for child in children:
            if child.is_running():
                child.send_signal(signal.SIGKILL)


def test_trials_of_a_lost_node_go_on_on_the_other(place, alone, nodes):
    address = nodes.stdout.readline().strip()
    (place / "study.yaml").write_text(SEARCH + "resources: {lanes: 2}\n")
    home = place / "nodes"
    started = Started(
        place,
        *("launch", "study.yaml", "--home", str(home), "--address", address),
        RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
    )
    try:
        wait_until(lambda: num_ended(home) >= 2, started)
        nodes.stdin.write("\n")
        nodes.stdin.flush()
        assert nodes.stdout.readline().strip() == "removed"
        ended = started.wait(240)
    finally:
        started.clean_up()
    assert ended.code == 0, ended.err
    with ledger_of(home) as ledger:
        assert_alike(found(ledger), alone)
        assert num_lost(home) >= 1
