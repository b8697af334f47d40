"""What the desk asks of Ray: to start and end packs, and to say what has been answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import ray

from study.cluster import Packs

_SPARE_CALLS = 8
"""Calls that a pack takes at once besides two for each lane: its last client's and its next."""


class Starter(Protocol):
    """Starts and ends packs; `RayPacks` is it, and tests have their own."""

    def start(self, name: str) -> Any:
        """Ask for a pack; it may have to wait for room. Gives its handle, with `PackActor`'s methods."""

    def end(self, actor: Any, *, restart: bool = False) -> None:
        """End a pack's process at once; `restart`: Ray starts another in its place."""

    def answered(self, references: Sequence[Any]) -> list[Any]:
        """Those of some references whose answers are there."""

    def answer(self, reference: Any) -> Any:
        """The answer; raises Ray's own error where the call failed."""


class RayPacks:
    """Packs as actors of the Ray that this process is connected to."""

    def __init__(self, packs: Packs, study: Mapping[str, Any], most_lanes: int) -> None:
        """Begin; nothing is started.

        Args:
            packs: what each takes.
            study: what every pack is told, as `PackActor` takes it.
            most_lanes: the most that a pack will be asked to have.
        """
        from study.packs.actor import PackActor

        self._made = ray.remote(PackActor)
        self._takes: dict[str, Any] = {
            "num_cpus": packs.cpus,
            "num_gpus": packs.gpus,
            "max_restarts": -1,
            "max_task_retries": 0,
            "max_concurrency": 2 * most_lanes + _SPARE_CALLS,
            "scheduling_strategy": "SPREAD",
        }
        self._arguments = (dict(study), packs.cpus)

    def start(self, name: str) -> Any:
        """Create the actor."""
        return self._made.options(**self._takes, name=name).remote(*self._arguments)

    def end(self, actor: Any, *, restart: bool = False) -> None:
        """Kill the actor."""
        ray.kill(actor, no_restart=not restart)

    def answered(self, references: Sequence[Any]) -> list[Any]:
        """Look without waiting."""
        if not references:
            return []
        done, _ = ray.wait(list(references), num_returns=len(references), timeout=0)
        return list(done)

    def answer(self, reference: Any) -> Any:
        """Fetch it."""
        return ray.get(reference)


@dataclass(kw_only=True, eq=False)
class Pack:
    """One pack as the desk knows it."""

    number: int
    """Counts the packs of a launch; never used twice."""
    name: str
    """Ray's name of it."""
    actor: Any
    idle_since: float
    """Since when it has held no trial, by the desk's clock."""
    node: str = ""
    """Address of its node; empty until it is placed."""
    node_id: str = ""
    """Ray's name of that node."""
    device: str = ""
    """What it trains on; empty until it is ready."""
    seated: dict[str, str] = field(default_factory=dict)
    """Keys of the trials that were sent here, by ticket."""
    is_ready: bool = False
    is_given_up: bool = False
    is_leaving: bool = False
    """Whether it takes no further trials, and is given back when its last one ends."""
    is_announced: bool = False
    """Whether the ledger was told that it is ready."""
    instance: str = ""
    """The process of the actor that answered last; empty before the first and once it was ended."""
    has_been_ready: bool = False
    """Whether this process ever was."""
    num_failures: int = 0
    """Since the actor was last ready."""
    asked: Any = None
    """The ping that is on its way."""
    ask_at: float = 0.0

    @property
    def is_undecided(self) -> bool:
        """Whether it is neither ready nor given up."""
        return not self.is_ready and not self.is_given_up
