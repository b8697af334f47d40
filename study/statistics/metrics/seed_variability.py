"""M10: how much the loss of the tuned configuration depends on the seed alone."""

import pandas as pd

from study.records import Phase
from study.statistics.contrast import Contrast
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import SEED, Values, confirmed_rows, contrast, mean_by
from study.statistics.trials import Trials


def seed_abs_dev(rows: pd.DataFrame) -> pd.Series:
    """Distance of each seed's capped loss from the family's median, |l_s - median l|.

    Its paired test is a Brown-Forsythe test for two families on the same seeds; the ratio of variances of Pitman and
    Morgan has a type-I error of .13 to .25 where losses are heavy-tailed or skewed.
    Source: Brown and Forsythe 1974.

    Args:
        rows: confirmation trials of one family.

    Returns:
        Nats per seed, in the order of the rows; several trials of a seed are averaged first.
    """
    losses = mean_by(rows["capped"], rows, SEED)
    return (losses - losses.median()).abs()


def _contrast(trials: Trials, question: Question) -> Contrast:
    rows = confirmed_rows(trials, question)
    values = Values(a=seed_abs_dev(rows.a), b=seed_abs_dev(rows.b))
    return contrast(values, better="less", unit=SEED, notes=rows.notes)


SEED_ABS_DEV = Metric(
    name="seed_abs_dev",
    title="variability between seeds",
    unit="nats",
    better="less",
    phase=Phase.CONFIRMATION,
    formula="mean over seeds of |loss - median loss| of the tuned configuration",
    source="Brown and Forsythe 1974, Robust Tests for the Equality of Variances",
    contrast=_contrast,
)
