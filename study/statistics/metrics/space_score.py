"""M3: how much of the reachable gain a family reaches on average over its space."""

import pandas as pd

from study.records import Phase
from study.statistics.contrast import Contrast, NotEvaluableError, paired_rows
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import (
    REPLICATE,
    Values,
    contrast,
    design_rows,
    gain,
    mean_by,
    two_families,
)
from study.statistics.trials import Trials


def space_score(rows: pd.DataFrame, reachable: float) -> pd.Series:
    """Mean over the design points of (l0 - min(l, l0)) / (l0 - l_ref): 0 untrained, 1 as good as the reference.

    Source: the cap of Wortsman et al. 2023; normalised scores as in Agarwal et al. 2021, whose optimality gap is
    1 minus this where no trial beats the reference.

    Args:
        rows: trials of one family's design.
        reachable: l0 - l_ref in nats, the same for both families.

    Returns:
        Score per replicate, without unit.
    """
    return mean_by(gain(rows), rows, REPLICATE) / reachable


def reachable_gain(trials: Trials, family: str, workload: str) -> float:
    """Loss at initialisation minus the family's best confirmed loss, in nats.

    The best is the lowest mean of capped losses over seeds among the configurations that were confirmed.

    Raises:
        NotEvaluableError: the family has no confirmation trials, or they do not improve on the initialisation.
    """
    rows = paired_rows(trials, family, "", phase=Phase.CONFIRMATION, workload=workload).a
    by_configuration = gain(rows).groupby(rows["point"]).mean()
    reachable = float(by_configuration.max())
    if not reachable > 0:
        raise NotEvaluableError(
            f"family {family} does not improve on the loss at initialisation, so there is no gain to score against"
        )
    return reachable


def _contrast(trials: Trials, question: Question) -> Contrast:
    _, baseline = two_families(question)
    rows = design_rows(trials, question)
    reachable = reachable_gain(trials, baseline, question.workload)
    values = Values(a=space_score(rows.a, reachable), b=space_score(rows.b, reachable))
    return contrast(values, better="greater", unit=REPLICATE, notes=rows.notes)


SPACE_SCORE = Metric(
    name="space_score",
    title="average score over the space",
    unit="score",
    better="greater",
    phase=Phase.SENSITIVITY,
    formula="mean over the design of (l0 - min(l, l0)) / (l0 - l_ref), l_ref family b's best confirmed loss",
    source="Wortsman et al. 2023; Agarwal et al. 2021",
    contrast=_contrast,
)
