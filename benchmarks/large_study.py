"""A study of planted trials that is nearly through: put into a ledger at once, and then driven on without training."""

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from memory_ledger import MemoryLedger
from overheads import drive
from planted import planted_life, planted_spec
from sqlalchemy import bindparam, insert, select, update

from study.home import home_at
from study.ledger import Ledger, StudyState, schema
from study.ledger.engine import open_engine, transaction
from study.plan import counted_plan
from study.records import Ending, Measurement, Outcome, PlannedTrial, TrialRecord
from study.spec import StudySpec
from trainers.reports import Report

STEPS, EVAL_EVERY = 200, 20
STEP_S = 0.25
LANES, NODE = 16, "10.0.0.11"
PAUSE_S = 0.03
"""Between two reports of the trials that go on."""
OWNER = "large"


@dataclass(frozen=True, kw_only=True)
class Life:
    """A study from its first trial to its last."""

    spec: StudySpec
    memory: MemoryLedger
    trials: Sequence[TrialRecord]


def live(name: str, scale: float) -> Life:
    """Have a planted study run to its end in memory; a scale of 3.6 gives 10,000 trials."""
    spec, memory = planted_spec(scale=scale, steps=STEPS, eval_every=EVAL_EVERY, name=name), MemoryLedger()
    drive(spec, memory, 256)  # type: ignore[arg-type]  # as much of a ledger as a driver needs
    return Life(spec=spec, memory=memory, trials=memory.trials(name))


def put_down(url: str, life: Life, num_open: int) -> None:
    """Write a study into a ledger as it stood before its last `num_open` trials."""
    name, trials = life.spec.name, life.trials
    ended = trials[:-num_open]
    began = time.time() - len(trials)
    with Ledger.open(url) as ledger:
        ledger.create_study(name, life.spec.canonical(), life.spec.digest, {})
        ledger.save_plan(name, counted_plan(life.spec))
        ledger.plan_trials(name, [trial.planned for trial in trials])
    engine = open_engine(url)
    with transaction(engine, writes=True) as connection:
        study_id, numbers = _numbers(connection, name)
        when = {trial.planned.key: began + place for place, trial in enumerate(trials)}
        connection.execute(_update_trials(), [_ending(one, numbers, when) for one in ended])
        connection.execute(insert(schema.attempt), [_attempt(one, numbers, when) for one in ended])
        measured = [_measurements(life, one, numbers, when) for one in ended]
        connection.execute(insert(schema.measurement), list(itertools.chain.from_iterable(measured)))
        rungs = [
            {**_without(asdict(rung), "trial"), "study_id": study_id, "trial_id": numbers[rung.trial]}
            for rung in life.memory.rungs(name)
        ]
        connection.execute(insert(schema.rung), rungs)
    engine.dispose()


def go_on(ledger: Ledger, study: str) -> None:
    """Drive a study on, as fast as sixteen lanes of a quick accelerator report, until all its trials have ended."""
    ledger.claim_study(study, OWNER)
    ledger.set_study_state(study, StudyState.RUNNING)
    ledger.record_event(study, "pack_ready", {"pack": 0, "node": NODE, "lanes": LANES})
    waiting = [one.planned for one in ledger.trials(study) if one.ending is None]
    seats: list[tuple[PlannedTrial, Iterator[Report]]] = []
    while waiting or seats:
        while waiting and len(seats) < LANES:
            seats.append(_seat(ledger, study, waiting.pop(0)))
        ledger.heartbeat(study, OWNER)
        seats = [(trial, reports) for trial, reports in seats if _report(ledger, study, trial, next(reports))]
    ledger.set_study_state(study, StudyState.FINISHED)
    ledger.release_study(study, OWNER)


def _seat(ledger: Ledger, study: str, trial: PlannedTrial) -> tuple[PlannedTrial, Iterator[Report]]:
    ledger.start_attempt(study, trial.key)
    ledger.place_attempt(study, trial.key, pack=0, node=NODE)
    return trial, iter(planted_life(trial, EVAL_EVERY))


def _report(ledger: Ledger, study: str, trial: PlannedTrial, report: Report) -> bool:
    """Keep a report; whether the trial goes on."""
    time.sleep(PAUSE_S)
    ledger.record_measurement(
        study,
        Measurement(trial=trial.key, step=report.step, metrics=report.metrics, recorded_at=time.time()),
    )
    if report.ending is None:
        return True
    told = _without(asdict(report.ending), "outcome")
    seconds = STEP_S * report.step
    ledger.end_trial(
        study,
        trial.key,
        Ending(
            outcome=Outcome(report.ending.outcome), steps=report.step, **told | {"device_seconds": seconds}
        ),
    )
    return False


def _numbers(connection: Any, name: str) -> tuple[int, dict[str, int]]:
    """Row numbers of a study and, by their keys, of its trials."""
    study_id = connection.scalar(select(schema.study.c.id).where(schema.study.c.name == name))
    rows = connection.execute(
        select(schema.trial.c.key, schema.trial.c.id).where(schema.trial.c.study_id == study_id)
    )
    return study_id, {row.key: row.id for row in rows}


def _update_trials() -> Any:
    columns = ("outcome", "ended_at", "steps_done", "reason", "value", "select_value", "init_value")
    more = ("device_seconds", "final_metrics", "attempts")
    return (
        update(schema.trial)
        .where(schema.trial.c.id == bindparam("number"))
        .values({name: bindparam(name) for name in (*columns, *more)})
    )


def _ending(trial: TrialRecord, numbers: dict[str, int], when: dict[str, float]) -> dict[str, Any]:
    ending = trial.ending
    assert ending is not None  # noqa: S101 (the study has run to its end)
    key = trial.planned.key
    return {
        "number": numbers[key],
        "outcome": ending.outcome.value,
        "ended_at": when[key] + STEP_S * ending.steps,
        "steps_done": ending.steps,
        "reason": ending.reason,
        "value": ending.value,
        "select_value": ending.select_value,
        "init_value": ending.init_value,
        "device_seconds": STEP_S * ending.steps,
        "final_metrics": dict(ending.metrics or {}),
        "attempts": 1,
    }


def _attempt(trial: TrialRecord, numbers: dict[str, int], when: dict[str, float]) -> dict[str, Any]:
    key = trial.planned.key
    told = {"trial_id": numbers[key], "number": 1, "started_at": when[key], "pack": 0, "node": NODE}
    return told | {"ended_at": when[key] + STEP_S * STEPS}


def _measurements(
    life: Life, trial: TrialRecord, numbers: dict[str, int], when: dict[str, float]
) -> list[dict[str, Any]]:
    key = trial.planned.key
    return [
        {
            "trial_id": numbers[key],
            "step": one.step,
            "metrics": dict(one.metrics),
            "recorded_at": when[key] + STEP_S * one.step,
        }
        for one in life.memory.measurements(life.spec.name, key)
    ]


def _without(told: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in told.items() if key != name}


if __name__ == "__main__":
    with Ledger.open(home_at(None).ledger_url) as opened:
        go_on(opened, sys.argv[1])
