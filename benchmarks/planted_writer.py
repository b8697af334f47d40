"""A driver that trains nothing: it puts trials into a ledger at the pace of a quick accelerator, as drivers do."""

import json
import os
import sys
import time
from pathlib import Path

from study.home import home_at
from study.ledger import Ledger, StudyState
from study.records import Ending, Measurement, Outcome, Phase, PlannedTrial

STEPS = (0, 20, 40)
TRAINING_S = 0.02
"""Between two measurements."""
OWNER = "planted"


def put_down(home: Path, study: str) -> None:
    """Create a study for which a driver was asked, so that watchers wait for it."""
    with Ledger.open(home_at(home).ledger_url) as ledger:
        ledger.create_study(study, {"families": ["rsgd"]}, "d" * 64, {})
        ledger.record_event(study, "submitted", {"address": "here", "job": "1", "by": "benchmark"})


def drive(ledger: Ledger, study: str, num_trials: int) -> float:
    """Run a study's trials; seconds that it took."""
    ledger.create_study(study, {"families": ["rsgd"]}, "d" * 64, {})
    ledger.claim_study(study, OWNER)
    ledger.set_study_state(study, StudyState.RUNNING)
    trials = [_planned(point) for point in range(num_trials)]
    ledger.plan_trials(study, trials)
    began = time.perf_counter()
    for trial in trials:
        ledger.start_attempt(study, trial.key)
        for step in STEPS:
            time.sleep(TRAINING_S)
            metrics = {"select_loss_nats": 1.0 / (1 + step), "train_loss_nats": 0.5, "device_s": step / 10}
            ledger.record_measurement(
                study, Measurement(trial=trial.key, step=step, metrics=metrics, recorded_at=time.time())
            )
        ending = Ending(
            outcome=Outcome.FINISHED, steps=STEPS[-1], value=0.4, select_value=0.4, init_value=0.7
        )
        ledger.end_trial(study, trial.key, ending)
    seconds = time.perf_counter() - began
    ledger.set_study_state(study, StudyState.FINISHED)
    ledger.release_study(study, OWNER)
    return seconds


def _planned(point: int) -> PlannedTrial:
    return PlannedTrial(
        key=f"search/rsgd/p{point:04d}",
        phase=Phase.SEARCH,
        slice="",
        family="rsgd",
        replicate=0,
        point=point,
        seed=point,
        params={"lr": 0.001 * (1 + point), "num_experts": 8, "top_k": 4, "rank": 4},
        steps=STEPS[-1],
    )


if __name__ == "__main__":
    with Ledger.open(home_at(None).ledger_url) as opened:
        took_s = drive(opened, sys.argv[1], int(os.environ["PLANTED_TRIALS"]))
    sys.stdout.write(json.dumps({"seconds": took_s}))
