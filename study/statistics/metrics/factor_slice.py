"""One factor varied alone: the losses of two families by replicate and level, on the levels that both have."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from study.records import Phase
from study.statistics.contrast import MISSING_FRAC, NotEvaluableError, paired_rows
from study.statistics.metrics.metric import Question
from study.statistics.trials import Trials

ALIASES = {"experts": "num_experts"}
"""Other words for a factor, tried where the table does not know the word itself."""
_DIGITS = 6
"""Significant digits to which two numbers are one level."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SliceLosses:
    """Capped losses over a factor's levels, everything else as tuned."""

    factor: str
    """Name in the trial table."""
    a: pd.DataFrame
    """Nats, replicates x levels, levels ascending, nothing missing."""
    b: pd.DataFrame
    """Same replicates and levels; no columns for a claim on one family."""
    notes: tuple[str, ...]


def slice_losses(trials: Trials, question: Question) -> SliceLosses:
    """What both families lost at each level of the part's factor.

    Replicates are the pairs: a trial that is lost loses its replicate, since a replicate without a level cannot
    be compared with one that has it.

    Raises:
        NotEvaluableError: the factor has no slice, a rule of integrity is broken, the claim is `at` matched
            hyperparameters (for which no slice is trained), or fewer than two levels are shared.
    """
    comparison, part = question.comparison, question.part
    if comparison.at is not None:
        raise NotEvaluableError(
            "slices of a factor are trained around each family's own tuned configuration, so there are none at "
            "matched hyperparameters"
        )
    factor = factor_name(trials, question)
    rows = paired_rows(
        trials,
        comparison.a,
        comparison.b,
        phase=Phase.FACTOR_SLICE,
        workload=question.workload,
        slice_name=factor,
        pair_on=("replicate",),
        where=part.where,
    )
    a, b = by_level(rows.a, factor), by_level(rows.b, factor)
    if not comparison.b:
        a, notes = _complete(a, a, factor)
        return SliceLosses(factor=factor, a=a, b=b, notes=(*rows.notes, *notes))
    levels, notes = _shared(a, b, factor)
    both, more = _complete(a[levels], b[levels], factor)
    return SliceLosses(factor=factor, a=both, b=b.loc[both.index, levels], notes=(*rows.notes, *notes, *more))


def factor_name(trials: Trials, question: Question) -> str:
    """The part's factor as the trial table spells it."""
    factor = question.part.factor
    frame = trials.frame
    sliced = (frame["phase"] == Phase.FACTOR_SLICE) & (frame["slice"] == factor)
    if sliced.any() or f"param.{factor}" in frame.columns:
        return factor
    return ALIASES.get(factor, factor)


def by_level(rows: pd.DataFrame, factor: str) -> pd.DataFrame:
    """Mean capped loss in nats, replicates x levels, from the rows of one family."""
    if rows.empty:
        return pd.DataFrame()
    table = rows[["replicate", "capped"]].assign(level=levels_of(rows, factor))
    return table.pivot_table(index="replicate", columns="level", values="capped", aggfunc="mean")


def levels_of(rows: pd.DataFrame, factor: str) -> pd.Series:
    """The factor's value of each row: a number to six digits, or else a word.

    Raises:
        NotEvaluableError: the trial table has no such hyperparameter.
    """
    column = f"param.{factor}"
    if column not in rows.columns:
        raise NotEvaluableError(f"the trial table has no column {column!r}, which holds the factor's levels")
    numbers = pd.to_numeric(rows[column], errors="coerce")
    if numbers.notna().all():
        return numbers.map(lambda number: float(f"{number:.{_DIGITS}g}"))
    return rows[column].astype(str)


def _shared(a: pd.DataFrame, b: pd.DataFrame, factor: str) -> tuple[list[Any], tuple[str, ...]]:
    """The levels that both families have, ascending, and what to say of the others."""
    levels = [level for level in a.columns if level in set(b.columns)]
    only_one = [level for level in (*a.columns, *b.columns) if level not in levels]
    if not only_one:
        return levels, ()
    left_out = ", ".join(f"{level:g}" if isinstance(level, float) else str(level) for level in only_one)
    return levels, (f"Levels of {factor} that one family alone has are left out: {left_out}.",)


def _complete(a: pd.DataFrame, b: pd.DataFrame, factor: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Family a's losses in the replicates where both families have every level."""
    num_levels = len(a.columns)
    if num_levels < 2:  # noqa: PLR2004
        raise NotEvaluableError(
            f"a factor is judged over two levels at least, but {num_levels} of {factor} can be compared"
        )
    whole = a.notna().all(axis=1) & b.notna().all(axis=1)
    num_missing = int((~whole).sum())
    if num_missing > MISSING_FRAC * len(whole):
        raise NotEvaluableError(
            f"{num_missing} of {len(whole)} replicates lack a level of {factor}, more than 2 %"
        )
    notes = (
        (f"{num_missing} of {len(whole)} replicates lack a level of {factor} and are left out.",)
        if num_missing
        else ()
    )
    return a[whole], notes
