"""How far phases and families are, and what each family has reached so far."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from search_spaces import FAMILIES
from study.ledger import TrialActivity
from study.records import Outcome, Phase
from study.service.pages.reading import Reading
from study.service.pages.tallies import Tally, tally

PHASE_TITLES = {
    Phase.SEARCH: "Search",
    Phase.SENSITIVITY: "Sensitivity",
    Phase.LR_SLICE: "Learning-rate slice",
    Phase.FACTOR_SLICE: "Factor slices",
    Phase.CONFIRMATION: "Confirmation",
}


@dataclass(frozen=True, kw_only=True)
class PhaseRow:
    """One phase of the protocol."""

    phase: Phase
    tally: Tally

    @property
    def title(self) -> str:
        """Its name for readers."""
        return PHASE_TITLES[self.phase]

    @property
    def state(self) -> str:
        """`waits`, `runs`, `pauses` or `done`."""
        if self.tally.ended >= self.tally.planned:
            return "done"
        if self.tally.running:
            return "runs"
        return "pauses" if self.tally.ended else "waits"


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best of a family's trials at full budget."""

    trial: str
    loss_nats: float
    """On the select split."""
    lr: float | None


@dataclass(frozen=True, kw_only=True)
class FamilyRow:
    """One family of the study."""

    family: str
    summary: str
    tally: Tally
    best: Best | None
    """Of the trials whose hyperparameters were searched; absent until one has finished."""
    confirmed_nats: tuple[float, ...]
    """Losses on the report split of the tuned configuration's seeds."""
    device_s: float
    """Device-seconds of trials that have ended."""

    @cached_property
    def confirmed_mean_nats(self) -> float | None:
        """Mean of `confirmed_nats`."""
        return statistics.fmean(self.confirmed_nats) if self.confirmed_nats else None


def phase_rows(reading: Reading) -> tuple[PhaseRow, ...]:
    """Every phase that the study has, in order."""
    runs = reading.holder is not None
    return tuple(
        PhaseRow(
            phase=phase,
            tally=tally(reading.by_phase.get(phase.value, ()), planned=sum(families.values()), runs=runs),
        )
        for phase, families in reading.counts.items()
    )


def family_rows(reading: Reading) -> tuple[FamilyRow, ...]:
    """Every family of the study, in its order."""
    return tuple(_family_row(reading, family) for family in reading.families)


def current_phase(rows: Iterable[PhaseRow]) -> PhaseRow | None:
    """The first phase that has not ended."""
    return next((row for row in rows if row.state != "done"), None)


def _family_row(reading: Reading, family: str) -> FamilyRow:
    mine = reading.by_family.get(family, ())
    planned = sum(families.get(family, 0) for families in reading.counts.values())
    endings = [one.record.ending for one in mine if one.record.ending is not None]
    return FamilyRow(
        family=family,
        summary=_summary(reading, family),
        tally=tally(mine, planned=planned, runs=reading.holder is not None),
        best=_best(mine),
        confirmed_nats=tuple(
            one.record.ending.value
            for one in mine
            if one.record.planned.phase is Phase.CONFIRMATION
            and not one.record.planned.slice
            and one.record.ending is not None
            and one.record.ending.value is not None
        ),
        device_s=sum(ending.device_seconds for ending in endings),
    )


def _best(trials: Iterable[TrialActivity]) -> Best | None:
    found = [
        (one.record.ending.select_value, one.record.planned)
        for one in trials
        if one.record.planned.phase is not Phase.CONFIRMATION
        and one.record.ending is not None
        and one.record.ending.outcome is Outcome.FINISHED
        and one.record.ending.select_value is not None
        and math.isfinite(one.record.ending.select_value)
    ]
    if not found:
        return None
    loss_nats, planned = min(found, key=lambda pair: pair[0])
    lr = planned.params.get("lr")
    return Best(trial=planned.key, loss_nats=loss_nats, lr=float(lr) if lr is not None else None)


def _summary(reading: Reading, family: str) -> str:
    variant = reading.section("variants").get(family)
    if variant:
        settings = ", ".join(
            f"{key} {value}" for key, value in variant.items() if key != "of" and value is not None
        )
        return f"{variant.get('of')} with {settings}"
    return FAMILIES[family].summary if family in FAMILIES else ""
