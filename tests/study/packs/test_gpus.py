"""Several packs on one node, an accelerator each: Ray counts them, and tells each process its own."""

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from ray import cloudpickle

import study.packs.actor
from study.cluster import Packs, fit_packs, living_nodes
from study.packs.desk import PackDesk
from study.packs.training_thread import State
from study.spec import Resources
from tests.study.packs.embedded import embedded_ray

VISIBLE = "CUDA_VISIBLE_DEVICES"


class IdleActor:
    """What the desk asks of a pack; `device` is what its process may see."""

    def __init__(self, study: dict[str, Any], num_threads: int) -> None:
        """Begin; nothing is loaded."""
        self._says = {"instance": f"{study['device']} {os.getpid()}", "threads": str(num_threads)}

    def ping(self, *_: Any) -> dict[str, str]:
        """Always ready."""
        ready = {"state": State.READY.value, "failure": "", "node": ray.util.get_node_ip_address()}
        return (
            self._says
            | ready
            | {
                "node_id": ray.get_runtime_context().get_node_id(),
                "device": os.environ.get(VISIBLE, "any"),
            }
        )


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr(study.packs.actor, "PackActor", IdleActor)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with embedded_ray(num_cpus=4, num_gpus=2):
        yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def ready(desk: PackDesk, number: int) -> bool:
    """Whether so many packs got ready before long."""
    give_up_at = time.monotonic() + 300
    while desk.num_ready < number and time.monotonic() < give_up_at:
        desk.look()
        time.sleep(0.02)
    return desk.num_ready == number


@pytest.mark.usefixtures("two_gpus")
def test_packs_of_a_node_have_an_accelerator_each():
    asked = Resources(packs="auto", cpus_per_pack=1, gpus_per_pack=1)
    packs = fit_packs(asked, *living_nodes().values())
    assert packs == Packs(number=2, cpus=1, gpus=1)
    told: list[dict[str, Any]] = []
    with PackDesk(
        packs, {"device": packs.device}, most_lanes=1, on_event=lambda _, detail: told.append(dict(detail))
    ) as desk:
        desk.set_lanes(1, "highest")
        assert ready(desk, 2)
        assert ray.available_resources().get("GPU", 0) == 0
    assert sorted(one["device"] for one in told if "device" in one) == ["0", "1"]
    assert len({one["node"] for one in told if "device" in one}) == 1
