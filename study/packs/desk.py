"""The driver's side of the packs: it starts them, knows which are fit for work, gives out their lanes, gives them back.

Nothing here waits: what was asked of a pack is looked at again the next time that Ray Tune wants a trial.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

import ray

from search_spaces.errors import LedgerError, RetryableError
from study.cluster import Packs
from study.packs.failures import HOST_FAILURES, PackFailedError, in_a_line
from study.packs.sizing import IDLE_S, PAUSE_S, Bounds, Room, at_first, bounds, surplus_first, useful
from study.packs.starting import Pack, RayPacks, Starter
from study.packs.training_thread import State
from study.records import PACK_LOST, PACK_READY, PACK_RELEASED

MAX_STARTS = 3
"""How often in a row a pack may fail to get ready before it is given up."""
ASK_EVERY_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a trial goes."""

    pack: str
    """Ray's name of the pack."""
    instance: str
    """The pack's process that was ready."""
    ticket: str
    """Fresh each time that a trial is given to a pack."""
    number: int
    """The pack's number, for people."""
    node: str
    """Address of the pack's node."""


class PackDesk:
    """All packs of a launch. A context manager: at its end the packs are gone."""

    def __init__(
        self,
        packs: Packs,
        study: Mapping[str, Any],
        *,
        most_lanes: int,
        name: str = "",
        room: Callable[[], Room] | None = None,
        on_left: Callable[[str], object] = lambda _: None,
        on_event: Callable[[str, Mapping[str, Any]], object] = lambda _kind, _detail: None,
        secrets: Mapping[str, str] | None = None,
        starter: Starter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the packs.

        Args:
            packs: how many, and what each takes.
            study: what every pack is told, as `PackActor` takes it.
            most_lanes: the most that a pack will be asked to have.
            name: of the study, by which Ray's names of its packs begin.
            room: says how much room a shared cluster has; None: the packs that are started stay to the end.
            on_left: called with a trial's key once its lane is free of it.
            on_event: called with kind and detail of what the ledger should know of a pack.
            secrets: what packs are told privately, as `PackActor.ping` takes it.
            starter: starts and ends packs; None: on the Ray that this process is connected to.
            clock: seconds that only grow.
        """
        self._launch = f"{name}-{uuid4().hex[:12]}".lstrip("-")
        self._starter: Starter = starter or RayPacks(packs, study, most_lanes)
        self._clock = clock
        self._spec = packs
        self._room = room
        self._on_left = on_left
        self._on_event = on_event
        self._secrets = dict(secrets or {})
        self._lanes: int | None = None
        self._matmul_mode = ""
        self._suspects: set[str] = set()
        self._leaving: dict[Any, str] = {}
        self._num_started = 0
        self._grow_from = clock()
        self._packs: list[Pack] = []
        self._start(packs.number if room is None else at_first(packs, bounds(packs, room())))

    def __enter__(self) -> Self:
        """The desk itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every pack, whatever it does; then tell the ledger, unless that is away."""
        for pack in self._packs:
            self._starter.end(pack.actor)
        with suppress(RetryableError, LedgerError):
            for pack in self._packs:
                self._tell_given_back(pack, "ended")
        self._packs = []

    @property
    def num_ready(self) -> int:
        """Packs that answered, and have failed at nothing since."""
        return sum(pack.is_ready for pack in self._packs)

    @property
    def is_undecided(self) -> bool:
        """Whether fewer packs are ready than fitted at the launch, and some may still get so."""
        return self.num_ready < self._spec.number and any(pack.is_undecided for pack in self._packs)

    @property
    def names(self) -> list[str]:
        """Ray's names of the packs."""
        return [pack.name for pack in self._packs]

    @property
    def has_a_place(self) -> bool:
        """Whether Ray has placed a pack."""
        return any(pack.node for pack in self._packs)

    @property
    def num_seated(self) -> int:
        """Trials that packs hold."""
        return sum(len(pack.seated) for pack in self._packs)

    @property
    def num_lanes(self) -> int:
        """Lanes of all packs that take trials, now or once they are placed."""
        return (self._lanes or 0) * sum(not (pack.is_given_up or pack.is_leaving) for pack in self._packs)

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
        return [actor.calibrate.remote(trials, most_lanes, len(ready), matmul_mode) for actor in ready]

    def told(self) -> Any:
        """What a ready pack has said of its calibration; a reference to the sentences so far."""
        return next(pack.actor for pack in self._packs if pack.is_ready).told.remote()

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
        return Place(
            pack=pack.name, instance=pack.instance, ticket=ticket, number=pack.number, node=pack.node
        )

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
            pack.idle_since = self._clock()
            if failure:
                pack.is_ready, pack.asked = False, None
            self._suspects.discard(key)
            if PackFailedError.__name__ in failure:
                self._suspects.add(key)

    def look(self, num_waiting: int | None = None) -> None:
        """Take note of what packs have answered, ask those again that are not ready, start some and give some back.

        Args:
            num_waiting: trials that free lanes could take; None: not known yet.

        Raises:
            RetryableError: every pack was given up.
        """
        self._look_at_leaving()
        for pack in self._packs:
            if pack.is_undecided:
                self._look_at(pack)
        if self._room is not None:
            room = self._room()
            limits = bounds(self._spec, room)
            if self._clock() < self._grow_from:
                limits = Bounds(asked=limits.placed, placed=limits.placed)
            self._shrink(room, limits)
            self._grow(limits, num_waiting)
            if num_waiting == 0:
                self._give_back_idle()

    # How many there are

    def _start(self, number: int) -> None:
        for _ in range(number):
            name = f"trialwright-{self._launch}-{self._num_started}"
            pack = Pack(
                number=self._num_started,
                name=name,
                actor=self._starter.start(name),
                idle_since=self._clock(),
            )
            self._packs.append(pack)
            self._num_started += 1

    def _grow(self, limits: Bounds, num_waiting: int | None) -> None:
        """Ask for further packs where trials wait for them."""
        needed = at_first(self._spec, limits)
        if self._lanes is not None and num_waiting is not None:
            needed = useful(self.num_seated + num_waiting, self._lanes, limits.asked)
        self._start(needed - len(self._packs))

    def _shrink(self, room: Room, limits: Bounds) -> None:
        """Let packs go that are beyond the study's bounds: now where they hold no trial, else when they hold none."""
        for pack in self._packs:
            pack.is_leaving = False
        unplaced = [pack for pack in self._packs if not pack.node and not pack.is_given_up]
        for pack in unplaced[::-1][: max(0, len(self._packs) - limits.asked)]:
            self._give_back(pack, "share")
        placed = [pack for pack in self._packs if pack.node and not pack.is_given_up]
        facts = [(pack.node_id not in room.nodes, pack.is_ready, len(pack.seated)) for pack in placed]
        for index in surplus_first(facts)[: max(0, len(placed) - limits.placed)]:
            pack = placed[index]
            pack.is_leaving = True
            if not pack.seated:
                self._grow_from = self._clock() + PAUSE_S
                self._give_back(pack, "lost" if facts[index][0] else "share")

    def _give_back_idle(self) -> None:
        """Give back all but one of the packs that wait for trials or for a place; one that loads its base may go on."""
        idle_since = self._clock() - IDLE_S
        idle = [
            pack
            for pack in self._packs
            if not (pack.seated or pack.is_given_up)
            and pack.idle_since <= idle_since
            and (pack.is_ready or not pack.node)
        ]
        num_kept = sum(not pack.is_given_up for pack in self._packs) - len(idle)
        for pack in sorted(idle, key=lambda one: one.is_ready)[: len(idle) - (num_kept == 0)]:
            self._give_back(pack, "idle")

    def _give_back(self, pack: Pack, reason: str) -> None:
        self._packs.remove(pack)
        self._starter.end(pack.actor)
        if reason == "lost":
            self._tell_lost(pack, "its node left the cluster")
        else:
            self._tell_given_back(pack, reason)

    def _tell_given_back(self, pack: Pack, reason: str) -> None:
        if pack.is_announced:
            self._on_event(PACK_RELEASED, {"pack": pack.number, "reason": reason})

    # How they are

    def _with_room(self) -> list[Pack]:
        """Ready packs with a free lane that stay; none that tries a suspect alone."""
        return [
            pack
            for pack in self._packs
            if pack.is_ready
            and not pack.is_leaving
            and self._num_free(pack) > 0
            and self._suspects.isdisjoint(pack.seated.values())
        ]

    def _num_free(self, pack: Pack) -> int:
        return (self._lanes or 0) - len(pack.seated)

    def _look_at_leaving(self) -> None:
        for reference in self._starter.answered(list(self._leaving)):
            self._on_left(self._leaving.pop(reference))

    def _look_at(self, pack: Pack) -> None:
        now = self._clock()
        if pack.asked is None:
            if now >= pack.ask_at:
                pack.asked = pack.actor.ping.remote(self._lanes, self._matmul_mode, self._secrets)
            return
        if not self._starter.answered([pack.asked]):
            return
        asked, pack.asked, pack.ask_at = pack.asked, None, now + ASK_EVERY_S
        try:
            self._hear(pack, self._starter.answer(asked))
        except ray.exceptions.ActorUnavailableError:
            pass  # Ray restarts it
        except ray.exceptions.RayError as error:
            self._count_failure(pack, in_a_line(error), may_pass=True)

    def _hear(self, pack: Pack, answer: Mapping[str, str]) -> None:
        if answer["instance"] != pack.instance:
            if pack.instance and not pack.has_been_ready:
                self._count_failure(pack, "its process ended while it was getting ready", may_pass=True)
            self._tell_lost(pack, "its process ended, and another was started")
            pack.instance, pack.has_been_ready = answer["instance"], False
        pack.node, pack.node_id, pack.device = answer["node"], answer["node_id"], answer["device"]
        if answer["state"] == State.READY:
            if not pack.is_ready:
                pack.idle_since = self._clock()
            pack.is_ready, pack.has_been_ready, pack.num_failures = True, True, 0
            self._tell_ready(pack)
        elif answer["state"] == State.FAILED:
            if not pack.has_been_ready:
                may_pass = HOST_FAILURES.search(answer["failure"]) is not None
                self._count_failure(pack, answer["failure"], may_pass=may_pass)
            if not pack.is_given_up:
                self._tell_lost(pack, answer["failure"])
            pack.instance = ""
            self._starter.end(pack.actor, restart=not pack.is_given_up)

    def _tell_ready(self, pack: Pack) -> None:
        if self._lanes is not None and not pack.is_announced:
            pack.is_announced = True
            facts = {"pack": pack.number, "node": pack.node, "device": pack.device, "lanes": self._lanes}
            self._on_event(PACK_READY, facts)

    def _tell_lost(self, pack: Pack, reason: str) -> None:
        if pack.is_announced:
            pack.is_announced = False
            self._on_event(PACK_LOST, {"pack": pack.number, "reason": reason})

    def _count_failure(self, pack: Pack, reason: str, *, may_pass: bool) -> None:
        """Give a pack up that could not get ready, unless another attempt may do better."""
        pack.num_failures += 1
        if may_pass and pack.num_failures < MAX_STARTS:
            return
        pack.is_given_up = True
        pack.is_announced = False
        self._on_event(PACK_LOST, {"pack": pack.number, "reason": reason})
        if all(other.is_given_up for other in self._packs):
            raise RetryableError(
                f"No worker could get ready to train ({reason}): mend the cause, then launch the study again."
            )
