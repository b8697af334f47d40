"""A study's record, read from its ledger."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from study.ledger import Ledger
from study.records import CHOICE, PRECISION, Measurement, RungRecord, TrialRecord
from study.reproduction.record import Record


def take_record(ledger: Ledger, study: str) -> Record:
    """What a study did so far.

    Raises:
        SpecError: there is no such study.
    """
    row = ledger.study(study)
    measured: dict[str, list[Measurement]] = defaultdict(list)
    for one in ledger.measurements(study):
        measured[one.trial].append(one)
    rungs: dict[str, list[RungRecord]] = defaultdict(list)
    for rung in ledger.rungs(study):
        rungs[rung.trial].append(rung)
    first: dict[str, Any] = {}
    for event in ledger.events(study):
        first.setdefault(event.kind, event.detail)
    return Record.model_validate(
        {
            "uid": row.uid,
            "name": row.name,
            "state": row.state.value,
            "spec": row.spec,
            "manifest": row.manifest,
            "precision": first.get(PRECISION),
            "chosen": first.get(CHOICE),
            "trials": [
                _trial(trial, measured[trial.planned.key], rungs[trial.planned.key])
                for trial in ledger.trials(study)
            ],
        }
    )


def _trial(
    trial: TrialRecord, measured: Sequence[Measurement], rungs: Sequence[RungRecord]
) -> dict[str, Any]:
    names = sorted({name for one in measured for name in one.metrics})
    ending = None if trial.ending is None else asdict(trial.ending)
    return {
        **asdict(trial.planned),
        "measured_steps": [one.step for one in measured],
        "measurements": {name: [one.metrics.get(name) for one in measured] for name in names},
        "ending": ending and {**ending, "metrics": ending["metrics"] or {}},
        "rungs": [asdict(rung) for rung in rungs],
    }
