"""One trial at one moment, as its page shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.ledger import Attempt, Ledger
from study.records import Measurement, RungRecord, TrialRecord
from study.service.pages.failures import Failure, told
from study.service.pages.reading import LOST, SELECT_LOSS
from study.service.pages.scales import Axis, linear_axis
from study.service.pages.survival import thinned

MOST_POINTS = 200
MOST_ROWS = 60
"""Measurements in the table; of more, evenly many."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The select loss over a trial's steps."""

    x_axis: Axis
    y_axis: Axis
    points: tuple[tuple[float, float], ...]
    """In percent of both axes."""
    rungs: tuple[tuple[float, int, str], ...]
    """Place in percent, step and action of each rung that decided on the trial."""
    num_measurements: int


@dataclass(frozen=True, kw_only=True)
class TrialView:
    """All that the page of a trial shows."""

    study: str
    record: TrialRecord
    kind: str
    """`waiting`, `running`, `finished`, `stopped`, `diverged` or `lost`."""
    curve: Curve | None
    """Absent before the first measurement of the select loss."""
    metrics: tuple[str, ...]
    """Names of what was measured, the select loss first."""
    measurements: tuple[Measurement, ...]
    num_measurements: int
    rungs: tuple[RungRecord, ...]
    attempts: tuple[Attempt, ...]
    failures: tuple[Failure, ...]
    now: float
    """Unix time in seconds."""


def trial_view(ledger: Ledger, study: str, key: str, *, now: float) -> TrialView:
    """What the page of a trial shows.

    Args:
        ledger: the record.
        study: the study's name.
        key: the trial's.
        now: Unix time in seconds.

    Raises:
        SpecError: there is no such study.
        LedgerError: the study has no such trial.
    """
    record = ledger.trial(study, key)
    measured = ledger.measurements(study, key)
    rungs = tuple(rung for rung in ledger.rungs(study, record.planned.family) if rung.trial == key)
    attempts = tuple(ledger.attempts(study, key))
    runs = ledger.holder(study) is not None and any(one.ended_at is None for one in attempts)
    return TrialView(
        study=study,
        record=record,
        kind=_kind(record, runs=runs),
        curve=_curve(record, measured, rungs),
        metrics=_metric_names(measured),
        measurements=tuple(thinned(measured, MOST_ROWS)),
        num_measurements=len(measured),
        rungs=rungs,
        attempts=attempts,
        failures=tuple(reversed(told(ledger.events(study), key))),
        now=now,
    )


def _kind(record: TrialRecord, *, runs: bool) -> str:
    if record.ending is None:
        return "running" if runs else "waiting"
    return "lost" if record.ending.outcome in LOST else record.ending.outcome.value


def _curve(record: TrialRecord, measured: Sequence[Measurement], rungs: Sequence[RungRecord]) -> Curve | None:
    losses = [(one.step, one.metrics[SELECT_LOSS]) for one in measured if SELECT_LOSS in one.metrics]
    if not losses:
        return None
    x_axis = linear_axis([0.0, float(record.planned.steps)], num_ticks=5, from_zero=True)
    y_axis = linear_axis([loss for _, loss in losses])
    return Curve(
        x_axis=x_axis,
        y_axis=y_axis,
        points=tuple((x_axis.at(step), y_axis.at(loss)) for step, loss in thinned(losses, MOST_POINTS)),
        rungs=tuple((x_axis.at(rung.rung), rung.rung, rung.action) for rung in rungs),
        num_measurements=len(losses),
    )


def _metric_names(measured: Sequence[Measurement]) -> tuple[str, ...]:
    metrics: list[Mapping[str, float]] = [one.metrics for one in measured]
    names = dict.fromkeys(name for one in metrics for name in one)
    return tuple(sorted(names, key=lambda name: (name != SELECT_LOSS, not name.startswith("select"), name)))
