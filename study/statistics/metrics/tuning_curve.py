"""M11: what a family reaches when only k trials may be spent on tuning it.

The first k points of a replicate's design are a search of k trials. The point with the least select loss is chosen,
and its report loss counts, so that the choice flatters nobody. Replicates are independent searches: no resampling of
one search, whose intervals cover .38 to .91 instead of .95 where k is not far below its size.
"""

import numpy as np
import pandas as pd

from study.records import Outcome, Phase
from study.statistics.contrast import Contrast, NotEvaluableError
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import REPLICATE, Values, contrast, design_rows
from study.statistics.trials import Trials


def tuning_curve(rows: pd.DataFrame, *, k: int) -> pd.Series:
    """Capped report loss of the point that k trials of tuning would choose.

    V(k) = E[l^c of argmin over the first k points of v], v the select loss. A diverged trial is chosen last, a trial
    without a select loss before those; of equals, the earlier point.
    Source: Dodge et al. 2019; Sivaprasad et al. 2020.

    Args:
        rows: checked trials of one family's design.
        k: trials that may be spent, 1 or more.

    Returns:
        Nats per replicate; replicates with fewer than k points are left out.
    """
    diverged = rows["outcome"] == Outcome.DIVERGED
    known = np.isfinite(rows["select_value"]) & ~diverged
    ordered = rows.assign(_rank=rows["select_value"].where(known, np.inf), _last=diverged).sort_values(
        "point"
    )
    first = ordered.groupby(REPLICATE).head(k)
    whole = first.groupby(REPLICATE)["capped"].transform("size") == k
    best = first[whole].sort_values(["_rank", "_last", "point"]).groupby(REPLICATE).head(1)
    return best.set_index(REPLICATE)["capped"].sort_index()


def _contrast(trials: Trials, question: Question) -> Contrast:
    k = question.part.k
    if k is None or k < 1:
        raise NotEvaluableError("metric tuning_curve needs k, the number of trials that tuning may spend")
    rows = design_rows(trials, question)
    for family, side in ((question.comparison.a, rows.a), (question.comparison.b, rows.b)):
        if not np.isfinite(side["select_value"]).any():
            raise NotEvaluableError(f"no trial of family {family} has a select loss, by which tuning chooses")
    values = Values(a=tuning_curve(rows.a, k=k), b=tuning_curve(rows.b, k=k))
    num_replicates = rows.a[REPLICATE].nunique()
    if values.a.empty:
        raise NotEvaluableError(f"no replicate has the {k} points that a budget of k = {k} needs")
    notes = rows.notes
    if len(values.a) < num_replicates:
        number = num_replicates - len(values.a)
        notes = (
            *notes,
            f"{number} of {num_replicates} replicates have fewer than {k} points and are left out.",
        )
    return contrast(values, better="less", unit=REPLICATE, notes=notes)


TUNING_CURVE = Metric(
    name="tuning_curve",
    title="loss after a search",
    unit="nats",
    better="less",
    phase=Phase.SENSITIVITY,
    formula="mean over replicates of the capped report loss of the best of the first k points by select loss",
    source="Dodge et al. 2019, Show Your Work; Sivaprasad et al. 2020, Optimizer Benchmarking Needs Tuning",
    needs=("k",),
    contrast=_contrast,
)
