"""M12: optimizer steps to a target loss, restricted to the budget.

Stopping at the budget is the only censoring there is, so the restricted mean needs no estimate of a survival
function: it is the mean of min(T, budget), and a trial that never arrives counts with the budget.
"""

import numpy as np
import pandas as pd

from study.records import Outcome, Phase
from study.statistics.contrast import Contrast, NotEvaluableError, Rows
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import SEED, Values, confirmed_rows, contrast, mean_by, target_loss
from study.statistics.trials import Trials


def first_arrival(rows: pd.DataFrame, curves: pd.DataFrame, *, tau: float) -> pd.Series:
    """First measured step at which the select loss is tau or less; infinite for a trial that never arrives.

    A trial that arrives and diverges later has arrived. The step is rounded up to the next measurement, alike for
    all families.

    Args:
        rows: trials, whose column `trial` names their curves.
        curves: `trial`, `step`, `value` (select loss in nats).
        tau: target loss in nats.

    Returns:
        Steps per row, indexed like the rows.
    """
    arrived = curves[curves["value"] <= tau].groupby("trial")["step"].min()
    return rows["trial"].map(arrived).astype("float64").fillna(np.inf)


def steps_to_target(rows: pd.DataFrame, curves: pd.DataFrame, *, tau: float, budget: float) -> pd.Series:
    """Steps to the target loss, at most the budget.

    RMST(B) = E[min(T, B)] with T the first arrival, infinite for a trial that never arrives.
    Source: Royston and Parmar 2013; Dolan and More 2002.

    Args:
        rows: confirmation trials of one family, whose column `trial` names their curves.
        curves: `trial`, `step`, `value` (select loss in nats).
        tau: target loss in nats.
        budget: steps.

    Returns:
        Steps per seed, in the order of the rows; the mean where a seed has several trials.
    """
    return mean_by(first_arrival(rows, curves, tau=tau).clip(upper=budget), rows, SEED)


def shared_budget(rows: Rows) -> float:
    """The steps that every finished trial of both families had: the horizon of the restricted mean.

    Raises:
        NotEvaluableError: no trial finished.
    """
    sides = [side.loc[side["outcome"] == Outcome.FINISHED, "steps"] for side in (rows.a, rows.b)]
    budget = float(pd.concat(sides).min())
    if not np.isfinite(budget) or budget <= 0:
        raise NotEvaluableError(
            "no trial finished, so there is no budget within which a target could be reached"
        )
    return budget


def check_has_curves(trials: Trials) -> None:
    """Refuse a table whose trials have no curves.

    Raises:
        NotEvaluableError: there are no curves, or no column `trial` that names them.
    """
    if "trial" not in trials.frame.columns or trials.curves.empty:
        raise NotEvaluableError(
            "steps to a target are read from curves, and there are none: give a table of curves, and name each trial "
            "in a column `trial`"
        )


def check_curves(trials: Trials, rows: pd.DataFrame, family: str) -> None:
    """Every finished trial must have a curve of its own; one that diverged before the first measurement has none.

    Args:
        trials: the table, with curves.
        rows: confirmation trials of one family.
        family: its name, for the message.

    Raises:
        NotEvaluableError: a finished trial has no curve, or a name stands for several trials.
    """
    finished = rows[rows["outcome"] == Outcome.FINISHED]
    num_missing = int((~finished["trial"].isin(set(trials.curves["trial"]))).sum())
    if num_missing:
        raise NotEvaluableError(
            f"{num_missing} finished confirmation trials of family {family} have no curve"
        )
    names = trials.frame["trial"]
    twice = rows.loc[rows["trial"].isin(set(names[names.duplicated(keep=False)])), "trial"]
    if len(twice):
        raise NotEvaluableError(
            f"trial {twice.iloc[0]} names several rows, so its curve belongs to none of them"
        )


def _contrast(trials: Trials, question: Question) -> Contrast:
    tau = target_loss(question)
    check_has_curves(trials)
    rows = confirmed_rows(trials, question)
    check_curves(trials, rows.a, question.comparison.a)
    check_curves(trials, rows.b, question.comparison.b)
    budget = shared_budget(rows)
    values = Values(
        a=steps_to_target(rows.a, trials.curves, tau=tau, budget=budget),
        b=steps_to_target(rows.b, trials.curves, tau=tau, budget=budget),
    )
    arrived = [int((side < budget).sum()) for side in (values.a, values.b)]
    if sum(arrived) == 0:
        raise NotEvaluableError(f"tau = {tau:.4g} nats is not reached by any trial before its last step")
    a, b = question.comparison.a, question.comparison.b
    number = len(values.a)
    note = (
        f"Before the budget of {budget:g} steps {arrived[0]} of {number} seeds of {a} and {arrived[1]} of {number} of "
        f"{b} reached {tau:.4g} nats; the others count with the budget."
    )
    return contrast(values, better="less", unit=SEED, notes=(*rows.notes, note))


STEPS_TO_TARGET = Metric(
    name="steps_to_target",
    title="steps to a target loss",
    unit="steps",
    better="less",
    phase=Phase.CONFIRMATION,
    formula="mean over seeds of min(first measured step with select loss <= tau, budget)",
    source="Royston and Parmar 2013 (restricted mean); Dolan and More 2002 (time to target)",
    needs=("tau",),
    contrast=_contrast,
)
