"""Planned trials, their attempts and their endings, within the transaction that is given."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from sqlalchemy import Connection, Row, Select, func, insert, select, update

from search_spaces.errors import LedgerError, TrialFailedError
from study.ledger import schema
from study.ledger.rows import Attempt, TrialTally
from study.records import Ending, Outcome, Phase, PlannedTrial, TrialRecord

REOPENABLE = (Outcome.INFRA_FAILED, Outcome.OUT_OF_MEMORY, Outcome.CANCELLED)
"""Endings that enter no analysis, so that a resumed study runs the trial again, perhaps elsewhere."""

_T = schema.trial.c
_A = schema.attempt.c
_SCORES = ("value", "select_value", "init_value", "device_seconds")
_NO_ENDING: dict[str, Any] = dict.fromkeys(
    ("outcome", "ended_at", "steps_done", "reason", "final_metrics", *_SCORES)
)


def plan(connection: Connection, study_id: int, planned: Sequence[PlannedTrial]) -> int:
    """Add the trials that are not there yet, in the given order; gives how many were added.

    Raises:
        LedgerError: a key is there with other content, or twice in `planned`.
    """
    rows = connection.execute(select(schema.trial).where(_T.study_id == study_id))
    known = {row.key: _planned(row) for row in rows}
    new = []
    for trial in planned:
        checked = replace(trial, params=_checked_params(trial))
        if trial.key not in known:
            known[trial.key] = checked
            new.append(_columns(study_id, checked))
        elif known[trial.key] != checked:
            raise LedgerError(
                f"Trial {trial.key!r} is planned as {known[trial.key]}, but now as {checked}: "
                "a plan never changes."
            )
    if new:
        connection.execute(insert(schema.trial), new)
    return len(new)


def listed(
    connection: Connection, study_id: int, *, phase: Phase | None, family: str | None
) -> list[TrialRecord]:
    """The trials in the order in which they were planned."""
    query = in_plan_order(study_id)
    if phase is not None:
        query = query.where(_T.phase == phase.value)
    if family is not None:
        query = query.where(_T.family == family)
    return [as_record(row) for row in connection.execute(query)]


def tallies(connection: Connection, study_id: int | None = None) -> dict[int, list[TrialTally]]:
    """Row number of each study, or of one → its trials by phase, family and outcome, the first planned first."""
    groups = (_T.study_id, _T.phase, _T.family, _T.outcome)
    query = (
        select(*groups, func.count(), func.coalesce(func.sum(_T.device_seconds), 0.0))
        .group_by(*groups)
        .order_by(func.min(_T.id))
    )
    if study_id is not None:
        query = query.where(_T.study_id == study_id)
    found: dict[int, list[TrialTally]] = {}
    for owner, phase, family, outcome, number, seconds in connection.execute(query):
        tally = TrialTally(
            phase=Phase(phase),
            family=family,
            outcome=None if outcome is None else Outcome(outcome),
            number=number,
            device_seconds=seconds,
        )
        found.setdefault(owner, []).append(tally)
    return found


def get(connection: Connection, study_id: int, key: str) -> TrialRecord:
    """One trial by key."""
    return as_record(_row(connection, study_id, key))


def number(connection: Connection, study_id: int, key: str) -> int:
    """Row number of a trial.

    Raises:
        LedgerError: it was never planned.
    """
    return int(_row(connection, study_id, key).id)


def start(connection: Connection, study_id: int, key: str, now: float) -> int:
    """Open the next attempt, 1 for the first, and close one that was left open.

    Raises:
        LedgerError: the trial has ended already.
    """
    row = _row(connection, study_id, key)
    if row.outcome is not None:
        raise LedgerError(f"Trial {key!r} has ended ({row.outcome}) and cannot be started: reopen it first.")
    close_attempts(connection, [row.id], now)
    attempt = int(row.attempts) + 1
    connection.execute(update(schema.trial).where(_T.id == row.id).values(attempts=attempt))
    connection.execute(insert(schema.attempt).values(trial_id=row.id, number=attempt, started_at=now))
    return attempt


def attempts(connection: Connection, study_id: int, key: str) -> list[Attempt]:
    """Every start of a trial, the first one first."""
    trial_id = number(connection, study_id, key)
    query = (
        select(_A.number, _A.started_at, _A.ended_at, _A.pack, _A.node)
        .where(_A.trial_id == trial_id)
        .order_by(_A.number)
    )
    return [Attempt(**row._asdict()) for row in connection.execute(query)]


def place(connection: Connection, study_id: int, key: str, pack: int, node: str) -> None:
    """Note where the open attempt of a trial trains."""
    trial_id = number(connection, study_id, key)
    connection.execute(
        update(schema.attempt)
        .where(_A.trial_id == trial_id, _A.ended_at.is_(None))
        .values(pack=pack, node=node)
    )


def end(connection: Connection, study_id: int, key: str, ending: Ending, now: float) -> bool:
    """Keep a trial's ending, once; False where the same one is there.

    Raises:
        LedgerError: it has ended in another way.
        TrialFailedError: a figure of the ending is not finite.
    """
    row = _row(connection, study_id, key)
    columns = _ending_columns(key, ending)
    if row.outcome is not None:
        if all(getattr(row, column) == value for column, value in columns.items()):
            return False
        raise LedgerError(
            f"Trial {key!r} has ended as {_ending(row)} and cannot end again as {ending}: "
            "an ending never changes."
        )
    connection.execute(update(schema.trial).where(_T.id == row.id).values(**columns, ended_at=now))
    close_attempts(connection, [row.id], now)
    return True


def reopen(connection: Connection, study_id: int, key: str) -> Ending:
    """Take back an ending that says nothing about the trial; gives that ending.

    Raises:
        LedgerError: the trial has not ended, or its ending is a result.
    """
    row = _row(connection, study_id, key)
    ending = _ending(row)
    if ending is None or ending.outcome not in REOPENABLE:
        state = "has not ended" if ending is None else f"ended as {ending.outcome}"
        raise LedgerError(
            f"Trial {key!r} {state} and cannot be reopened: only {', '.join(REOPENABLE)} trials run again."
        )
    connection.execute(update(schema.trial).where(_T.id == row.id).values(**_NO_ENDING))
    return ending


def close_attempts(connection: Connection, trial_ids: Iterable[int], now: float) -> None:
    """Mark the open attempts of some trials as over."""
    connection.execute(
        update(schema.attempt)
        .where(_A.trial_id.in_(list(trial_ids)), _A.ended_at.is_(None))
        .values(ended_at=now)
    )


def close_all_attempts(connection: Connection, study_id: int, now: float) -> None:
    """Mark every open attempt of a study as over: its driver is gone."""
    trials = select(_T.id).where(_T.study_id == study_id)
    connection.execute(
        update(schema.attempt).where(_A.trial_id.in_(trials), _A.ended_at.is_(None)).values(ended_at=now)
    )


def running(connection: Connection, study_id: int) -> list[str]:
    """Keys of the trials with an open attempt, in planned order."""
    query = (
        select(_T.key)
        .join(schema.attempt, _A.trial_id == _T.id)
        .where(_T.study_id == study_id, _A.ended_at.is_(None))
        .order_by(_T.id)
    )
    return list(connection.scalars(query))


def require_finite(trial: str, figures: Mapping[str, float | None], when: str) -> dict[str, float]:
    """The figures that are present, as plain floats.

    Raises:
        TrialFailedError: one is NaN or infinite.
    """
    present = {name: float(figure) for name, figure in figures.items() if figure is not None}
    for name, figure in present.items():
        if not isfinite(figure):
            raise TrialFailedError(
                f"Trial {trial!r} reported {name} = {figure} {when}, "
                "but the ledger keeps finite figures only: end the trial as diverged."
            )
    return present


def in_plan_order(study_id: int) -> Select[Any]:
    """All columns of a study's trials, in the order in which they were planned."""
    return select(schema.trial).where(_T.study_id == study_id).order_by(_T.id)


def _row(connection: Connection, study_id: int, key: str) -> Row[Any]:
    row = connection.execute(select(schema.trial).where(_T.study_id == study_id, _T.key == key)).one_or_none()
    if row is None:
        raise LedgerError(f"Trial {key!r} was never planned in this study.")
    return row


def _checked_params(trial: PlannedTrial) -> dict[str, Any]:
    params = dict(trial.params)
    for name, value in params.items():
        if isinstance(value, bool) or not isinstance(value, float | int | str):
            raise LedgerError(
                f"Trial {trial.key!r} has {name} = {value!r} ({type(value).__name__}), "
                "but a parameter is a plain float, int or str."
            )
        if isinstance(value, float) and not isfinite(value):
            raise LedgerError(f"Trial {trial.key!r} has {name} = {value}, but a parameter is finite.")
    return {name: float(value) if isinstance(value, float) else value for name, value in params.items()}


def _columns(study_id: int, trial: PlannedTrial) -> dict[str, Any]:
    return {
        "study_id": study_id,
        "key": trial.key,
        "phase": trial.phase.value,
        "slice": trial.slice,
        "family": trial.family,
        "replicate": trial.replicate,
        "point": trial.point,
        "seed": trial.seed,
        "params": dict(trial.params),
        "steps": trial.steps,
        "attempts": 0,
    }


def _planned(row: Row[Any]) -> PlannedTrial:
    return PlannedTrial(
        key=row.key,
        phase=Phase(row.phase),
        slice=row.slice,
        family=row.family,
        replicate=row.replicate,
        point=row.point,
        seed=row.seed,
        params=row.params,
        steps=row.steps,
    )


def as_record(row: Row[Any]) -> TrialRecord:
    """A row of the trial table as the record that every part exchanges."""
    return TrialRecord(planned=_planned(row), attempts=row.attempts, ending=_ending(row))


def _ending_columns(key: str, ending: Ending) -> dict[str, Any]:
    when = f"at its end ({ending.outcome})"
    scores = {name: getattr(ending, name) for name in _SCORES}
    finite = require_finite(key, scores, when)
    metrics = None if ending.metrics is None else require_finite(key, ending.metrics, when)
    return {
        "outcome": ending.outcome.value,
        "steps_done": ending.steps,
        "reason": ending.reason,
        "final_metrics": metrics,
        **dict.fromkeys(scores),
        **finite,
    }


def _ending(row: Row[Any]) -> Ending | None:
    if row.outcome is None:
        return None
    return Ending(
        outcome=Outcome(row.outcome),
        steps=row.steps_done,
        reason=row.reason,
        value=row.value,
        select_value=row.select_value,
        init_value=row.init_value,
        device_seconds=row.device_seconds,
        metrics=row.final_metrics,
    )
