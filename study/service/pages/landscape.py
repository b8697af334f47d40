"""Learning rate against loss, family by family, filling in while trials end; by decades for readers of tables."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from study.ledger import TrialActivity
from study.records import Phase
from study.service.pages.reading import SELECT_LOSS, Reading
from study.service.pages.scales import Axis, linear_axis, log_axis
from study.service.pages.survival import thinned

MOST_POINTS = 240
"""Trials drawn of one family; of more, evenly many in planned order."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trial."""

    trial: str
    kind: str
    """As `Reading.kind` says."""
    lr: float
    loss_nats: float | None
    """On the select split, as last measured; absent for a trial that diverged."""
    x: float
    """In percent of the learning-rate axis."""
    y: float
    """In percent of the loss axis, from its low end; a trial that diverged stands at the high end."""


@dataclass(frozen=True, kw_only=True)
class Decade:
    """Trials of one family whose learning rates share a power of ten."""

    power: int
    num_trials: int
    num_diverged: int
    best_nats: float | None
    median_nats: float | None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One family."""

    family: str
    x_axis: Axis
    points: tuple[Point, ...]
    num_trials: int
    """With a result, drawn or not."""
    decades: tuple[Decade, ...]

    @property
    def is_thinned(self) -> bool:
        """Whether not every trial is drawn."""
        return len(self.points) < self.num_trials


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """All families over one loss axis."""

    y_axis: Axis
    init_nats: float | None
    """Mean loss of adapters as initialised; absent before it is known."""
    panels: tuple[Panel, ...]

    @property
    def num_trials(self) -> int:
        """Trials with a result."""
        return sum(panel.num_trials for panel in self.panels)


@dataclass(frozen=True, kw_only=True)
class _Result:
    trial: TrialActivity
    kind: str
    lr: float
    loss_nats: float | None


def landscape(reading: Reading) -> Landscape:
    """Every trial of the search, the sensitivity and its slices that has something to show."""
    inits = [
        one.record.ending.init_value
        for one in reading.trials
        if one.record.ending is not None and one.record.ending.init_value is not None
    ]
    init_nats = statistics.fmean(inits) if inits else None
    results = {family: _results(reading, family) for family in reading.families}
    losses = [r.loss_nats for mine in results.values() for r in mine if r.loss_nats is not None]
    cap = init_nats if init_nats is not None else max(losses, default=1.0)
    y_axis = linear_axis([min(loss, 1.25 * cap) for loss in losses] + [cap] if losses else [0.0, cap])
    panels = tuple(_panel(family, mine, y_axis) for family, mine in results.items() if mine)
    return Landscape(y_axis=y_axis, init_nats=init_nats, panels=panels)


def _results(reading: Reading, family: str) -> list[_Result]:
    found = []
    for one in reading.by_family.get(family, ()):
        planned, kind = one.record.planned, reading.kind(one)
        lr = planned.params.get("lr")
        if planned.phase is Phase.CONFIRMATION or not isinstance(lr, int | float) or lr <= 0:
            continue
        loss_nats = _loss_nats(reading, one)
        if kind == "diverged" or (loss_nats is not None and kind != "lost"):
            found.append(
                _Result(
                    trial=one, kind=kind, lr=float(lr), loss_nats=None if kind == "diverged" else loss_nats
                )
            )
    return found


def _loss_nats(reading: Reading, trial: TrialActivity) -> float | None:
    if trial.record.ending is not None:
        loss_nats = trial.record.ending.select_value
    else:
        measured = reading.newest.get(trial.record.planned.key)
        loss_nats = measured.metrics.get(SELECT_LOSS) if measured else None
    return loss_nats if loss_nats is not None and math.isfinite(loss_nats) else None


def _panel(family: str, results: Sequence[_Result], y_axis: Axis) -> Panel:
    x_axis = log_axis([result.lr for result in results])
    return Panel(
        family=family,
        x_axis=x_axis,
        points=tuple(_point(result, x_axis, y_axis) for result in thinned(results, MOST_POINTS)),
        num_trials=len(results),
        decades=_decades(results),
    )


def _point(result: _Result, x_axis: Axis, y_axis: Axis) -> Point:
    return Point(
        trial=result.trial.record.planned.key,
        kind=result.kind,
        lr=result.lr,
        loss_nats=result.loss_nats,
        x=x_axis.at(result.lr),
        y=100.0 if result.loss_nats is None else y_axis.at(result.loss_nats),
    )


def _decades(results: Sequence[_Result]) -> tuple[Decade, ...]:
    by_power: dict[int, list[_Result]] = {}
    for result in results:
        by_power.setdefault(math.floor(math.log10(result.lr) + 1e-9), []).append(result)
    found = []
    for power, mine in sorted(by_power.items()):
        losses = [result.loss_nats for result in mine if result.loss_nats is not None]
        found.append(
            Decade(
                power=power,
                num_trials=len(mine),
                num_diverged=sum(result.kind == "diverged" for result in mine),
                best_nats=min(losses, default=None),
                median_nats=statistics.median(losses) if losses else None,
            )
        )
    return tuple(found)
