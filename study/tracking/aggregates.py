"""Figures over many trials that the parents carry. They describe; verdicts are the statistics' business."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from study.ledger import TrialActivity
from study.records import Ending, Outcome, Phase, TrialRecord

ANALYSED = (Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED)


def aggregates(trials: Sequence[TrialActivity]) -> dict[str, float]:
    """Counts by outcome, divergence, device time, the search's best and mean, and the tuned result.

    A figure over no trial is left out. A loss that counts a diverged trial takes the loss at initialisation
    for it, and no loss counts for more than that.
    """
    records = [trial.record for trial in trials]
    search = _endings(records, phase=Phase.SEARCH)
    space = [ending for ending in _endings(records, phase=Phase.SENSITIVITY) if ending.outcome in ANALYSED]
    tuned = [ending for ending in _endings(records, phase=Phase.CONFIRMATION) if ending.outcome in ANALYSED]
    full = [end.select_value for end in search if end.outcome is Outcome.FINISHED]
    return _counts(records) | _present(
        search_best_select_loss_nats=min(_known(full), default=None),
        search_mean_select_loss_nats=_mean(full),
        space_diverged_frac=_mean(float(ending.outcome is Outcome.DIVERGED) for ending in space),
        tuned_report_loss_nats=_mean(capped_loss(ending) for ending in tuned),
        tuned_report_accuracy=_mean((ending.metrics or {}).get("report_accuracy") for ending in tuned),
        tuned_seeds=float(len(tuned)) if tuned else None,
    )


def configuration_aggregates(trials: Sequence[TrialActivity]) -> dict[str, float]:
    """Counts, and means over the seeds of one configuration."""
    records = [trial.record for trial in trials]
    endings = [ending for ending in _endings(records, phase=None) if ending.outcome in ANALYSED]
    return _counts(records) | _present(
        mean_select_loss_nats=_mean(ending.select_value for ending in endings),
        mean_report_loss_nats=_mean(capped_loss(ending) for ending in endings),
        mean_report_accuracy=_mean((ending.metrics or {}).get("report_accuracy") for ending in endings),
    )


def capped_loss(ending: Ending) -> float | None:
    """Report loss in nats, at most the loss at initialisation, which it is for a diverged trial."""
    if ending.outcome is Outcome.DIVERGED:
        return ending.init_value
    if ending.value is None or ending.init_value is None:
        return ending.value
    return min(ending.value, ending.init_value)


def _counts(records: Sequence[TrialRecord]) -> dict[str, float]:
    endings = _endings(records, phase=None)
    by_outcome = Counter(ending.outcome for ending in endings)
    analysed = sum(by_outcome[outcome] for outcome in ANALYSED)
    counts = {f"trials_{outcome}": float(by_outcome[outcome]) for outcome in Outcome}
    counts |= {"trials_planned": float(len(records)), "trials_ended": float(len(endings))}
    counts["device_s"] = sum(ending.device_seconds for ending in endings)
    if analysed:
        counts["diverged_frac"] = by_outcome[Outcome.DIVERGED] / analysed
    return counts


def _endings(records: Iterable[TrialRecord], *, phase: Phase | None) -> list[Ending]:
    """All endings, or those of a phase proper: a slice beside it holds other configurations."""
    return [
        record.ending
        for record in records
        if record.ending is not None
        and (phase is None or (record.planned.phase is phase and record.planned.slice == ""))
    ]


def _known(figures: Iterable[float | None]) -> list[float]:
    return [figure for figure in figures if figure is not None]


def _mean(figures: Iterable[float | None]) -> float | None:
    known = _known(figures)
    return fmean(known) if known else None


def _present(**figures: float | None) -> dict[str, float]:
    return {name: figure for name, figure in figures.items() if figure is not None}
