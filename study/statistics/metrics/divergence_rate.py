"""M8: how often training fails."""

import pandas as pd

from study.records import Outcome, Phase
from study.statistics.contrast import Contrast, NotEvaluableError
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import (
    REPLICATE,
    SEED,
    Values,
    confirmed_rows,
    contrast,
    design_rows,
    mean_by,
)
from study.statistics.trials import Trials


def divergence_rate(rows: pd.DataFrame, unit: str = REPLICATE) -> pd.Series:
    """Share of trials that diverged. Failure is an outcome: ICH E9(R1), composite strategy.

    Args:
        rows: trials of one family.
        unit: `replicate` for a design, `seed` for the confirmation.

    Returns:
        Fraction per unit; 0 or 1 where a unit is one trial.
    """
    return mean_by((rows["outcome"] == Outcome.DIVERGED).astype(float), rows, unit)


def _contrast(trials: Trials, question: Question) -> Contrast:
    phase = question.part.phase or Phase.SENSITIVITY
    if phase == Phase.SENSITIVITY:
        rows, unit = design_rows(trials, question), REPLICATE
    elif phase == Phase.CONFIRMATION:
        rows, unit = confirmed_rows(trials, question), SEED
    else:
        raise NotEvaluableError(f"divergence is read in sensitivity or confirmation, not in {phase}")
    values = Values(a=divergence_rate(rows.a, unit), b=divergence_rate(rows.b, unit))
    return contrast(values, better="less", unit=unit, notes=rows.notes)


DIVERGENCE_RATE = Metric(
    name="divergence_rate",
    title="divergence rate",
    unit="fraction",
    better="less",
    phase=Phase.SENSITIVITY,
    formula="share of trials that diverged, over the design or, in the confirmation, over seeds",
    source="ICH E9(R1) 2019, composite strategy for intercurrent events",
    contrast=_contrast,
)
