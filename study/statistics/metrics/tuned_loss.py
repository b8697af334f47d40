"""M1: the loss of the tuned configuration."""

import pandas as pd

from study.records import Phase
from study.statistics.contrast import Contrast
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import SEED, Values, confirmed_rows, contrast, mean_by
from study.statistics.trials import Trials


def tuned_loss(rows: pd.DataFrame) -> pd.Series:
    """Capped loss min(l, l0) of a family's tuned configuration.

    Source: Bouthillier et al. 2021 (fresh seeds for every source of variation), Colas et al. 2018.

    Args:
        rows: confirmation trials of one family.

    Returns:
        Nats per seed, in the order of the rows; the mean where a seed has several trials.
    """
    return mean_by(rows["capped"], rows, SEED)


def _contrast(trials: Trials, question: Question) -> Contrast:
    rows = confirmed_rows(trials, question)
    values = Values(a=tuned_loss(rows.a), b=tuned_loss(rows.b))
    return contrast(values, better="less", unit=SEED, notes=rows.notes)


TUNED_LOSS = Metric(
    name="tuned_loss",
    title="loss of the tuned configuration",
    unit="nats",
    better="less",
    phase=Phase.CONFIRMATION,
    formula="mean over seeds of min(loss, loss at initialisation) of the tuned configuration",
    source="Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks",
    may_be_skewed=True,
    contrast=_contrast,
)
