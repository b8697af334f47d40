"""How the loss moves along a factor: least-squares slope of the capped loss over the logarithm of the level.

Per replicate r, slope_r = sum_i (x_i - mean x)(y_i - mean y) / sum_i (x_i - mean x)^2 with x = log2(level) for
a factor of whole numbers (nats per doubling) and log10(level) for a factor of reals (nats per decade). Replicates are
independent, so their slopes are a sample, and no assumption on the errors within a replicate is needed.

Orientation. A falling loss is good: with family b the differences are slope_b - slope_a, above 0 where a's loss
falls faster than b's, or where the gain of a over b grows along the factor; without b they are -slope_a, above 0 where
a's loss falls.

It is read on the factor's slice, over the levels that both families have, or with `phase: sensitivity` over the points
of the design, where the other hyperparameters vary too and a claim may be `at` matched hyperparameters.

Source: Draper and Smith 1998, ch. 1; paired slopes as in Senn 2002, ch. 5 (summary measures).
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from study.records import Phase
from study.statistics.contrast import Contrast, NotEvaluableError, difference, paired_rows
from study.statistics.metrics.factor_slice import factor_name, levels_of, slice_losses
from study.statistics.metrics.metric import Metric, Question
from study.statistics.trials import Trials

_PHASES = frozenset({"", Phase.FACTOR_SLICE, Phase.SENSITIVITY})


def factor_slope(rows: pd.DataFrame, *, factor: str, base: int) -> pd.Series:
    """Slope of the capped loss over the logarithm of a factor.

    Args:
        rows: checked rows of one family.
        factor: the hyperparameter along which the loss is followed.
        base: 2 for nats per doubling, 10 for nats per decade.

    Returns:
        One slope per replicate; NaN where a replicate has one level alone.

    Raises:
        NotEvaluableError: a level is no number above 0.
    """
    table = rows[["replicate", "capped"]].assign(level=levels_of(rows, factor))
    return _slopes(table, factor, base)


def _slopes(table: pd.DataFrame, factor: str, base: int) -> pd.Series:
    """Slopes of a long table: `replicate`, `capped`, `level`."""
    level = pd.to_numeric(table["level"], errors="coerce")
    if not (level > 0).all():
        raise NotEvaluableError(f"a trend needs levels above 0, and {factor} has others")
    by = table["replicate"]
    x = np.log(level) / np.log(base)
    x = x - x.groupby(by).transform("mean")
    y = table["capped"] - table["capped"].groupby(by).transform("mean")
    spread = (x**2).groupby(by).sum()
    slopes: pd.Series = (x * y).groupby(by).sum() / spread.where(spread > np.finfo(float).eps)
    return slopes


def _base(levels: Iterable[object], factor: str) -> int:
    """2 where every level is a whole number, else 10."""
    numbers = pd.to_numeric(pd.Series(list(levels)), errors="coerce")
    if numbers.isna().any():
        raise NotEvaluableError(f"a trend needs levels that are numbers, and {factor} has others")
    return 2 if (numbers == numbers.round()).all() else 10


def _on_slice(trials: Trials, question: Question) -> tuple[list[pd.Series], int, str, tuple[str, ...]]:
    """Slopes of each family over the shared levels of the factor's slice."""
    losses = slice_losses(trials, question)
    base = _base(losses.a.columns, losses.factor)
    slopes = [
        _slopes(
            wide.reset_index().melt("replicate", var_name="level", value_name="capped"), losses.factor, base
        )
        for wide in (losses.a, losses.b)
        if not wide.empty
    ]
    return slopes, base, losses.factor, losses.notes


def _on_design(trials: Trials, question: Question) -> tuple[list[pd.Series], int, str, tuple[str, ...]]:
    """Slopes of each family over the points of the space design."""
    comparison = question.comparison
    rows = paired_rows(
        trials,
        comparison.a,
        comparison.b,
        phase=Phase.SENSITIVITY,
        workload=question.workload,
        b_slice=question.claim if comparison.at is not None else None,
        where=question.part.where,
    )
    factor = factor_name(trials, question)
    sides = [side for side in (rows.a, rows.b) if not side.empty]
    base = _base(pd.concat([levels_of(side, factor) for side in sides]).unique(), factor)
    return [factor_slope(side, factor=factor, base=base) for side in sides], base, factor, rows.notes


def _contrast(trials: Trials, question: Question) -> Contrast:
    phase = question.part.phase
    if phase not in _PHASES:
        raise NotEvaluableError(f"a trend is read in the phases factor_slice and sensitivity, not in {phase}")
    read = _on_design if phase == Phase.SENSITIVITY else _on_slice
    slopes, base, factor, notes = read(trials, question)
    table = pd.concat(slopes, axis=1)
    known = table.dropna()
    if known.empty:
        raise NotEvaluableError(f"no replicate has two levels of {factor}, so there is no trend")
    if len(known) < len(table):
        number = len(table) - len(known)
        notes = (*notes, f"{number} of {len(table)} replicates have one level of {factor} and are left out.")
    a = known.iloc[:, 0]
    b = known.iloc[:, 1] if len(slopes) > 1 else None
    step = "doubling" if base == 2 else "factor of ten"  # noqa: PLR2004
    return Contrast(
        differences=-a if b is None else difference(a, b, better="less"),
        unit="replicate",
        a_values=a,
        b_values=b,
        notes=(*notes, f"Slopes are in nats per {step} of {factor}."),
    )


FACTOR_TREND = Metric(
    name="factor_trend",
    title="trend of the loss",
    unit="nats per doubling",
    better="less",
    phase=Phase.FACTOR_SLICE,
    formula="least-squares slope of the capped loss over log2 (reals: log10) of the level",
    source="Draper and Smith 1998; Senn 2002 (summary measures)",
    needs=("factor",),
    contrast=_contrast,
)
