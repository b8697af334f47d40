"""The ledger's records as tables: what `analyze` reads, `report` shows and CSV and Parquet keep."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from study.ledger import Ledger, StudyRecord
from study.records import Measurement, TrialRecord

_HEAD = ("phase", "slice", "workload", "family", "replicate", "point", "seed")
_TAIL = ("value", "select_value", "init_value", "outcome", "steps", "device_seconds")
_EXTRA = ("trial", "attempts", "reason", "report_accuracy", "select_accuracy")
_NUMBERS = ("value", "select_value", "init_value", "device_seconds", "report_accuracy", "select_accuracy")
_CURVES = ("trial", "step", "select_loss_nats", "train_loss_nats", "select_accuracy")
PERTURBED = "perturbed."
"""How the names of scores under perturbations begin."""
_RUNGS = ("family", "trial", "rung", "value", "cutoff", "num_recorded", "action")


def trial_table(ledger: Ledger, study: str) -> pd.DataFrame:
    """One row a trial, in planned order.

    Columns: `phase`, `slice`, `workload`, `family`, `replicate`, `point`, `seed`, `param.<name>`…, `value`
    (report loss in nats), `select_value`, `init_value`, `outcome`, `steps`, `device_seconds`, and `trial`,
    `attempts`, `reason`, `report_accuracy`, `select_accuracy`; last, where adapters were scored again while disturbed,
    `perturbed.<name>.loss` and `perturbed.<name>.accuracy`. What is absent is NaN in a column of numbers and empty
    text elsewhere. A trial that has not ended has an empty `outcome`, and the `steps` and `device_seconds` of its last
    measurement.

    Raises:
        SpecError: there is no such study.
    """
    record = ledger.study(study)
    trials = ledger.trials(study)
    last = {one.trial: one for one in ledger.measurements(study)}
    names = list(dict.fromkeys(name for trial in trials for name in trial.planned.params))
    perturbed = _perturbed_columns(trials)
    columns = [*_HEAD, *(f"param.{name}" for name in names), *_TAIL, *_EXTRA, *perturbed]
    workload = _workload(record)
    rows = [_row(trial, workload, last.get(trial.planned.key)) for trial in trials]
    table = pd.DataFrame(rows, columns=pd.Index(columns))
    return table.astype(dict.fromkeys((*_NUMBERS, *perturbed), "float64"))


def curves(ledger: Ledger, study: str) -> pd.DataFrame:
    """One row a measurement, by trial in planned order and step.

    Columns: `trial`, `step`, `select_loss_nats`, `train_loss_nats`, `select_accuracy`, then every other
    metric by name; NaN where a measurement lacks it.
    """
    measured = ledger.measurements(study)
    names = sorted({name for one in measured for name in one.metrics})
    columns = list(dict.fromkeys((*_CURVES, *names)))
    rows = [{"trial": one.trial, "step": one.step, **one.metrics} for one in measured]
    table = pd.DataFrame(rows, columns=pd.Index(columns))
    return table.astype({name: "float64" for name in columns if name not in {"trial", "step"}})


def rung_table(ledger: Ledger, study: str) -> pd.DataFrame:
    """One row a decision of ASHA, oldest first; a `cutoff` is NaN where there was nothing to compare with."""
    rows = [asdict(rung) for rung in ledger.rungs(study)]
    return pd.DataFrame(rows, columns=pd.Index(_RUNGS)).astype({"value": "float64", "cutoff": "float64"})


def _perturbed_columns(trials: Sequence[TrialRecord]) -> list[str]:
    """Names of the scores under perturbations that some trial has, in the order of their first appearance."""
    endings = (trial.ending for trial in trials if trial.ending is not None)
    names = dict.fromkeys(name for ending in endings for name in ending.metrics or {})
    return [name for name in names if name.startswith(PERTURBED)]


def _workload(study: StudyRecord) -> str:
    """Task and base model, which name the workload; the study's own name where the spec has neither."""
    names = [
        section.get(field)
        for section, field in ((study.spec.get("task"), "name"), (study.spec.get("base"), "model"))
        if isinstance(section, Mapping)
    ]
    return " on ".join(str(name) for name in names if name) or study.name


def _row(trial: TrialRecord, workload: str, last: Measurement | None) -> dict[str, Any]:
    planned, ending = trial.planned, trial.ending
    row: dict[str, Any] = {name: getattr(planned, name) for name in _HEAD if name != "workload"}
    row |= {"phase": planned.phase.value, "workload": workload, "trial": planned.key}
    row |= {f"param.{name}": value for name, value in planned.params.items()}
    row |= {"attempts": trial.attempts, "reason": "", "outcome": ""}
    if ending is None:
        done = last.step if last is not None else 0
        return row | {"steps": done, "device_seconds": last.metrics.get("device_s", 0.0) if last else 0.0}
    scores = ending.metrics or {}
    row |= {name: getattr(ending, name) for name in ("value", "select_value", "init_value")}
    row |= {name: scores.get(name) for name in ("report_accuracy", "select_accuracy")}
    row |= {name: score for name, score in scores.items() if name.startswith(PERTURBED)}
    row |= {"outcome": ending.outcome.value, "reason": ending.reason, "steps": ending.steps}
    return row | {"device_seconds": ending.device_seconds}
