"""A study in packs of several lanes: as alone, whatever dies on the way, on one node and on two."""

import time
from collections.abc import Callable, Mapping
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
from tests.end_to_end.nodes import two_nodes
from tests.study.object_store import object_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
SEARCH = STUDY_FILE[: STUDY_FILE.index("  sensitivity")]
"""Twelve trials with rungs."""
STEADY_LR, LAST_RUNG = 100.0, 4
"""Beyond, a rounding of 1e-7 (lanes group sums in other ways) grows to a tenth of a nat within eight steps."""
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
    steady = {
        record.planned.key for record in ledger.trials(STUDY) if record.planned.params["lr"] < STEADY_LR
    }
    measured = [(one.trial, one.step) for one in ledger.measurements(STUDY)]
    assert len(measured) == len(set(measured))
    return {
        "outcomes": {key: (ending.outcome, ending.steps) for key, ending in records.items()},
        "rungs": sorted((rung.trial, rung.rung, rung.action) for rung in ledger.rungs(STUDY)),
        "losses": {
            (one.trial, one.step): one.metrics["select_loss_nats"]
            for one in ledger.measurements(STUDY)
            if "select_loss_nats" in one.metrics and (one.trial in steady or one.step <= LAST_RUNG)
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
        give_up_at = time.monotonic() + 20
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


def test_trials_of_a_lost_node_go_on_on_the_other_from_their_checkpoints_in_a_store(place, alone, tmp_path):
    (place / "study.yaml").write_text(SEARCH + "resources: {lanes: 2}\n")
    home = place / "nodes"
    with object_store(tmp_path) as store, two_nodes() as nodes:
        started = Started(
            place,
            *("launch", "study.yaml", "--home", str(home), "--address", nodes.address),
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
            TRIALWRIGHT_STORE=store.url,
            **store.environment,
        )
        try:
            wait_until(lambda: num_ended(home) >= 2 and store.objects("/state.json"), started)
            nodes.remove_second()
            ended = started.wait()
        finally:
            started.clean_up()
        assert ended.code == 0, ended.err
        assert store.objects("checkpoints") == {}  # none is needed any more
    with ledger_of(home) as ledger:
        assert_alike(found(ledger), alone)
        assert num_lost(home) >= 1
        assert all(trial.pack is not None and trial.node for trial in ledger.trial_activity(STUDY))
        manifest = ledger.study(STUDY).manifest
        assert manifest["precision"]["mode"] == "highest"
        nodes_of_packs = {trial.node for trial in ledger.trial_activity(STUDY)}
        assert nodes_of_packs <= manifest["pack_devices"].keys()
        assert all(" with " in device for device in manifest["pack_devices"].values())
        told = [(event.kind, event.detail.get("pack")) for event in ledger.events(STUDY)]
        assert {("pack_ready", 0), ("pack_ready", 1)} <= set(told)
        assert (
            sum(kind == "pack_lost" for kind, _ in told) <= 1
        )  # none where the study ended before the desk looked
        (cluster,) = [event.detail["cluster"] for event in ledger.events(STUDY) if event.kind == "connected"]
    assert not (home / "studies" / STUDY / "checkpoints").exists()
    secret = store.environment["AWS_SECRET_ACCESS_KEY"].encode()
    written = [*home.rglob("*"), *(Path("/tmp/ray") / cluster).rglob("*")]  # noqa: S108 (Ray's own place)
    assert not [path for path in written if path.is_file() and secret in path.read_bytes()]
