"""M2: how often the tuned configuration of one family beats the other's on the same seed."""

import numpy as np
import pandas as pd

from study.records import Phase
from study.statistics.contrast import Contrast
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import SEED, confirmed_rows
from study.statistics.metrics.tuned_loss import tuned_loss
from study.statistics.trials import Trials


def wins(a: pd.Series, b: pd.Series) -> pd.Series:
    """Whether a's loss is below b's: 1, 0, or 1/2 where they are equal.

    Its mean is P(l_a < l_b) + P(l_a = l_b) / 2. Source: Bouthillier et al. 2021; Agarwal et al. 2021 call the
    unpaired form the probability of improvement.

    Args:
        a: capped loss in nats per seed.
        b: the same of the other family, on the same seeds.

    Returns:
        One score per seed, in a's order.
    """
    ahead = (b.loc[a.index] - a).to_numpy(dtype="float64")
    return pd.Series((np.sign(ahead) + 1.0) / 2.0, index=a.index)


def _contrast(trials: Trials, question: Question) -> Contrast:
    rows = confirmed_rows(trials, question)
    scores = wins(tuned_loss(rows.a), tuned_loss(rows.b))
    return Contrast(differences=scores, unit=SEED, null=0.5, binary=True, notes=rows.notes)


WIN_PROBABILITY = Metric(
    name="win_probability",
    title="probability of the lower tuned loss",
    unit="fraction",
    better="greater",
    phase=Phase.CONFIRMATION,
    formula="share of seeds with loss_a < loss_b, a tie counted half",
    source="Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks",
    contrast=_contrast,
)
