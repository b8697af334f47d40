"""Two runs of the same trials, figure by figure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from study.reproduction.record import Record, RecordedTrial

NUM_SHOWN = 20
"""Differences that are listed, the largest first; all are counted."""
MEMORY = "micro_batch"
"""Metric that depends on how much memory a worker has."""


@dataclass(frozen=True, kw_only=True)
class FigureDifference:
    """A figure that is not the same in both runs."""

    trial: str
    step: int
    """Optimizer steps done."""
    metric: str
    """Name of the figure; those of a trial's end are `ending.value` (the report loss) and so on."""
    then: float | None
    """In the record; absent where that has none."""
    now: float | None
    """In the other run; absent where that has none."""
    relative: float | None
    """Difference relative to the larger of both; absent where one of them is."""


@dataclass(kw_only=True)
class MetricCount:
    """What became of all figures of one metric."""

    is_judged: bool
    """Whether the verdict depends on it: where a tolerance holds, losses alone."""
    equal: int = 0
    within: int = 0
    """Not equal, but within the tolerance."""
    differ: int = 0
    missing_then: int = 0
    """In the other run alone."""
    missing_now: int = 0
    """In the record alone."""
    largest: FigureDifference | None = None
    """The largest relative difference; absent where all are equal."""


@dataclass(frozen=True, kw_only=True)
class OutcomeDifference:
    """A trial that did not end as it had."""

    trial: str
    then: str
    """Outcome and steps in the record, such as `stopped at step 4`."""
    now: str
    """The same in the other run."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a second run showed."""

    reproduced: bool
    """Whether every trial ended as it had, and no judged figure differs or is missing."""
    trials: int
    """Trials that were compared."""
    lost_then: tuple[str, ...]
    """Trials that the study itself had lost to its surroundings: there is nothing to compare."""
    equal: int
    within: int
    differ: int
    missing_then: int
    missing_now: int
    """Figures, of the judged metrics alone."""
    metrics: Mapping[str, MetricCount]
    outcomes: tuple[OutcomeDifference, ...]
    largest: FigureDifference | None
    """The largest relative difference of a judged figure."""
    worst: tuple[FigureDifference, ...]
    """Judged figures that differ or are missing, the worst first, at most 20."""


@dataclass(kw_only=True)
class _Tally:
    """Counts figures as they come."""

    exact: bool
    tolerance: float
    metrics: dict[str, MetricCount] = field(default_factory=dict)
    bad: list[FigureDifference] = field(default_factory=list)

    def add(self, trial: str, step: int, metric: str, then: float | None, now: float | None) -> None:
        judged = self.exact or is_loss(metric)
        count = self.metrics.setdefault(metric, MetricCount(is_judged=judged))
        if then == now:
            count.equal += 1
            return
        relative = None if then is None or now is None else abs(then - now) / max(abs(then), abs(now))
        one = FigureDifference(trial=trial, step=step, metric=metric, then=then, now=now, relative=relative)
        if relative is None:
            count.missing_then += then is None
            count.missing_now += now is None
        elif relative <= self.tolerance:
            count.within += 1
        else:
            count.differ += 1
        if relative is not None and relative > ((count.largest and count.largest.relative) or 0.0):
            count.largest = one
        if judged and (relative is None or relative > self.tolerance):
            self.bad.append(one)


def compare(
    then: Record,
    now: Record,
    *,
    tolerance: float | None,
    trials: frozenset[str] | None = None,
) -> Comparison:
    """Hold a second run against a record.

    Figures in seconds, and the micro-batch, which depends on memory, are left out.

    Args:
        then: the record.
        now: that of the second run.
        tolerance: largest relative difference of a loss; None: every figure must be the same to the bit.
        trials: compare these alone; None: all.
    """
    before = {one.key: one for one in then.trials if trials is None or one.key in trials}
    after = {one.key: one for one in now.trials if trials is None or one.key in trials}
    lost = tuple(key for key, one in before.items() if one.ending is not None and not one.is_a_result)
    tally = _Tally(exact=tolerance is None, tolerance=tolerance or 0.0)
    outcomes = []
    keys = [key for key in dict.fromkeys((*before, *after)) if key not in lost]
    for key in keys:
        ended = _ended(before.get(key)), _ended(after.get(key))
        if ended[0] != ended[1]:
            outcomes.append(OutcomeDifference(trial=key, then=ended[0], now=ended[1]))
        figures = _figures(before.get(key)), _figures(after.get(key))
        for place in sorted(figures[0].keys() | figures[1].keys()):
            tally.add(key, *place, figures[0].get(place), figures[1].get(place))
    return _result(tally, len(keys), lost, tuple(outcomes))


def is_loss(metric: str) -> bool:
    """Whether a figure is a loss in nats, which is what claims are about."""
    return metric.endswith(("loss_nats", ".loss", "value"))


def _result(
    tally: _Tally, num_trials: int, lost: tuple[str, ...], outcomes: tuple[OutcomeDifference, ...]
) -> Comparison:
    judged = [count for count in tally.metrics.values() if count.is_judged]
    largest = (count.largest for count in judged if count.largest is not None)
    totals: dict[str, Any] = {
        name: sum(getattr(count, name) for count in judged)
        for name in ("equal", "within", "differ", "missing_then", "missing_now")
    }
    return Comparison(
        reproduced=not tally.bad and not outcomes and num_trials > 0,
        trials=num_trials,
        lost_then=lost,
        metrics=dict(sorted(tally.metrics.items())),
        outcomes=outcomes,
        largest=max(largest, key=_badness, default=None),
        worst=tuple(sorted(tally.bad, key=_badness, reverse=True)[:NUM_SHOWN]),
        **totals,
    )


def _badness(one: FigureDifference) -> float:
    return float("inf") if one.relative is None else one.relative


def _ended(trial: RecordedTrial | None) -> str:
    if trial is None:
        return "not there"
    if trial.ending is None:
        return "not ended"
    return f"{trial.ending.outcome.value} at step {trial.ending.steps}"


def _figures(trial: RecordedTrial | None) -> dict[tuple[int, str], float]:
    """Every figure of a trial that does not depend on its surroundings, by step and metric."""
    return {} if trial is None else {(step, name): figure for step, name, figure in _all_figures(trial)}


def _all_figures(trial: RecordedTrial) -> Iterator[tuple[int, str, float]]:
    for name, column in trial.measurements.items():
        if name != MEMORY and not name.endswith(("_s", "_seconds")):
            for step, figure in zip(trial.measured_steps, column, strict=True):
                if figure is not None:
                    yield step, name, figure
    ending = trial.ending
    if ending is not None:
        own = {name: getattr(ending, name) for name in ("value", "select_value", "init_value")}
        for name, figure in {**ending.metrics, **own}.items():
            if figure is not None:
                yield ending.steps, f"ending.{name}", figure
