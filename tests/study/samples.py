"""A small study for the tests of what is recorded and shown."""

from collections.abc import Mapping, Sequence
from typing import Any

from study.ledger import Ledger, StudyState
from study.records import Ending, Measurement, Outcome, Phase, PlannedTrial

STUDY = "reviews"
OWNER = "driver-1"
SPEC: Mapping[str, Any] = {"base": {"model": "path:/models/tiny"}, "task": {"name": "vader_movie"}, "seed": 7}
MANIFEST = {"versions": {"mlflow": "3.17.2"}}
START = 1_700_000_000.0
"""Unix time in seconds at which the sample's measurements begin."""


def planned(family: str, point: int, *, phase: Phase = Phase.SEARCH, replicate: int = 0) -> PlannedTrial:
    return PlannedTrial(
        key=f"{phase}/{family}/r{replicate:02d}/p{point:02d}",
        phase=phase,
        slice="",
        family=family,
        replicate=replicate,
        point=point,
        seed=2**62 + 1000 * replicate + point,
        params={"lr": 0.1 + 0.2 * point, "num_experts": 8, "top_k": 4, "rank": 4},
        steps=40,
    )


def plan(families: Sequence[str] = ("sgd", "rsgd"), points: int = 3) -> list[PlannedTrial]:
    return [planned(family, point) for family in families for point in range(points)]


def measured(trial: str, step: int, **metrics: float) -> Measurement:
    return Measurement(
        trial=trial,
        step=step,
        metrics=metrics or {"select_loss_nats": 1.0 / (1 + step), "select_accuracy": 0.5},
        recorded_at=START + step,
    )


def finished(*, value: float = 0.4, steps: int = 40) -> Ending:
    return Ending(
        outcome=Outcome.FINISHED,
        steps=steps,
        value=value,
        select_value=0.3,
        init_value=0.7,
        device_seconds=2.5,
        metrics={"report_accuracy": 0.8, "select_accuracy": 0.75},
    )


def ended(outcome: Outcome, *, steps: int = 10, init_value: float | None = None) -> Ending:
    return Ending(outcome=outcome, steps=steps, reason=f"It {outcome} early.", init_value=init_value)


def begin(ledger: Ledger, trials: Sequence[PlannedTrial], spec: Mapping[str, Any] = SPEC) -> None:
    """A study that is being run by this process."""
    ledger.create_study(STUDY, spec, "d" * 64, MANIFEST)
    ledger.plan_trials(STUDY, trials)
    ledger.claim_study(STUDY, OWNER)
    ledger.set_study_state(STUDY, StudyState.RUNNING)


def run_trial(ledger: Ledger, key: str, ending: Ending | None, *, steps: Sequence[int] = (0, 20, 40)) -> None:
    """Start a trial, measure it, and end it unless it is to stay open."""
    ledger.start_attempt(STUDY, key)
    for step in steps:
        ledger.record_measurement(STUDY, measured(key, step))
    if ending is not None:
        ledger.end_trial(STUDY, key, ending)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now
