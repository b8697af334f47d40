"""Two families on the same units: the rows that a metric reads, and the paired differences that a test reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from study.records import Outcome, Phase
from study.statistics.claims import Range
from study.statistics.trials import LOST, NOT_ENDED, Trials

MISSING_FRAC = 0.02
"""Share of planned pairs that may be missing after retries."""
LOSS_P = 0.01
"""Fisher p below which one family was lost to its surroundings more often than the other."""


class NotEvaluableError(Exception):
    """A rule is broken, so that the data cannot decide; the message is one sentence without its full stop."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """Paired differences of two families, oriented so that above `null` favours family a."""

    differences: pd.Series
    """One finite number per unit, indexed by the unit."""
    unit: str
    """`replicate` or `seed`."""
    null: float = 0.0
    """The value of no difference: 0, or 1/2 for a probability."""
    binary: bool = False
    """Whether every difference is 0, 1/2 or 1: a win probability."""
    a_values: pd.Series | None = None
    """Family a's own value per unit, where the metric has one."""
    b_values: pd.Series | None = None
    anchors: tuple[pd.Series, ...] = ()
    """Further series of differences that must agree (intersection-union)."""
    notes: tuple[str, ...] = ()
    """What a reader must know, one sentence each."""

    @property
    def scale(self) -> float:
        """What a relative margin is a fraction of: the size of family b's mean."""
        if self.b_values is None or self.b_values.empty:
            raise NotEvaluableError("a relative margin needs a family to relate to, and this metric has none")
        scale = abs(float(self.b_values.mean()))
        if not scale > 0:
            raise NotEvaluableError("a relative margin needs a reference, but family b's mean is 0")
        return scale


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The analysed rows of two families on the same units."""

    a: pd.DataFrame
    b: pd.DataFrame
    """Empty for a claim on one family."""
    notes: tuple[str, ...] = field(default=())


def paired_rows(
    trials: Trials,
    a: str,
    b: str,
    *,
    phase: str,
    workload: str,
    slice_name: str = "",
    pair_on: tuple[str, ...] = ("replicate", "point", "seed"),
    b_slice: str | None = None,
    where: Mapping[str, Range] | None = None,
) -> Rows:
    """The rows of both families that share units, after every rule of integrity.

    Args:
        trials: the table.
        a: family claimed.
        b: family compared; empty for none.
        phase: where to look; never the search, whose trials are stopped early.
        workload: which one.
        slice_name: empty, `lr` or a factor.
        pair_on: columns that must agree within a pair.
        b_slice: slice of family b where it differs.
        where: keep family a's rows within these ranges, and their pairs.

    Raises:
        NotEvaluableError: no such workload, no trials, trials stopped early or lost beyond 2 % of pairs, unpaired
            families, losses that differ between families, or a diverged trial whose loss at initialisation is
            unknown.
    """
    if phase == Phase.SEARCH:
        raise NotEvaluableError("search trials are stopped early, so nothing may be inferred from them")
    if workload not in trials.workloads:
        raise NotEvaluableError(
            f"the trial table has no workload {workload!r}, only {', '.join(map(repr, trials.workloads))}"
        )
    sides = {
        side: trials.rows(family=family, phase=phase, slice_name=name, workload=workload)
        for side, family, name in (("a", a, slice_name), ("b", b, slice_name if b_slice is None else b_slice))
        if family
    }
    sides["a"] = _within(sides["a"], where or {})
    for side, family in (("a", a), ("b", b)):
        if family and sides[side].empty:
            within = f" in slice {slice_name!r}" if slice_name else ""
            raise NotEvaluableError(f"there are no {phase} trials of family {family}{within}")
    for family, rows in zip((a, b), sides.values(), strict=False):
        stopped = int((rows["outcome"] == Outcome.STOPPED).sum())
        if stopped:
            raise NotEvaluableError(
                f"{stopped} {phase} trials of family {family} were stopped early, and a stopped trial has no final loss"
            )
    if not b:
        rows, notes = _whole(sides["a"], pair_on, a)
        return Rows(a=_capped(rows, a), b=rows.iloc[:0], notes=notes)
    _check_losses(sides["a"], sides["b"], a, b)
    left, right, notes = _matched(sides["a"], sides["b"], pair_on, a, b, restricted=bool(where))
    return Rows(a=_capped(left, a), b=_capped(right, b), notes=notes)


def difference(a: pd.Series, b: pd.Series, *, better: str) -> pd.Series:
    """Paired differences by unit: above 0 favours a."""
    return (b - a) if better == "less" else (a - b)


def _within(rows: pd.DataFrame, where: Mapping[str, Range]) -> pd.DataFrame:
    for role, limits in where.items():
        column = f"param.{role}"
        if column not in rows.columns:
            raise NotEvaluableError(f"the trial table has no column {column!r}, which `where` needs")
        numbers = pd.to_numeric(rows[column], errors="coerce")
        rows = rows[(numbers >= limits.low) & (numbers <= limits.high)]
    return rows


def _matched(
    a: pd.DataFrame, b: pd.DataFrame, pair_on: tuple[str, ...], name_a: str, name_b: str, *, restricted: bool
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Both sides without the units that lack something; more than 2 % of missing trials make the data undecidable."""
    on = list(pair_on)
    if restricted:
        b = b[_keys(b, on).isin(_keys(a, on))]
    a, b, notes = _ended(a, b, on)
    keys_a, keys_b = _keys(a, on), _keys(b, on)
    lacks_a = a["outcome"].isin(LOST).to_numpy() | ~keys_a.isin(keys_b)
    lacks_b = b["outcome"].isin(LOST).to_numpy() | ~keys_b.isin(keys_a)
    good = keys_a.intersection(keys_b).unique().difference(keys_a[lacks_a].union(keys_b[lacks_b]))
    if len(good) == 0:
        raise NotEvaluableError(
            f"families {name_a} and {name_b} share no {' and '.join(on)}, and unpaired families are not compared"
        )
    num_missing, num_planned = int(lacks_a.sum() + lacks_b.sum()), max(len(a), len(b))
    if num_missing > MISSING_FRAC * num_planned:
        raise NotEvaluableError(
            f"{num_missing} of {num_planned} planned pairs of {name_a} and {name_b} lack a half, more than 2 %"
        )
    if num_missing:
        notes += (f"{num_missing} of {num_planned} planned pairs lack a half and are left out.",)
    return a[keys_a.isin(good)], b[keys_b.isin(good)], notes


def _keys(rows: pd.DataFrame, on: list[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[on])


def _ended(
    a: pd.DataFrame, b: pd.DataFrame, on: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Both sides without the units that are still to come, which are not missing."""
    coming = [_keys(side, on)[side["outcome"].isin(NOT_ENDED).to_numpy()] for side in (a, b)]
    awaited = coming[0].union(coming[1]).unique()
    if awaited.empty:
        return a, b, ()
    note = f"{len(awaited)} planned units have not ended yet and are not read."
    return a[~_keys(a, on).isin(awaited)], b[~_keys(b, on).isin(awaited)], (note,)


def _whole(rows: pd.DataFrame, pair_on: tuple[str, ...], name: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    on = list(pair_on)
    rows, _, notes = _ended(rows, rows.iloc[:0], on)
    lost = rows["outcome"].isin(LOST).to_numpy()
    keys = _keys(rows, on)
    kept = ~keys.isin(keys[lost])
    num_lost = int(lost.sum())
    if num_lost > MISSING_FRAC * len(rows) or not kept.any():
        raise NotEvaluableError(f"{num_lost} of {len(rows)} planned trials of {name} are lost, more than 2 %")
    if num_lost:
        notes += (f"{num_lost} of {len(rows)} planned trials are lost, and their units left out.",)
    return rows[kept], notes


def _check_losses(a: pd.DataFrame, b: pd.DataFrame, name_a: str, name_b: str) -> None:
    """A family that is lost to its surroundings more often than another is not missing at random."""
    lost = [int(side["outcome"].isin(LOST).sum()) for side in (a, b)]
    kept = [len(side) - number for side, number in zip((a, b), lost, strict=True)]
    if sum(lost) == 0:
        return
    p = float(stats.fisher_exact(np.array([lost, kept])).pvalue)
    if p < LOSS_P:
        raise NotEvaluableError(
            f"{name_a} lost {lost[0]} and {name_b} {lost[1]} trials to their surroundings, which differs by more "
            f"than chance (Fisher p = {p:.2g})"
        )


def _capped(rows: pd.DataFrame, family: str) -> pd.DataFrame:
    if rows["capped"].isna().any():
        raise NotEvaluableError(
            f"a diverged trial of family {family} has no loss, since no trial tells the loss at initialisation"
        )
    return rows
