"""M4: the share of a family's space that reaches a target loss."""

import pandas as pd

from study.records import Phase
from study.statistics.contrast import Contrast
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import (
    REPLICATE,
    Values,
    check_reached,
    contrast,
    design_rows,
    mean_by,
    target_loss,
)
from study.statistics.trials import Trials


def usable_mass(rows: pd.DataFrame, tau: float) -> pd.Series:
    """F(tau) = P(min(l, l0) <= tau) over the space and the seeds.

    Source: the performance profile of Dolan & Moré 2002 and Agarwal et al. 2021, at one target.

    Args:
        rows: trials of one family's design.
        tau: target in nats.

    Returns:
        Fraction of the design's points per replicate.
    """
    return mean_by((rows["capped"] <= tau).astype(float), rows, REPLICATE)


def _contrast(trials: Trials, question: Question) -> Contrast:
    tau = target_loss(question)
    rows = design_rows(trials, question)
    check_reached(rows, tau)
    values = Values(a=usable_mass(rows.a, tau), b=usable_mass(rows.b, tau))
    return contrast(values, better="greater", unit=REPLICATE, notes=rows.notes)


USABLE_MASS = Metric(
    name="usable_mass",
    title="usable share of the space",
    unit="fraction",
    better="greater",
    phase=Phase.SENSITIVITY,
    formula="share of the design with min(l, l0) <= tau",
    source="Dolan & Moré 2002; Agarwal et al. 2021",
    needs=("tau",),
    contrast=_contrast,
)
