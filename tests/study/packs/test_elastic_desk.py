"""The desk on a cluster that changes, by a fake cluster and clock: how many packs there are, who gives some back."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray

from study.cluster import Packs
from study.packs.desk import PackDesk
from study.packs.sizing import (
    IDLE_S,
    LOOK_EVERY_S,
    PAUSE_S,
    Bounds,
    Outlook,
    Room,
    bounds,
    expected,
    grown,
    useful,
)
from study.packs.training_thread import State

AUTO = Packs(number=2, cpus=1, gpus=0)
TRAINS_FOR_S = 600.0


class Call:
    """A method of a fake actor, as Ray's handles have them."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        self.remote = answer


@dataclass(eq=False)
class Actor:
    """A pack on a fake cluster: pending until there is room for it."""

    cluster: "Cluster"
    study: str
    node: str = ""
    process: int = 0

    @property
    def ping(self) -> Call:
        return Call(lambda *_: ("ping", self))

    @property
    def leave(self) -> Call:
        return Call(lambda ticket: ("leave", ticket))


@dataclass
class Cluster:
    """Nodes with room for so many packs, in which several studies' drivers start actors; and the time."""

    nodes: dict[str, int]
    now: float = 0.0
    actors: list[Actor] = field(default_factory=list)
    studies: set[str] = field(default_factory=set)
    num_looks: int = 0

    def settle(self) -> None:
        """Take packs off nodes that have left, and place the oldest that wait."""
        for actor in self.actors:
            if actor.node and actor.node not in self.nodes:
                actor.node, actor.process = "", actor.process + 1
        for actor in self.actors:
            taken = Counter(other.node for other in self.actors)
            free = [node for node, room in self.nodes.items() if taken[node] < room]
            if not actor.node and free:
                actor.node = free[0]

    def placed(self, study: str) -> int:
        return sum(bool(actor.node) for actor in self.actors if actor.study == study)

    def pending(self, study: str) -> int:
        return sum(not actor.node for actor in self.actors if actor.study == study)

    def look(self) -> Mapping[str, Mapping[str, float]]:
        self.num_looks += 1
        return {name: {"CPU": float(room)} for name, room in self.nodes.items()}


class Starter:
    """Starts packs of one study on a fake cluster."""

    def __init__(self, cluster: Cluster, study: str) -> None:
        self.cluster, self.study = cluster, study

    def start(self, name: str) -> Actor:  # noqa: ARG002
        actor = Actor(self.cluster, self.study)
        self.cluster.actors.append(actor)
        return actor

    def end(self, actor: Actor, *, restart: bool = False) -> None:
        assert not restart
        self.cluster.actors.remove(actor)

    def answered(self, references: Sequence[Any]) -> list[Any]:
        self.cluster.settle()
        return [one for one in references if one[0] == "leave" or one[1].node]

    def answer(self, reference: Any) -> dict[str, str]:
        actor = reference[1]
        if not actor.node:
            raise ray.exceptions.ActorUnavailableError("restarting", b"\x01" * 16)
        instance = f"{id(actor)}-{actor.process}"
        state = {"instance": instance, "state": State.READY.value, "failure": ""}
        return state | {"node": f"address of {actor.node}", "node_id": actor.node, "device": "a device"}


class Study:
    """A driver with its desk, and trials that last ten minutes."""

    def __init__(self, cluster: Cluster, name: str, packs: Packs = AUTO, *, lanes: int = 2) -> None:
        cluster.studies.add(name)
        self.cluster, self.name, self.lanes = cluster, name, lanes
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        self.waiting = 0
        self.trials: dict[str, float] = {}
        self._num_placed = 0
        outlook = Outlook(packs, cluster.look, lambda: len(cluster.studies), lambda: cluster.now)
        self.desk = PackDesk(
            expected(packs, outlook()),
            {},
            most_lanes=lanes,
            room=outlook,
            on_event=lambda kind, detail: self.events.append((kind, detail)),
            starter=Starter(cluster, name),
            clock=lambda: cluster.now,
        )
        self.run(2)
        self.desk.set_lanes(lanes, "highest")
        self.run(2)

    def turn(self) -> None:
        """What Ray Tune's loop does once."""
        for ticket in [one for one, ends_at in self.trials.items() if ends_at <= self.cluster.now]:
            del self.trials[ticket]
            self.desk.release(ticket)
        self.desk.look(self.waiting)
        while self.waiting and self.desk.has_room:
            place = self.desk.place(f"trial {self._num_placed}")
            self._num_placed += 1
            self.trials[place.ticket] = self.cluster.now + TRAINS_FOR_S
            self.waiting -= 1

    def run(self, seconds: float, *others: "Study") -> None:
        for _ in range(int(seconds)):
            self.cluster.now += 1
            for study in (self, *others):
                study.turn()

    def end(self) -> None:
        self.desk.__exit__()
        self.cluster.studies.remove(self.name)

    def told(self, kind: str) -> list[Mapping[str, Any]]:
        return [detail for one, detail in self.events if one == kind]


def room(fits: int, num_studies: int = 1) -> Room:
    return Room(fits=fits, num_studies=num_studies, nodes=frozenset())


@pytest.mark.parametrize(
    ("packs", "fits", "studies", "asked", "placed"),
    [
        (Packs(number=1, cpus=1, gpus=0), 4, 1, 4, 4),
        (Packs(number=1, cpus=1, gpus=0), 0, 1, 1, 1),
        (Packs(number=1, cpus=1, gpus=0, most=3), 4, 1, 3, 3),
        (Packs(number=1, cpus=1, gpus=0, most=3), 2, 1, 2, 2),
        (Packs(number=1, cpus=1, gpus=0, asked=8), 2, 1, 8, 8),
        (Packs(number=1, cpus=1, gpus=0), 5, 2, 3, 3),
        (Packs(number=1, cpus=1, gpus=0), 2, 5, 1, 1),
        (Packs(number=1, cpus=1, gpus=0, asked=1), 8, 2, 1, 1),
        (Packs(number=1, cpus=1, gpus=0, asked=8), 2, 2, 4, 1),
        (Packs(number=1, cpus=1, gpus=0, asked=8), 8, 2, 4, 4),
    ],
)
def test_bounds(packs, fits, studies, asked, placed):
    assert bounds(packs, room(fits, studies)) == Bounds(asked=asked, placed=placed)


def test_packs_that_trials_fill():
    assert [useful(trials, 4, 3) for trials in (0, 1, 4, 5, 100)] == [1, 1, 1, 2, 3]


def test_a_number_is_asked_for_though_fewer_fit():
    cluster = Cluster({"a": 2})
    study = Study(cluster, "one", Packs(number=2, cpus=1, gpus=0, asked=5))
    assert (cluster.placed("one"), cluster.pending("one")) == (2, 3)
    study.waiting = 20
    study.run(10)
    cluster.nodes["b"] = 3
    study.run(10)
    assert (cluster.placed("one"), cluster.pending("one")) == (5, 0)
    assert len(study.trials) == 10
    assert [detail["pack"] for detail in study.told("pack_ready")] == [0, 1, 2, 3, 4]
    assert study.told("pack_ready")[4] == {
        "pack": 4,
        "node": "address of b",
        "device": "a device",
        "lanes": 2,
    }


def test_as_many_as_fit_come_and_go_with_the_nodes():
    cluster = Cluster({"a": 1})
    study = Study(cluster, "one", Packs(number=1, cpus=1, gpus=0, most=3))
    study.waiting = 100
    study.run(10)
    assert (cluster.placed("one"), cluster.pending("one")) == (1, 0)
    cluster.nodes["b"] = 4
    study.run(LOOK_EVERY_S + 3)
    assert (cluster.placed("one"), cluster.pending("one")) == (3, 0)  # no more than max_packs
    lost = [ticket for pack in study.desk._packs if pack.node_id == "b" for ticket in pack.seated]
    assert len(lost) == 4
    del cluster.nodes["b"]
    study.run(1)
    for ticket in lost:
        del study.trials[ticket]
        study.desk.release(ticket, "The actor died unexpectedly")
    study.run(LOOK_EVERY_S + 3)
    assert (cluster.placed("one"), cluster.pending("one")) == (1, 0)
    assert sorted(detail["pack"] for detail in study.told("pack_lost")) == [1, 2]
    assert study.told("pack_released") == []
    assert len(study.trials) == 2  # those of the node that stayed


def test_the_pack_of_a_lost_node_is_the_one_that_goes():
    cluster = Cluster({"a": 1, "b": 1})
    study = Study(cluster, "one")
    study.waiting = 1  # on one of the nodes
    study.run(2)
    (ticket,) = study.trials
    (busy,) = [pack for pack in study.desk._packs if pack.seated]
    del cluster.nodes[busy.node_id]  # and no one knows of it yet but the cluster
    study.run(LOOK_EVERY_S + 1)
    assert busy in study.desk._packs  # it still seems to train
    assert not busy.is_leaving or busy.seated
    study.desk.release(ticket, "The actor died unexpectedly")
    del study.trials[ticket]
    study.run(LOOK_EVERY_S + 1)
    assert [pack.number for pack in study.desk._packs] == [1 - busy.number]


def test_a_pack_without_trials_is_given_back_and_started_again_when_it_is_needed():
    cluster = Cluster({"a": 3})
    study = Study(cluster, "one", Packs(number=3, cpus=1, gpus=0))
    assert cluster.placed("one") == 3
    study.waiting = 1
    study.run(IDLE_S - 4)
    assert cluster.placed("one") == 3
    study.run(6)
    assert cluster.placed("one") == 1
    assert [detail["reason"] for detail in study.told("pack_released")] == ["idle", "idle"]
    study.waiting = 4
    study.run(3)
    assert cluster.placed("one") == 3  # one trial runs, one more fits beside it, three need two packs
    assert len(study.trials) == 5
    assert [detail["pack"] for detail in study.told("pack_ready")] == [0, 1, 2, 3, 4]


def test_the_last_pack_stays_however_long_it_waits():
    cluster = Cluster({"a": 3})
    study = Study(cluster, "one", Packs(number=3, cpus=1, gpus=0))
    study.run(10 * IDLE_S)
    assert cluster.placed("one") == 1


def test_a_pack_that_loads_its_base_is_not_idle():
    cluster = Cluster({"a": 2})
    study = Study(cluster, "one")
    slow = study.desk._packs[1]
    slow.is_ready, slow.asked = False, ("ping", Actor(cluster, "one"))  # never answers
    study.waiting = 1
    study.run(2 * IDLE_S)
    assert slow in study.desk._packs


def test_a_second_study_gets_its_share_as_trials_end_and_gives_it_back_at_its_own_end():
    cluster = Cluster({"a": 2, "b": 2})
    first = Study(cluster, "first", Packs(number=4, cpus=1, gpus=0))
    first.waiting = 1000
    first.run(300)
    assert (cluster.placed("first"), len(first.trials)) == (4, 8)
    second = Study(cluster, "second", Packs(number=4, cpus=1, gpus=0))
    second.waiting = 1000
    held = dict(first.trials)
    first.run(LOOK_EVERY_S + 3, second)
    assert (cluster.placed("second"), cluster.pending("second")) == (0, 2)
    assert held == first.trials  # no trial was ended for the share
    first.run(TRAINS_FOR_S, second)
    assert (cluster.placed("first"), cluster.placed("second")) == (2, 2)
    assert [detail["reason"] for detail in first.told("pack_released")] == ["share", "share"]
    assert (len(first.trials), len(second.trials)) == (4, 4)
    second.end()
    assert [detail["reason"] for detail in second.told("pack_released")] == ["ended", "ended"]
    first.run(LOOK_EVERY_S + PAUSE_S + 3)
    assert cluster.placed("first") == 4


def test_more_studies_than_room_keep_one_pack_each():
    cluster = Cluster({"a": 2})
    studies = [Study(cluster, name, AUTO) for name in ("one", "two", "three")]
    for study in studies:
        study.waiting = 1000
    studies[0].run(TRAINS_FOR_S + 20, *studies[1:])
    assert [cluster.placed(study.name) + cluster.pending(study.name) for study in studies] == [1, 1, 1]
    assert sum(cluster.placed(study.name) for study in studies) == 2


def test_a_growing_cluster_is_shared_by_studies_that_ask_for_more_than_it_holds():
    cluster = Cluster({"a": 1})
    asks = Packs(number=1, cpus=1, gpus=0, asked=8)
    one, two = Study(cluster, "one", asks), Study(cluster, "two", asks)
    one.waiting = two.waiting = 1000
    one.run(PAUSE_S + 10, two)
    assert cluster.pending("one") + cluster.pending("two") == 7  # which its autoscaler sees
    cluster.nodes["b"] = 7
    one.run(PAUSE_S + 10, two)
    assert (cluster.placed("one"), cluster.placed("two")) == (4, 4)


def test_a_cluster_from_zero_is_asked_for_one_pack_and_then_for_those_that_trials_fill():
    cluster = Cluster({})
    asks = Packs(number=1, cpus=1, gpus=0, asked=8, hoped=8, as_needed=True)
    study = Study(cluster, "one", asks, lanes=4)
    study.run(60)
    assert cluster.pending("one") == 1
    cluster.nodes["a"] = 1
    study.waiting = 12
    study.run(10)
    assert (cluster.placed("one"), cluster.pending("one"), len(study.trials)) == (1, 2, 4)
    cluster.nodes |= {"b": 1, "c": 1, "d": 1}
    study.run(10)
    assert (cluster.placed("one"), cluster.pending("one"), len(study.trials)) == (3, 0, 12)


def test_lanes_are_decided_for_the_cluster_that_may_come():
    asks = Packs(number=1, cpus=1, gpus=0, asked=8, hoped=6)
    alone, shared = room(1), room(1, 2)
    assert (grown(asks, alone).number, grown(asks, shared).number) == (6, 4)
    assert grown(AUTO, alone).number == AUTO.number


def test_the_cluster_is_looked_at_now_and_then():
    cluster = Cluster({"a": 2})
    study = Study(cluster, "one")
    cluster.num_looks = 0
    study.run(100)
    assert cluster.num_looks <= 100 / LOOK_EVERY_S + 1


def test_a_pack_whose_process_was_replaced_is_told_lost_and_ready_again():
    cluster = Cluster({"a": 1})
    study = Study(cluster, "one", Packs(number=1, cpus=1, gpus=0))
    study.waiting = 1
    study.run(2)
    (ticket,) = study.trials
    cluster.actors[0].process += 1
    study.desk.release(ticket, "The actor died unexpectedly")
    study.run(3)
    kinds = [kind for kind, _ in study.events]
    assert kinds == ["pack_ready", "pack_lost", "pack_ready"]
    assert study.events[1][1]["reason"] == "its process ended, and another was started"
