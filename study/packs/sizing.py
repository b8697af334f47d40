"""How many packs a study keeps: what it wants, what the cluster holds, and its share where others use it too.

Arithmetic alone; `study.packs.desk` acts on it. No pack that trains is ended for it: a surplus takes no further trials
and is given back when its last one ends.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from study.cluster import Packs, num_fitting

LOOK_EVERY_S = 5.0
"""How often the cluster and the ledger are asked who is there."""
IDLE_S = 30.0
"""A pack without a trial is given back after so long, unless it is the last."""
PAUSE_S = 60.0
"""After a surplus was given back no more packs are asked for than are placed, for so long."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """A cluster as it is now."""

    fits: int
    """Packs that its nodes hold in all, whoever has them."""
    num_studies: int
    """Studies with a living driver on it, this one included."""
    nodes: frozenset[str]
    """Ray's names of the nodes that live."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The most packs that a study may have."""

    asked: int
    """Those that Ray has not placed yet included: these take nothing, and an autoscaler sees them."""
    placed: int


def bounds(packs: Packs, room: Room) -> Bounds:
    """How many packs a study may ask for, and how many of them may be placed.

    A study that has the cluster for itself may have what it asks for. Studies that share one keep to
    ceil(fits / studies) each. One that asks for more than the cluster holds leaves its part of the difference pending,
    so that a cluster that can grow does.

    Args:
        packs: what the study asks for.
        room: the cluster.
    """
    fits = max(1, room.fits)
    wanted = packs.asked or min(fits, packs.most or fits)
    if room.num_studies <= 1:
        return Bounds(asked=wanted, placed=wanted)
    placed = min(wanted, _share(fits, room.num_studies))
    hoped = _share(max(fits, packs.asked or 0), room.num_studies)
    return Bounds(asked=min(wanted, max(placed, hoped)), placed=placed)


def expected(packs: Packs, room: Room) -> Packs:
    """The packs with the number that may be placed as the cluster is now, by which lanes are decided."""
    return replace(packs, number=max(1, min(bounds(packs, room).placed, room.fits)))


def grown(packs: Packs, room: Room) -> Packs:
    """The packs with the number by which lanes are decided: `expected`'s, or what the cluster may grow to hold."""
    hoped = min(packs.hoped or 0, bounds(packs, room).asked)
    return replace(packs, number=max(packs.number, hoped))


def at_first(packs: Packs, limits: Bounds) -> int:
    """Packs to ask for before it is known how many trials wait, and how many of them one pack takes."""
    return min(limits.asked, packs.number) if packs.as_needed else limits.asked


def useful(num_trials: int, lanes: int, bound: int) -> int:
    """Packs that so many trials fill, at least one and at most `bound`."""
    return max(1, min(bound, -(-num_trials // lanes)))


class Outlook:
    """The room on a shared cluster, looked at now and then."""

    def __init__(
        self,
        packs: Packs,
        nodes: Callable[[], Mapping[str, Mapping[str, float]]],
        num_studies: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        """Begin.

        Args:
            packs: what one pack takes.
            nodes: the resources of the nodes that live, by Ray's names of them.
            num_studies: how many studies share the cluster.
            clock: seconds that only grow.
        """
        self._packs = packs
        self._nodes = nodes
        self._num_studies = num_studies
        self._clock = clock
        self._looked_at = float("-inf")
        self._room = Room(fits=packs.number, num_studies=1, nodes=frozenset())

    def __call__(self) -> Room:
        """The room, as it was seconds ago at the most."""
        now = self._clock()
        if now - self._looked_at >= LOOK_EVERY_S:
            nodes = self._nodes()
            fits = num_fitting(self._packs.cpus, self._packs.gpus, list(nodes.values()))
            self._room = Room(fits=fits, num_studies=max(1, self._num_studies()), nodes=frozenset(nodes))
            self._looked_at = now
        return self._room


def surplus_first(candidates: Sequence[tuple[bool, bool, int]]) -> list[int]:
    """Indices of packs in the order in which a surplus is given back.

    Args:
        candidates: of each pack whether its node has left, whether it is ready, and how many trials it holds.
    """
    return sorted(
        range(len(candidates)),
        key=lambda index: (not candidates[index][0], candidates[index][1], candidates[index][2], -index),
    )


def _share(of: int, among: int) -> int:
    return max(1, -(-of // among))
