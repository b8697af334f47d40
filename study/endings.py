"""How a trial's reports, a rung's decision or a lost worker become the ending that the ledger keeps."""

import math
from collections.abc import Sequence

from search_spaces.errors import TrialFailedError
from study.records import Ending, Measurement, Outcome, RungRecord
from trainers.reports import Report


def reported_ending(key: str, report: Report, device_seconds: float) -> Ending:
    """The ending that a trial's last report carries.

    Raises:
        TrialFailedError: it carries none.
    """
    ending = report.ending
    if ending is None:
        raise TrialFailedError(f"Trial {key!r} was to end with a report that carries no ending.")
    return Ending(
        outcome=Outcome(ending.outcome),
        steps=report.step,
        reason=ending.reason,
        value=ending.value,
        select_value=ending.select_value,
        init_value=ending.init_value,
        device_seconds=device_seconds,
        metrics=ending.metrics,
    )


def stopped_ending(decision: RungRecord, measured: Sequence[Measurement], device_seconds: float) -> Ending:
    """The ending of a trial at the rung that it did not pass, which is among its measurements."""
    at_rung = next(one for one in measured if one.step == decision.rung)
    return Ending(
        outcome=Outcome.STOPPED,
        steps=decision.rung,
        reason=(
            f"Stopped at step {decision.rung}: {decision.value:.4g} nats were not among the best of its family, "
            f"the limit was {decision.cutoff:.4g}."
        ),
        select_value=at_rung.metrics["select_loss_nats"],
        init_value=measured[0].metrics["init_loss_nats"],
        device_seconds=device_seconds,
    )


def unusable(report: Report) -> str:
    """Why a report cannot be taken in: a figure of it is no finite number. Empty where all are."""
    ending = report.ending
    figures: dict[str, float | None] = dict(report.metrics)
    if ending is not None:
        figures |= {name: getattr(ending, name) for name in ("value", "select_value", "init_value")}
        figures |= ending.metrics
    for name, figure in figures.items():
        if figure is not None and not math.isfinite(figure):
            return f"The worker reported {name} = {figure} at step {report.step}, which is no measurement."
    return ""


def lost_ending(reason: str, measured: Sequence[Measurement], device_seconds: float) -> Ending:
    """The ending of a trial that its surroundings failed too often, or that failed in a way of its own."""
    return Ending(
        outcome=Outcome.INFRA_FAILED,
        steps=measured[-1].step if measured else 0,
        reason=reason,
        init_value=measured[0].metrics.get("init_loss_nats") if measured else None,
        device_seconds=device_seconds,
    )
