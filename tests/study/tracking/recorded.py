"""A whole study in a ledger, with planted results of every phase and the report's JSON, for what is browsed."""

import json
import math
from pathlib import Path
from typing import Any

from study.ledger import Ledger, StudyState
from study.records import Ending, Measurement, Outcome, Phase, PlannedTrial
from study.report import Snapshot, build
from study.report.document import to_json
from tests.study.report import synthetic

STUDY = "reviews"
FAMILIES = ("sgd", "rsgd", "grsgd", "gradamw")
START = 1_700_000_000.0


def record(ledger: Ledger, snapshot: Snapshot) -> None:
    """Put a snapshot's trials into an empty ledger, as if they had been trained."""
    ledger.create_study(STUDY, {**snapshot.spec, "name": STUDY}, "d" * 64, manifest())
    rows = snapshot.trials.to_dict("records")
    ledger.plan_trials(STUDY, [_planned(row) for row in rows])
    ledger.claim_study(STUDY, "driver-1")
    ledger.set_study_state(STUDY, StudyState.RUNNING)
    for row in rows:
        ledger.start_attempt(STUDY, row["trial"])
        for step in (0, int(row["steps"])):
            metrics = {"select_loss_nats": float(row["init_value"] if step == 0 else _value(row) or 0.7)}
            one = Measurement(trial=row["trial"], step=step, metrics=metrics, recorded_at=START + step)
            ledger.record_measurement(STUDY, one)
        ledger.end_trial(STUDY, row["trial"], _ending(row))
    ledger.set_study_state(STUDY, StudyState.FINISHED)


def manifest() -> dict[str, Any]:
    return {"packages": {"trialwright": "0.1.0", "torch": "2.13.0"}, "data_digest": "ab" * 32}


def write_findings(
    folder: Path, snapshot: Snapshot, *, title: str = "grsgd ends lower when each is tuned"
) -> Path:
    """The report as far as MLflow reads it, and a page and a figure to link."""
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "lr_curves.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "report.html").write_text("<!doctype html><title>Report</title><h1>Report</h1>")
    document = json.loads(to_json(build(snapshot)))
    (folder / "report.json").write_text(json.dumps(document | {"claims": claims(title)}))
    return folder


def judged() -> Snapshot:
    """Four families through search, design, a slice and confirmation: 88 trials."""
    maker = synthetic.Maker(seed=3)
    for family in FAMILIES:
        synthetic.search(maker, family, num_trials=4)
        tuned = synthetic.tuned(family)
        for point in range(9):
            lr = tuned["lr"] * 10 ** (0.4 * (point - 5))
            maker.add("lr_slice", family, 0, point, tuned | {"lr": lr}, slice="lr")
        for point in range(6):
            maker.add("sensitivity", family, 0, point, synthetic.drawn(maker, family))
        synthetic.confirmation(maker, family, seeds=3)
    return synthetic.snapshot(maker, state="finished", families=FAMILIES)


def claims(title: str) -> list[dict[str, Any]]:
    """Verdicts by hand, as a report's JSON has them: what is browsed does not depend on how they came about."""
    lower = _part("tuned_loss", 0.018, 0.011, 0.025)
    rates = _part("divergence_rate", 0.05, -0.04, 0.14)
    supported = {"verdict": "supported", "grade": "meaningful"}
    undecided = {"verdict": "inconclusive", "grade": "", "extra": 12}
    return [
        {"id": "C1", "a": "grsgd", "b": "rsgd", "title": title, "parts": [lower], **supported},
        {"id": "C2", "a": "gradamw", "b": "rsgd", "title": "it diverges less", "parts": [rates], **undecided},
        {"id": "C3", "a": "rsgd", "b": "sgd", "title": "it ends lower", "parts": [lower], **supported},
    ]


def _part(metric: str, estimate: float, low: float, high: float) -> dict[str, Any]:
    named = {"metric": metric, "factor": "", "workload": "", "a": "", "b": "", "a_values": [], "b_values": []}
    return named | {"estimate": estimate, "ci_low": low, "ci_high": high}


def _planned(row: dict[str, Any]) -> PlannedTrial:
    params = {name.removeprefix("param."): row[name] for name in row if name.startswith("param.")}
    return PlannedTrial(
        key=row["trial"],
        phase=Phase(row["phase"]),
        slice=row["slice"] or "",
        family=row["family"],
        replicate=int(row["replicate"]),
        point=int(row["point"]),
        seed=int(row["seed"]),
        params={
            name: value
            for name, value in params.items()
            if not (isinstance(value, float) and math.isnan(value))
        },
        steps=200,
    )


def _ending(row: dict[str, Any]) -> Ending:
    return Ending(
        outcome=Outcome(row["outcome"]),
        steps=int(row["steps"]),
        reason=row["reason"] or "",
        value=_value(row),
        select_value=None if _value(row) is None else float(row["select_value"]),
        init_value=float(row["init_value"]),
        device_seconds=float(row["device_seconds"]),
        metrics={"report_accuracy": float(row["report_accuracy"])} if _value(row) is not None else {},
    )


def _value(row: dict[str, Any]) -> float | None:
    value = row["value"]
    return None if value is None or math.isnan(value) else float(value)
