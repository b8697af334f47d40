"""H17: what a tuned adapter loses when it is perturbed at inference (experts dropped, weights quantised, ...)."""

import numpy as np
import pandas as pd

from study.records import Outcome, Phase
from study.statistics.contrast import MISSING_FRAC, Contrast, NotEvaluableError
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import SEED, Values, confirmed_rows, contrast, mean_by
from study.statistics.trials import Trials

_PREFIX, _LOSS, _ACCURACY = "perturbed.", "loss", "accuracy"


def perturbation_drop(rows: pd.DataFrame, *, perturbation: str, of: str) -> pd.Series:
    """What one perturbation takes from each seed's adapter; above 0 it harms.

    Loss: min(perturbed loss, l0) - min(loss, l0), so that an adapter worse than none has lost its whole gain and no
    more. Accuracy: accuracy - perturbed accuracy. A diverged trial has nothing to lose: its drop is 0.

    Args:
        rows: confirmation trials of one family.
        perturbation: name in the columns `perturbed.<name>.loss` and `perturbed.<name>.accuracy`.
        of: `loss` or `accuracy`.

    Returns:
        Nats, or a fraction for accuracy, per seed; NaN where a finished trial was not measured.
    """
    perturbed = rows[f"{_PREFIX}{perturbation}.{of}"].astype("float64")
    if of == _LOSS:
        drop = perturbed.clip(upper=rows["init_value"].fillna(np.inf)) - rows["capped"]
    else:
        drop = rows["report_accuracy"].astype("float64") - perturbed
    return mean_by(drop.mask(rows["outcome"] == Outcome.DIVERGED, 0.0), rows, SEED)


def _contrast(trials: Trials, question: Question) -> Contrast:
    part = question.part
    _check_columns(trials, part.perturbation, part.of)
    rows = confirmed_rows(trials, question)
    a, b = (
        perturbation_drop(side, perturbation=part.perturbation, of=part.of).replace(np.inf, np.nan)
        for side in (rows.a, rows.b)
    )
    measured = a.notna() & b.loc[a.index].notna()
    num_missing = int((~measured).sum())
    if num_missing > MISSING_FRAC * len(a):
        raise NotEvaluableError(
            f"{num_missing} of {len(a)} seeds were not measured under {part.perturbation}, more than 2 %"
        )
    notes = rows.notes
    if num_missing:
        notes = (*notes, f"{num_missing} of {len(a)} seeds were not measured perturbed and are left out.")
    if part.of == _ACCURACY:
        notes = (*notes, "Drops are fractions of the rows that were answered correctly, not nats.")
    failed = [int((side["outcome"] == Outcome.DIVERGED).sum()) for side in (rows.a, rows.b)]
    if sum(failed):
        names = (question.comparison.a, question.comparison.b)
        counted = " and ".join(f"{number} of {name}" for number, name in zip(failed, names, strict=True))
        notes = (*notes, f"Diverged trials ({counted}) count with no drop, since they have nothing to lose.")
    return contrast(Values(a=a[measured], b=b), better="less", unit=SEED, notes=notes)


def _check_columns(trials: Trials, perturbation: str, of: str) -> None:
    if of not in {_LOSS, _ACCURACY}:
        raise NotEvaluableError(f"a perturbation changes the loss or the accuracy, not {of!r}")
    needed = [f"{_PREFIX}{perturbation}.{of}"] + (["report_accuracy"] if of == _ACCURACY else [])
    missing = [name for name in needed if name not in trials.frame.columns]
    if not missing:
        return
    suffix = f".{of}"
    known = sorted(
        str(name).removeprefix(_PREFIX).removesuffix(suffix)
        for name in trials.frame.columns
        if str(name).startswith(_PREFIX) and str(name).endswith(suffix)
    )
    raise NotEvaluableError(
        f"the trial table has no column {missing[0]!r}; perturbations it has: {', '.join(known) or 'none'}"
    )


PERTURBATION_DROP = Metric(
    name="perturbation_drop",
    title="drop",
    unit="nats",
    better="less",
    phase=Phase.CONFIRMATION,
    formula="mean over seeds of min(perturbed loss, l0) - min(loss, l0); of accuracy: accuracy - perturbed accuracy",
    source="Hendrycks and Dietterich 2019 (drop under corruption), applied to the adapter",
    needs=("perturbation",),
    contrast=_contrast,
)
