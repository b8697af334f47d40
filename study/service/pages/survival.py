"""How ASHA thins out each family's search: one line a trial, as long as it trained, and what each rung decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from study.ledger import TrialActivity
from study.records import Phase, RungRecord
from study.service.pages.reading import Reading

Item = TypeVar("Item")

MOST_LINES = 48
"""Trials drawn of one family; of more, evenly many from the longest to the shortest."""
MOST_NAMED = 30
"""Stopped trials named at one rung."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One trial of the search."""

    trial: str
    reached: float
    """Steps done, in percent of the full budget."""
    kind: str
    """As `Reading.kind` says."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One rung of one family."""

    step: int
    place: float
    """In percent of the full budget."""
    reached: int
    passed: int
    stopped: tuple[str, ...]
    """Keys, at most `MOST_NAMED`."""
    num_stopped: int
    cutoff_nats: float | None
    """What the last arrival was compared with; absent before there was anything to compare with."""


@dataclass(frozen=True, kw_only=True)
class Survival:
    """One family's search."""

    family: str
    num_planned: int
    lines: tuple[Line, ...]
    """The longest first."""
    num_started: int
    rungs: tuple[Rung, ...]
    finished: int

    @property
    def is_thinned(self) -> bool:
        """Whether not every trial is drawn."""
        return len(self.lines) < self.num_started

    @property
    def words(self) -> str:
        """The picture in a sentence."""
        at_rungs = "; ".join(
            f"{rung.reached} reached step {rung.step}, {rung.num_stopped} stopped there"
            for rung in self.rungs
        )
        told = f"{self.num_started} of {self.num_planned} trials started"
        return (
            f"{told}; {at_rungs}; {self.finished} finished."
            if at_rungs
            else f"{told}; {self.finished} finished."
        )


def survivals(reading: Reading) -> tuple[Survival, ...]:
    """The search of every family; nothing for a study without one."""
    planned = reading.counts.get(Phase.SEARCH, {})
    return tuple(
        _survival(reading, family, planned.get(family, 0)) for family in reading.families if family in planned
    )


def _survival(reading: Reading, family: str, planned: int) -> Survival:
    mine = [
        one
        for one in reading.by_family.get(family, ())
        if one.record.planned.phase is Phase.SEARCH and one.started_at
    ]
    lines = sorted((_line(reading, one) for one in mine), key=lambda line: -line.reached)
    decided = [rung for rung in reading.rungs if rung.family == family]
    return Survival(
        family=family,
        num_planned=planned,
        lines=tuple(thinned(lines, MOST_LINES)),
        num_started=len(lines),
        rungs=tuple(
            _rung(step, [one for one in decided if one.rung == step], reading.steps)
            for step in reading.rung_steps
        ),
        finished=sum(line.kind == "finished" for line in lines),
    )


def _line(reading: Reading, trial: TrialActivity) -> Line:
    reached = min(1.0, reading.steps_done(trial) / max(1, trial.record.planned.steps))
    return Line(trial=trial.record.planned.key, reached=round(100 * reached, 2), kind=reading.kind(trial))


def _rung(step: int, records: Sequence[RungRecord], budget: int) -> Rung:
    stopped = [record.trial for record in records if record.action == "stop"]
    cutoffs = [record.cutoff for record in records if record.cutoff is not None]
    return Rung(
        step=step,
        place=round(100 * step / max(1, budget), 2),
        reached=len(records),
        passed=len(records) - len(stopped),
        stopped=tuple(stopped[:MOST_NAMED]),
        num_stopped=len(stopped),
        cutoff_nats=cutoffs[-1] if cutoffs else None,
    )


def thinned(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of the items, evenly many, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]
