"""The driver's side of the packs: it starts them, knows which are fit for work, and gives out their lanes.

Nothing here waits: what was asked of a pack is looked at again the next time that Ray Tune wants a trial.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

import ray

from search_spaces.errors import RetryableError
from study.cluster import Packs
from study.packs.failures import HOST_FAILURES, PackFailedError, in_a_line
from study.packs.training_thread import State

MAX_STARTS = 3
"""How often in a row a pack may fail to get ready before it is given up."""
ASK_EVERY_S = 0.2
_SPARE_CALLS = 8
"""Calls that a pack takes at once besides two for each lane: its last client's and its next."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a trial goes."""

    pack: str
    """Ray's name of the pack."""
    ticket: str
    """Fresh each time that a trial is given to a pack."""


@dataclass(kw_only=True, eq=False)
class _Pack:
    name: str
    actor: Any
    seated: dict[str, str] = field(default_factory=dict)
    """Keys of the trials that were sent here, by ticket."""
    is_ready: bool = False
    is_given_up: bool = False
    instance: str = ""
    """The process of the actor that answered last; empty before the first and once it was ended."""
    has_been_ready: bool = False
    """Whether this process ever was."""
    num_failures: int = 0
    """Since the actor was last ready."""
    asked: Any = None
    """The ping that is on its way."""
    ask_at: float = 0.0


class PackDesk:
    """All packs of a launch. A context manager: at its end the packs are gone."""

    def __init__(
        self,
        packs: Packs,
        study: Mapping[str, Any],
        *,
        most_lanes: int,
        on_left: Callable[[str], object] = lambda _: None,
        on_lost: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:
        """Start the packs.

        Args:
            packs: how many, and what each takes.
            study: what every pack is told, as `PackActor` takes it.
            most_lanes: the most that a pack will be asked to have.
            on_left: called with a trial's key once its lane is free of it.
            on_lost: called with `pack` and `reason` when a pack is given up.
        """
        from study.packs.actor import PackActor

        launch = uuid4().hex[:12]
        self._on_left = on_left
        self._on_lost = on_lost
        self._lanes: int | None = None
        self._matmul_mode = ""
        self._suspects: set[str] = set()
        self._leaving: dict[Any, str] = {}
        takes = {
            "num_cpus": packs.cpus,
            "num_gpus": packs.gpus,
            "max_restarts": -1,
            "max_task_retries": 0,
            "max_concurrency": 2 * most_lanes + _SPARE_CALLS,
            "scheduling_strategy": "SPREAD",
        }
        made = ray.remote(PackActor)
        self._packs = [
            _Pack(name=name, actor=made.options(**takes, name=name).remote(dict(study), packs.cpus))
            for name in (f"trialwright-{launch}-{number}" for number in range(packs.number))
        ]

    def __enter__(self) -> Self:
        """The desk itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every pack, whatever it does."""
        for pack in self._packs:
            ray.kill(pack.actor)

    @property
    def num_ready(self) -> int:
        """Packs that answered, and have failed at nothing since."""
        return sum(pack.is_ready for pack in self._packs)

    @property
    def is_undecided(self) -> bool:
        """Whether some pack is neither ready nor given up."""
        return any(not pack.is_ready and not pack.is_given_up for pack in self._packs)

    @property
    def num_seated(self) -> int:
        """Trials that packs hold."""
        return sum(len(pack.seated) for pack in self._packs)

    @property
    def has_room(self) -> bool:
        """Whether a pack could take a trial now."""
        return bool(self._with_room())

    def set_lanes(self, lanes: int, matmul_mode: str) -> None:
        """Say how many trials each pack trains together, and in which mode its float32 products are done.

        A pack is ready once it has made room for them.
        """
        self._lanes, self._matmul_mode = lanes, matmul_mode
        for pack in self._packs:
            pack.is_ready, pack.asked = False, None  # what is asked already knows of no lanes

    def probe(self) -> Any:
        """Have a ready pack measure its float32 products; a reference to what it will find."""
        return next(pack.actor for pack in self._packs if pack.is_ready).probe.remote()

    def calibrations(
        self, trials: Sequence[Mapping[str, Any]], most_lanes: int, matmul_mode: str
    ) -> list[Any]:
        """Have every ready pack time joint steps, all at once; references to what they will find."""
        ready = [pack.actor for pack in self._packs if pack.is_ready]
        return [actor.calibrate.remote(trials, most_lanes, len(self._packs), matmul_mode) for actor in ready]

    def place(self, key: str) -> Place | None:
        """Give a trial to the ready pack with most free lanes; None where it cannot go now."""
        fit = self._with_room()
        if key in self._suspects:
            fit = [pack for pack in fit if not pack.seated]
        if not fit:
            return None
        pack = max(fit, key=self._num_free)
        ticket = uuid4().hex
        pack.seated[ticket] = key
        return Place(pack=pack.name, ticket=ticket)

    def release(self, ticket: str, failure: str = "") -> None:
        """A trial left its client: its lane is free from now on.

        Args:
            ticket: where it was.
            failure: the error that ended it, if one did: then its pack gets another trial only once it has answered.
        """
        for pack in self._packs:
            key = pack.seated.pop(ticket, None)
            if key is None:
                continue
            self._leaving[pack.actor.leave.remote(ticket)] = key
            if failure:
                pack.is_ready, pack.asked = False, None
            self._suspects.discard(key)
            if PackFailedError.__name__ in failure:
                self._suspects.add(key)

    def look(self) -> None:
        """Take note of what packs have answered, and ask those again that are not ready.

        Raises:
            RetryableError: every pack was given up.
        """
        self._look_at_leaving()
        for pack in self._packs:
            if not pack.is_ready and not pack.is_given_up:
                self._look_at(pack)

    def _with_room(self) -> list[_Pack]:
        """Ready packs with a free lane; none that tries a suspect alone."""
        return [
            pack
            for pack in self._packs
            if pack.is_ready and self._num_free(pack) > 0 and self._suspects.isdisjoint(pack.seated.values())
        ]

    def _num_free(self, pack: _Pack) -> int:
        return (self._lanes or 0) - len(pack.seated)

    def _look_at_leaving(self) -> None:
        if not self._leaving:
            return
        left, _ = ray.wait(list(self._leaving), num_returns=len(self._leaving), timeout=0)
        for reference in left:
            self._on_left(self._leaving.pop(reference))

    def _look_at(self, pack: _Pack) -> None:
        now = time.monotonic()
        if pack.asked is None:
            if now >= pack.ask_at:
                pack.asked = pack.actor.ping.remote(self._lanes, self._matmul_mode)
            return
        answered, _ = ray.wait([pack.asked], timeout=0)
        if not answered:
            return
        asked, pack.asked, pack.ask_at = pack.asked, None, now + ASK_EVERY_S
        try:
            self._hear(pack, ray.get(asked))
        except ray.exceptions.ActorUnavailableError:
            pass  # Ray restarts it
        except ray.exceptions.RayError as error:
            self._count_failure(pack, in_a_line(error), may_pass=True)

    def _hear(self, pack: _Pack, answer: Mapping[str, str]) -> None:
        if answer["instance"] != pack.instance:
            if pack.instance and not pack.has_been_ready:
                self._count_failure(pack, "its process ended while it was getting ready", may_pass=True)
            pack.instance, pack.has_been_ready = answer["instance"], False
        if answer["state"] == State.READY:
            pack.is_ready, pack.has_been_ready, pack.num_failures = True, True, 0
        elif answer["state"] == State.FAILED:
            if not pack.has_been_ready:
                may_pass = HOST_FAILURES.search(answer["failure"]) is not None
                self._count_failure(pack, answer["failure"], may_pass=may_pass)
            pack.instance = ""
            ray.kill(pack.actor, no_restart=pack.is_given_up)

    def _count_failure(self, pack: _Pack, reason: str, *, may_pass: bool) -> None:
        """Give a pack up that could not get ready, unless another attempt may do better."""
        pack.num_failures += 1
        if may_pass and pack.num_failures < MAX_STARTS:
            return
        pack.is_given_up = True
        self._on_lost({"pack": self._packs.index(pack), "reason": reason})
        if all(other.is_given_up for other in self._packs):
            raise RetryableError(
                f"No worker could get ready to train ({reason}): mend the cause, then launch the study again."
            )
