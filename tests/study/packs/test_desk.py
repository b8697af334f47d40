"""The desk on a real embedded Ray with real packs: who takes a trial, and what becomes of a pack that fails."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
import ray

from search_spaces.errors import RetryableError
from study.cluster import Packs
from study.packs.client import PackClient
from study.packs.desk import PackDesk, Place
from tests.study.packs.embedded import embedded_ray
from tests.trainers.test_trial import PARAMS, workload

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
TWO = Packs(number=2, cpus=1, gpus=0)


@pytest.fixture(scope="module", autouse=True)
def embedded() -> Iterator[None]:
    with embedded_ray(num_cpus=3):
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("study")
    return {
        "workload": workload(folder).model_dump(mode="json"),
        "variants": {},
        "perturbations": [],
        "device": "cpu",
        **{
            name: str(folder / name) for name in ("parts_dir", "cache_dir", "checkpoints_dir", "adapters_dir")
        },
    }


@pytest.fixture(scope="module")
def desk(study: dict[str, Any]) -> Iterator[PackDesk]:
    with PackDesk(TWO, study, most_lanes=2) as opened:
        opened.look()  # asks the packs while nobody knows of lanes; they answer after the next line
        opened.set_lanes(2, "highest")
        wait_for(opened, lambda: opened.num_ready == 2)
        yield opened


@pytest.fixture
def places(desk: PackDesk) -> Iterator[list[Place]]:
    """Lanes that a test has taken, given back after it."""
    taken: list[Place] = []
    yield taken
    for place in taken:
        desk.release(place.ticket)


def wait_for(desk: PackDesk, ready: Callable[[], bool], timeout_s: float = 600.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < give_up_at, "waited in vain"
        desk.look()
        time.sleep(0.05)


def trial(key: str) -> Mapping[str, Any]:
    return {"key": key, "family": "sgd", "params": PARAMS, "seed": 3, "steps": 8, "keep_adapter": False}


def test_trials_go_to_the_pack_with_most_room(desk, places):
    places += [desk.place(f"t{number}") for number in range(4)]
    assert sorted(place.pack for place in places) == sorted([places[0].pack, places[1].pack] * 2)
    assert places[0].pack != places[1].pack
    assert len({place.ticket for place in places}) == 4
    assert {(place.number, place.node) for place in places} == {
        (pack.number, ray.util.get_node_ip_address()) for pack in desk._packs
    }
    assert not desk.has_room
    assert desk.place("t4") is None
    desk.release(places[1].ticket)
    again = desk.place("t4")
    assert again.pack == places[1].pack
    places.append(again)


def test_a_suspect_is_tried_alone(desk, places):
    first = desk.place("guilty")
    desk.release(first.ticket, "study.packs.failures.PackFailedError: KeyError: 'x'")
    wait_for(desk, lambda: desk.num_ready == 2)
    places += [desk.place("other"), desk.place("another")]
    assert {place.pack for place in places} == {pack.name for pack in desk._packs}
    assert desk.place("guilty") is None  # no pack is empty
    desk.release(places[0].ticket)
    alone = desk.place("guilty")
    places.append(alone)
    assert alone.pack == places[0].pack
    assert desk.place("third").pack == places[1].pack
    assert desk.place("fourth") is None  # the other lane of its pack stays empty
    desk.release(alone.ticket)
    assert desk.place("fourth").pack == alone.pack
    for pack in desk._packs:
        for ticket in list(pack.seated):
            desk.release(ticket)


def test_a_client_brings_all_reports_of_its_trial_and_loads_no_torch(desk, places):
    place = desk.place("solo")
    places.append(place)

    @ray.remote(num_cpus=0)
    def live(config: dict[str, Any]) -> tuple[list[int], bool]:
        import sys

        client = PackClient(config=config)
        steps: list[int] = []
        is_over = False
        while not is_over:
            news = client.train()
            steps += [report["step"] for report in news["reports"]]
            is_over = news["done"]
        return steps, "torch" in sys.modules or "transformers" in sys.modules

    config = {
        "pack": place.pack,
        "instance": place.instance,
        "ticket": place.ticket,
        "trial": trial("solo"),
    }
    assert ray.get(live.remote(config)) == ([0, 2, 4, 6, 8], False)


def test_a_killed_pack_fails_its_clients_and_comes_back(desk, places):
    place = desk.place("victim")
    pack = next(pack for pack in desk._packs if pack.name == place.pack)
    pid = ray.get(pack.actor.__ray_call__.remote(lambda _: os.getpid()))
    ray.get(pack.actor.seat.remote(place.ticket, trial("victim"), place.instance))
    waiting = pack.actor.next.remote(place.ticket, 99)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(waiting)
    desk.release(place.ticket, "The actor died unexpectedly")
    assert desk.num_ready == 1
    wait_for(desk, lambda: desk.num_ready == 2)
    assert ray.get(pack.actor.__ray_call__.remote(lambda _: os.getpid())) != pid
    assert not pack.is_given_up


def test_a_trial_that_comes_after_its_pack_was_started_anew_is_sent_back(desk, places):
    """The new process knows of no lanes, and nobody has noticed yet: the trial would wait there for ever."""
    place = desk.place("late")
    pack = next(pack for pack in desk._packs if pack.name == place.pack)
    pid = ray.get(pack.actor.__ray_call__.remote(lambda _: os.getpid()))
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        with suppress(ray.exceptions.RayActorError):
            return ray.get(pack.actor.__ray_call__.remote(lambda _: os.getpid())) != pid
        return False

    wait_for(desk, is_back)
    assert pack.is_ready
    with pytest.raises(RetryableError, match="another was started"):
        ray.get(pack.actor.seat.remote(place.ticket, trial("late"), place.instance))
    desk.release(place.ticket, "RetryableError")
    wait_for(desk, lambda: desk.num_ready == 2)


def test_a_base_that_no_pack_can_load_ends_the_launch(study, tmp_path):
    missing = study["workload"]["base"] | {"model": f"path:{tmp_path / 'gone'}"}
    told = study | {"workload": study["workload"] | {"base": missing}}
    events: list[tuple[str, Mapping[str, Any]]] = []
    with (
        PackDesk(
            Packs(number=1, cpus=1, gpus=0),
            told,
            most_lanes=1,
            on_event=lambda kind, detail: events.append((kind, detail)),
        ) as desk,
        pytest.raises(RetryableError, match=r"No worker could get ready to train \(.*there is no folder"),
    ):
        wait_for(desk, lambda: False)
    assert [(kind, detail["pack"]) for kind, detail in events] == [("pack_lost", 0)]
    assert "SpecError" in events[0][1]["reason"]
