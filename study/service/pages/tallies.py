"""Trials counted by how they ended, for bars and tables."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from study.ledger import TrialActivity
from study.records import Outcome
from study.service.pages.reading import LOST, Reading


@dataclass(frozen=True, kw_only=True)
class Part:
    """One stretch of a bar."""

    name: str
    """`finished`, `stopped`, `diverged`, `lost` or `running`; also its class on the page."""
    number: int
    start: float
    """From the left, in percent of the bar."""
    width: float
    """In percent of the bar."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How many of some trials ended in which way."""

    planned: int
    finished: int = 0
    stopped: int = 0
    diverged: int = 0
    lost: int = 0
    running: int = 0

    @property
    def ended(self) -> int:
        """Trials that need no more work."""
        return self.finished + self.stopped + self.diverged + self.lost

    @property
    def waiting(self) -> int:
        """Trials that have not begun, or wait to go on."""
        return max(0, self.planned - self.ended - self.running)

    @property
    def done_frac(self) -> float:
        """Share of the trials that have ended."""
        return self.ended / self.planned if self.planned else 0.0

    @property
    def parts(self) -> tuple[Part, ...]:
        """The stretches of its bar, from the left; what waits is left empty."""
        found, start = [], 0.0
        for name in ("finished", "stopped", "diverged", "lost", "running"):
            number = getattr(self, name)
            width = 100 * number / max(1, self.planned)
            if number:
                found.append(Part(name=name, number=number, start=round(start, 2), width=round(width, 2)))
            start += width
        return tuple(found)

    @property
    def words(self) -> str:
        """The bar in words."""
        told = ", ".join(f"{part.number:,} {part.name}" for part in self.parts)
        waiting = f"{self.waiting:,} waiting"
        return f"{told}, {waiting}" if told and self.waiting else told or waiting


def tally(trials: Iterable[TrialActivity], *, planned: int, runs: bool) -> Tally:
    """Count trials.

    Args:
        trials: those that are laid out.
        planned: how many there will be at least.
        runs: whether the study has a driver, without which no trial is running.
    """
    outcomes: Counter[Outcome | None] = Counter()
    running = 0
    for one in trials:
        outcomes[one.record.ending.outcome if one.record.ending else None] += 1
        running += runs and one.running and one.record.ending is None
    return tally_of(outcomes, planned=planned, running=running)


def tally_of(outcomes: Mapping[Outcome | None, int], *, planned: int, running: int) -> Tally:
    """The tally of trials that were counted by outcome, those without one under None.

    Args:
        outcomes: how many ended in which way; every absent one is 0.
        planned: how many trials there will be at least.
        running: how many train now.
    """
    return Tally(
        planned=max(planned, sum(outcomes.values())),
        finished=outcomes.get(Outcome.FINISHED, 0),
        stopped=outcomes.get(Outcome.STOPPED, 0),
        diverged=outcomes.get(Outcome.DIVERGED, 0),
        lost=sum(outcomes.get(outcome, 0) for outcome in LOST),
        running=running,
    )


def whole(reading: Reading) -> Tally:
    """All trials of a study."""
    planned = sum(sum(families.values()) for families in reading.counts.values())
    return tally(reading.trials, planned=planned, runs=reading.holder is not None)
