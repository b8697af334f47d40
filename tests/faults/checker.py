"""Compares a study that faults struck with an undisturbed twin of the same seed."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from study.ledger import Ledger
from study.records import CHOICE, Outcome, TrialRecord
from tests.faults.studies import STUDY

TIMES = re.compile(r"(_s|_at|_h|_ms|seconds|hours|_starts|_ends)$")
"""Names of figures that are times, or of groups of them."""
CLOCK_TIMES = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d|\b\d+(\.\d+)?\s(ms|s|min|h|hours|seconds)\b")
"""Times within sentences."""
OF_THE_RUN = {"num_retried", "pack_devices"}
"""What a report says of how a study ran, and not of what it found: a node may have died before a pack was there."""
NUM_NODES = re.compile(r" \(\d+ nodes\)")
"""The latter within a sentence."""
FOUND = CHOICE
"""The one kind of event that tells what was found; others tell of lost attempts, packs and drivers."""


def facts(ledger: Ledger) -> dict[str, Any]:
    """All that must not depend on what struck a study."""
    return {
        "state": ledger.study(STUDY).state.value,
        "trials": {one.planned.key: _trial(one) for one in ledger.trials(STUDY)},
        "measurements": [
            (one.trial, one.step, without_times(one.metrics)) for one in ledger.measurements(STUDY)
        ],
        "rungs": sorted(
            (
                (one.family, one.trial, one.rung, one.value, one.cutoff, one.action)
                for one in ledger.rungs(STUDY)
            ),
            key=str,
        ),
        "choices": [dict(one.detail) for one in ledger.events(STUDY) if one.kind == FOUND],
    }


def report_of(home: Path) -> Any:
    """`report.json` without times."""
    text = (home / "studies" / STUDY / "report" / "report.json").read_text(encoding="utf-8")
    return without_times(json.loads(text))


def files_of(home: Path) -> set[str]:
    """Every file that a study left, relative to the home; without caches, logs and the database's own."""
    left_out = {"cache", "ray", "empty", "parts"}
    return {
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file()
        and path.relative_to(home).parts[0] not in left_out
        and not path.name.startswith(("ledger.db", "driver.log"))
    }


def without_times(value: Any) -> Any:
    """Plain data without figures that are times."""
    if isinstance(value, Mapping):
        return {
            name: without_times(item)
            for name, item in value.items()
            if not TIMES.search(str(name)) and name not in OF_THE_RUN
        }
    if isinstance(value, list | tuple):
        is_event = [isinstance(item, Mapping) and {"kind", "detail"} <= item.keys() for item in value]
        pairs = zip(value, is_event, strict=True)
        return [without_times(item) for item, event in pairs if not event or item["kind"] == FOUND]
    return CLOCK_TIMES.sub("<time>", NUM_NODES.sub("", value)) if isinstance(value, str) else value


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two documents differ, a line each."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = sorted({*one, *other}, key=str)
        return [
            line
            for name in names
            for line in (
                differences(one[name], other[name], f"{path}/{name}")
                if name in one and name in other
                else [f"{path}/{name} is in {'the twin' if name in other else 'the struck one'} only"]
            )
        ]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for number, (a, b) in pairs for line in differences(a, b, f"{path}/{number}")]
    return [] if one == other else [f"{path}: {str(one)[:200]} and not {str(other)[:200]}"]


def disagreements(ledger: Ledger, uri: str) -> list[str]:
    """Where MLflow does not hold every trial of the ledger once, with its outcome and its measurements once."""
    client = MlflowClient(uri)
    uid = ledger.study(STUDY).uid
    experiments = [one.experiment_id for one in client.search_experiments() if uid in one.tags.values()]
    if len(experiments) != 1:
        return [f"{len(experiments)} experiments of the study"]
    runs = client.search_runs(experiments, max_results=1000)
    found = [f"{number} runs of {label}" for label, number in _labels(runs).items() if number != 1] + [
        f"{run.info.run_name} is {run.info.status}" for run in runs if run.info.status == "RUNNING"
    ]
    by_key = {run.data.tags["trial"]: run for run in runs if run.data.tags.get("kind") == "trial"}
    for record in ledger.trials(STUDY):
        found += _disagreement(client, ledger, record, by_key.pop(record.planned.key, None))
    return found + [f"{key} is in MLflow only" for key in by_key]


def leftovers(ledger: Ledger) -> list[str]:
    """What a study that ended still holds in the ledger."""
    found = [f"a claim of {held.owner}"] if (held := ledger.holder(STUDY)) is not None else []
    found += [f"{key} is still open" for key in ledger.running_trials(STUDY)]
    return found + [f"{one.planned.key} has no ending" for one in ledger.trials(STUDY) if one.ending is None]


def _labels(runs: Iterable[Any]) -> Counter[str]:
    return Counter(run.data.tags.get("trialwright.run", "an unlabelled run") for run in runs)


def _disagreement(client: MlflowClient, ledger: Ledger, record: TrialRecord, run: Any) -> list[str]:
    key = record.planned.key
    if run is None:
        return [f"{key} is not in MLflow"]
    outcome = record.ending.outcome.value if record.ending else None
    found = (
        []
        if run.data.tags.get("outcome") == outcome
        else [f"{key} is {run.data.tags.get('outcome')} in MLflow"]
    )
    steps = [
        (one.step, one.metrics["select_loss_nats"])
        for one in ledger.measurements(STUDY, key)
        if "select_loss_nats" in one.metrics
    ]
    history = client.get_metric_history(run.info.run_id, "select_loss_nats")
    shown = sorted((point.step, point.value) for point in history)
    return found if shown == steps else [*found, f"{key} has {shown} in MLflow and not {steps}"]


def _trial(record: TrialRecord) -> dict[str, Any]:
    ending = record.ending
    planned = {
        "params": dict(record.planned.params),
        "seed": record.planned.seed,
        "steps": record.planned.steps,
    }
    if ending is None:
        return planned | {"outcome": None}
    reason = "" if ending.outcome is Outcome.INFRA_FAILED else ending.reason
    return planned | {
        "outcome": ending.outcome.value,
        "steps_done": ending.steps,
        "reason": reason,
        "scores": [ending.value, ending.select_value, ending.init_value],
        "metrics": without_times(ending.metrics or {}),
    }
