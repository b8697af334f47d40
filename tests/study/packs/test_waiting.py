"""What is said while no pack starts: by arithmetic, on a real Ray whose room is taken, and in the status."""

import time
from collections.abc import Iterator

import pytest
import ray

from study.cluster import Packs
from study.ledger import Ledger, StudyState
from study.packs.waiting import MOST_NAMES, waiting_sentence, why_no_pack
from study.records import PACK_READY, PACKS_AWAITED
from study.status import study_status
from tests.study.packs.embedded import embedded_ray
from tests.study.samples import STUDY, begin, plan

PACKS = Packs(number=1, cpus=2, gpus=0)


@pytest.fixture
def two_cpus() -> Iterator[None]:
    with embedded_ray(num_cpus=2):
        yield


@pytest.mark.usefixtures("two_cpus")
def test_who_has_the_room_is_named():
    @ray.remote(num_cpus=1)
    class Other:
        def answers(self) -> bool:
            return True

    other, own = Other.options(name="trialwright-other-1").remote(), Other.options(name="mine").remote()
    assert ray.get([other.answers.remote(), own.answers.remote()]) == [True, True]
    give_up_at = time.monotonic() + 120
    while (
        ray.available_resources().get("CPU", 0) and time.monotonic() < give_up_at
    ):  # Ray takes note of it later
        time.sleep(0.05)
    assert "(there are the actors trialwright-other-1): end what holds the rest" in why_no_pack(
        PACKS, ["mine"]
    )


def test_what_is_asked_and_what_is_free_is_said():
    names = [f"actor-{number}" for number in range(MOST_NAMES + 1)]
    told = waiting_sentence(
        Packs(number=1, cpus=4, gpus=1), total={"CPU": 8.0, "GPU": 2.0}, free={"CPU": 6.0}, holders=names
    )
    assert told == (
        "No pack has started yet: each takes 4 CPUs and 1 GPUs, and the cluster has 6 of 8 CPUs and 0 of 2 GPUs free "
        "(there are the actors actor-0, actor-1, actor-2, actor-3, actor-4, …): end what holds the rest, or wait until "
        "there is room, or the cluster grows."
    )


def test_room_that_is_free_is_not_blamed():
    told = waiting_sentence(PACKS, total={"CPU": 2.0}, free={"CPU": 2.0}, holders=["other"])
    assert told.endswith(
        "2 of 2 CPUs and 0 of 0 GPUs free: wait until Ray has started a process, or a node with so much free by itself "
        "has joined."
    )


def test_the_status_shows_it_until_a_pack_is_ready(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        begin(ledger, plan())
        assert study_status(ledger, STUDY)[0]["waiting"] is None
        ledger.record_event(STUDY, PACKS_AWAITED, {"told": "No pack has started yet."})
        document, text = study_status(ledger, STUDY)
        assert document["waiting"] == "No pack has started yet."
        assert "\n  No pack has started yet.\n" in text
        ledger.record_event(STUDY, PACK_READY, {"pack": 0, "node": "10.0.0.2", "lanes": 1})
        assert study_status(ledger, STUDY)[0]["waiting"] is None
        ledger.record_event(STUDY, PACKS_AWAITED, {"told": "No pack has started yet."})
        ledger.set_study_state(STUDY, StudyState.STOPPED)
        ledger.release_study(STUDY, ledger.holder(STUDY).owner)
        assert study_status(ledger, STUDY)[0]["waiting"] is None
