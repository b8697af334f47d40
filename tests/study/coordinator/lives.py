"""Reports that a worker could send."""

import dataclasses

from study.records import PlannedTrial
from tests.study.simulation import (
    EVAL_EVERY,
)
from trainers.reports import Report, TrialEnding


def with_loss(report: Report, loss_nats: float) -> Report:
    return dataclasses.replace(report, metrics={**report.metrics, "select_loss_nats": loss_nats})


def always_finishing(trial: PlannedTrial) -> list[Report]:
    metrics = {"select_loss_nats": 1.0, "init_loss_nats": 1.0}
    ending = TrialEnding(
        outcome="finished", reason="", value=0.1, select_value=0.1, init_value=1.0, metrics={}
    )
    return [
        Report(step=step, metrics=metrics, ending=ending if step == trial.steps else None)
        for step in range(0, trial.steps + 1, EVAL_EVERY)
    ]
