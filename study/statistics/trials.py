"""The trial table, checked: what every metric reads.

One row a trial; the columns are those of `study.trial_table.trial_table`. Failure is an outcome, not missing
data: a finished trial counts with its capped loss min(loss, loss at initialisation), a diverged one with the loss at
initialisation.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np
import pandas as pd

from search_spaces.errors import SpecError, cut, unknown
from study.records import Outcome, Phase

KEY = ("workload", "phase", "slice", "family", "replicate", "point", "seed")
"""What names a trial; two different rows of one name contradict each other."""
RESULTS = ("value", "select_value", "init_value", "outcome", "steps", "device_seconds")
COLUMNS = (*KEY, *RESULTS)
"""The columns that a trial table must have, `param.<name>` aside."""
NUMBERS = ("value", "select_value", "init_value", "steps", "device_seconds")
NOT_ENDED = frozenset({"", "planned", "pending", "running"})
LOST = frozenset({Outcome.OUT_OF_MEMORY.value, Outcome.INFRA_FAILED.value, Outcome.CANCELLED.value})


@dataclass(frozen=True, kw_only=True, eq=False)
class Trials:
    """A trial table that keeps the rules."""

    frame: pd.DataFrame
    """One row a trial, sorted by name, with a column `capped`: capped loss in nats, NaN for a trial without one."""
    curves: pd.DataFrame
    """One row a measurement: `trial`, `step`, `value` (select loss in nats); empty where there are none."""
    num_duplicates: int
    """Identical rows that were dropped."""
    notes: tuple[str, ...] = ()
    """What a reader must know of how the table was read, one sentence each."""

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Families in the order of their first appearance in the table as given."""
        return tuple(dict.fromkeys(self.frame.sort_values("_order")["family"]))

    @cached_property
    def workloads(self) -> tuple[str, ...]:
        """Workloads in alphabetical order."""
        return tuple(sorted(set(self.frame["workload"])))

    def rows(self, *, family: str, phase: str, slice_name: str = "", workload: str) -> pd.DataFrame:
        """The trials of one family in one phase of one workload, in order of replicate and point."""
        frame = self.frame
        chosen = (
            (frame["family"] == family)
            & (frame["phase"] == phase)
            & (frame["slice"] == slice_name)
            & (frame["workload"] == workload)
        )
        return frame[chosen]


def read_trials(
    frame: pd.DataFrame, curves: pd.DataFrame | None = None, *, source: str = "trial table"
) -> Trials:
    """Check a trial table.

    Args:
        frame: one row a trial, in any order of rows and columns.
        curves: optional measurements: `trial`, `step` and `value` or `select_loss_nats`.
        source: what to call the table in messages.

    Raises:
        SpecError: a column is missing, a cell is no number, a phase or an outcome is unknown, or two rows of one
            name differ.
    """
    _require_columns(frame, source)
    if frame.empty:
        raise SpecError(
            f"{source} has no rows, and without trials nothing can be said: check how it was written."
        )
    table = frame.reset_index(drop=True).copy()
    for name in ("workload", "phase", "slice", "family", "outcome"):
        table[name] = table[name].map(lambda value: "" if pd.isna(value) else str(value))
    for name in ("replicate", "point", "seed"):
        table[name] = _whole_numbers(table[name], name, source)
    for name in NUMBERS:
        table[name] = _numbers(table[name], name, source)
    _check_words(table, source)
    _check_amounts(table, source)
    table["_order"] = np.arange(len(table))
    whole = len(table)
    names = [str(name) for name in table.columns if name != "_order"]
    table = table.drop_duplicates(subset=names)
    _refuse_conflicts(table, source)
    table, notes = _with_capped_loss(table)
    return Trials(
        frame=table.sort_values(list(KEY), kind="stable").reset_index(drop=True),
        curves=_checked_curves(curves),
        num_duplicates=whole - len(table),
        notes=notes,
    )


def _require_columns(frame: pd.DataFrame, source: str) -> None:
    missing = next((name for name in COLUMNS if name not in frame.columns), None)
    if missing is None:
        return
    alike = [name for name in map(str, frame.columns) if name.strip().lower() == missing]
    way = f"rename {alike[0]!r}" if alike else "add it"
    raise SpecError(f"{source} has no column {missing!r}, which every trial needs: {way}.")


def _numbers(column: pd.Series, name: str, source: str) -> pd.Series:
    """A column as float64; an empty cell is NaN."""
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        raise SpecError(f"{source}, row 1: {name} is {column.iloc[0]}, which is no number: correct it.")
    blank = column.map(lambda value: pd.isna(value) or (isinstance(value, str) and not value.strip()))
    numbers = pd.to_numeric(column.where(~blank), errors="coerce").astype("float64")
    wrong = (
        numbers.isna()
        & ~blank
        & ~column.map(lambda value: str(value).strip().lower() in {"nan", "+nan", "-nan"})
    )
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise SpecError(
            f"{source}, row {row + 1}: {name} is {cut(repr(column.iloc[row]))}, which is no number: correct it."
        )
    return numbers


def _whole_numbers(column: pd.Series, name: str, source: str) -> pd.Series:
    """A column of whole numbers as int64, kept exact beyond 2^53; an empty cell is 0."""
    if pd.api.types.is_integer_dtype(column) and not column.isna().any():
        return column.astype("int64")

    def whole(row: int, value: object) -> int:
        if bool(pd.isna(value)) or not str(value).strip():  # type: ignore[call-overload]
            return 0
        exact = _exact(str(value).strip())
        if exact is None:
            raise SpecError(
                f"{source}, row {row}: {name} is {cut(repr(value))}, but must be a whole number: "
                "correct it, with all its digits."
            )
        return exact

    numbers = [whole(row, value) for row, value in enumerate(column, 1)]
    return pd.Series(numbers, index=column.index, dtype="int64")


def _exact(text: str) -> int | None:
    """A whole number below 2^63 from its digits; None for all else, a large one that was rounded included."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        return None
    if not number.is_finite() or number.adjusted() >= len(str(2**63)):
        return None
    exact = int(number)
    is_rounded = "e" in text.lower() and abs(exact) >= 2**53
    return exact if number == exact and abs(exact) < 2**63 and not is_rounded else None


def _check_words(table: pd.DataFrame, source: str) -> None:
    for name, known, optional in (("phase", list(Phase), frozenset()), ("outcome", list(Outcome), NOT_ENDED)):
        words = {word.value for word in known}
        for word in table[name].unique():
            if word not in words and word not in optional:
                raise unknown(f"{name} in {source}", word, sorted(words))
    unnamed = table["family"] == ""
    if unnamed.any():
        raise SpecError(
            f"{source}, row {int(unnamed.to_numpy().argmax()) + 1}: family is empty: name the trial's optimizer family."
        )


def _check_amounts(table: pd.DataFrame, source: str) -> None:
    """Refuse counts and times below 0, and times without an end."""
    for name in ("replicate", "point", "steps", "device_seconds"):
        numbers = table[name].to_numpy()
        wrong = (numbers < 0) | np.isinf(numbers)
        if wrong.any():
            row = int(wrong.argmax())
            raise SpecError(
                f"{source}, row {row + 1}: {name} is {table[name].iloc[row]:g}, but must be a finite number from 0 on: "
                "correct it."
            )


def _refuse_conflicts(table: pd.DataFrame, source: str) -> None:
    """Two different rows of one name; search trials are told apart by their point alone."""
    twice = table.duplicated(subset=list(KEY), keep=False)
    if not twice.any():
        return
    first = table[twice].iloc[0]
    raise SpecError(
        f"{source} has two different rows for family {first['family']}, phase {first['phase']}, "
        f"slice {first['slice']!r}, replicate {first['replicate']}, point {first['point']}, seed {first['seed']}: "
        "keep the one that is true."
    )


def _with_capped_loss(table: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with `capped`; a diverged trial without a loss at initialisation takes its workload's median."""
    notes = []
    finished = (table["outcome"] == Outcome.FINISHED).to_numpy()
    broken = finished & ~np.isfinite(table["value"].to_numpy())
    if broken.any():
        table.loc[broken, "outcome"] = Outcome.DIVERGED.value
        notes.append(f"{int(broken.sum())} finished trials without a finite loss count as diverged.")
    known = table["init_value"].where(np.isfinite(table["init_value"]))
    init = known.fillna(known.groupby(table["workload"]).transform("median"))
    outcome = table["outcome"]
    table["init_value"] = init
    capped = table["value"].clip(upper=init.fillna(np.inf)).where(outcome == Outcome.FINISHED)
    table["capped"] = capped.where(outcome != Outcome.DIVERGED, init)
    return table, tuple(notes)


def _checked_curves(curves: pd.DataFrame | None) -> pd.DataFrame:
    empty = pd.DataFrame(
        {"trial": pd.Series(dtype=str), "step": pd.Series(dtype=float), "value": pd.Series(dtype=float)}
    )
    if curves is None or curves.empty:
        return empty
    table = curves.rename(columns={"select_loss_nats": "value"}) if "value" not in curves.columns else curves
    for name in ("trial", "step", "value"):
        if name not in table.columns:
            raise SpecError(
                f"The table of curves has no column {name!r}, but needs trial, step and value: add it."
            )
    return table[["trial", "step", "value"]].astype({"step": "float64", "value": "float64"})


def counts(trials: Trials) -> dict[str, dict[str, dict[str, int]]]:
    """Trials by phase, family and outcome; a trial that has not ended counts under `unfinished`."""
    words = trials.frame["outcome"].where(~trials.frame["outcome"].isin(NOT_ENDED), "unfinished")
    table: dict[str, dict[str, dict[str, int]]] = {}
    order = [phase.value for phase in Phase]
    grouped = trials.frame.groupby(["phase", "family", words], sort=True).size()
    rows: Iterable[tuple[tuple[str, str, str], int]] = grouped.items()  # type: ignore[assignment]
    for (phase, family, outcome), number in sorted(
        rows, key=lambda row: (order.index(row[0][0]), *row[0][1:])
    ):
        table.setdefault(phase, {}).setdefault(family, {})[outcome] = int(number)
    return table
