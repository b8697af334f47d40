"""What the tracking server should show of a study: pure functions of the ledger's records.

Runs stand as study → family → configuration → trial. A parent carries its own spec, and figures over its
trials whose step is the number of trials that have ended, so that they draw a curve.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from study.ledger import RunKind, StudyRecord, StudyState, TrialActivity
from study.records import Ending, Outcome, PlannedTrial
from study.tracking.aggregates import aggregates, configuration_aggregates
from study.tracking.findings import NOTHING, Findings

TRIAL_STATUS = {
    Outcome.FINISHED: "FINISHED",
    Outcome.DIVERGED: "FINISHED",
    Outcome.STOPPED: "KILLED",
    Outcome.CANCELLED: "KILLED",
    Outcome.OUT_OF_MEMORY: "FAILED",
    Outcome.INFRA_FAILED: "FAILED",
}
"""MLflow's status of a trial that has ended: a result, ended early, or lost."""
STUDY_STATUS = {
    StudyState.PLANNED: "SCHEDULED",
    StudyState.RUNNING: "RUNNING",
    StudyState.INTERRUPTED: "KILLED",
    StudyState.STOPPED: "KILLED",
    StudyState.FINISHED: "FINISHED",
    StudyState.FAILED: "FAILED",
}
_LOST = {Outcome.OUT_OF_MEMORY, Outcome.INFRA_FAILED}
_FINAL = {
    "value": "report_loss_nats",
    "select_value": "final_select_loss_nats",
    "init_value": "init_loss_nats",
    "device_seconds": "total_device_s",
    "steps": "steps_done",
}
RunKey = tuple[RunKind, str]


@dataclass(frozen=True, kw_only=True)
class RunView:
    """One run as it should be, but for its step metrics."""

    kind: RunKind
    key: str
    parent: RunKey | None
    name: str
    status: str
    """One of MLflow's: RUNNING, SCHEDULED, FINISHED, KILLED, FAILED."""
    started_at: float
    """Unix time in seconds."""
    ended_at: float | None
    """Unix time in seconds; absent while it runs."""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Final figures of a trial, aggregates of a parent."""
    metrics_step: int = 0
    metrics_at: float = 0.0
    """Unix time in seconds that the metrics carry, so that sending them again changes nothing."""
    last_measurement: int = 0
    """Row number of the newest measurement of a trial."""

    def fingerprint(self, parent_run: str | None) -> str:
        """A digest of everything but the measurements: it differs where something must be shipped."""
        content = [
            self.name,
            parent_run,
            self.status,
            self.ended_at,
            sorted(self.params.items()),
            sorted(self.tags.items()),
            sorted(self.metrics.items()),
            self.metrics_step,
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def views(
    study: StudyRecord, trials: Sequence[TrialActivity], found: Findings | None = None
) -> list[RunView]:
    """Every run that should be there, parents before their children.

    Args:
        study: the study; nothing is shown before it first runs.
        trials: all its trials; one that was neither started nor ended is not shown.
        found: what the study's report has found; None before there is one.
    """
    found = found or {}
    shown = [trial for trial in trials if trial.started_at is not None or trial.record.ending is not None]
    if study.state is StudyState.PLANNED and not shown:
        return []
    families = _grouped(trials, lambda planned: planned.family)
    configurations = _grouped(trials, lambda planned: planned.configuration)
    started = {trial.record.planned.key for trial in shown}
    return [
        _study_view(study, trials, found),
        *(
            _family_view(study, family, mine, found)
            for family, mine in families.items()
            if _any_of(mine, started)
        ),
        *(_configuration_view(study, mine) for mine in configurations.values() if _any_of(mine, started)),
        *(_trial_view(study, trial) for trial in shown),
    ]


def _lasting(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a study's launches have in common: MLflow refuses a parameter that changes, and these may."""
    kept = {name: section for name, section in spec.items() if name not in {"resources", "claims"}}
    if "training" in kept:
        kept["training"] = {
            name: value for name, value in kept["training"].items() if name != "max_evaluation_share"
        }
    return kept


def flattened(section: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A nested mapping as dotted names and strings, as MLflow's parameters want it."""
    flat: dict[str, str] = {}
    for name, value in section.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def _study_view(study: StudyRecord, trials: Sequence[TrialActivity], found: Findings) -> RunView:
    carried = found.get("", NOTHING)
    return RunView(
        kind=RunKind.STUDY,
        key="",
        parent=None,
        name=study.name,
        status=STUDY_STATUS[study.state],
        started_at=study.created_at,
        ended_at=_closed_at(study),
        params=flattened(_lasting(study.spec)) | {"spec_digest": study.spec_digest},
        tags={"kind": RunKind.STUDY, "state": study.state, **carried.tags},
        **_figures(trials, dict(carried.metrics) | aggregates(trials), study),
    )


def _family_view(
    study: StudyRecord, family: str, trials: Sequence[TrialActivity], found: Findings
) -> RunView:
    carried = found.get(family, NOTHING)
    status = STUDY_STATUS[study.state]
    if study.state is StudyState.FAILED and not any(_is_lost(trial) for trial in trials):
        status = "FINISHED"
    return RunView(
        kind=RunKind.FAMILY,
        key=family,
        parent=(RunKind.STUDY, ""),
        name=family,
        status=status,
        started_at=_start(trials, study),
        ended_at=_closed_at(study),
        params=flattened(_lasting(study.spec)) | {"family": family},
        tags={"kind": RunKind.FAMILY, "family": family, **carried.tags},
        **_figures(trials, dict(carried.metrics) | aggregates(trials), study),
    )


def _configuration_view(study: StudyRecord, trials: Sequence[TrialActivity]) -> RunView:
    planned = trials[0].record.planned
    status = _configuration_status(study, trials)
    ends = [trial.ended_at for trial in trials if trial.ended_at is not None]
    return RunView(
        kind=RunKind.CONFIGURATION,
        key=planned.configuration,
        parent=(RunKind.FAMILY, planned.family),
        name=_configuration_name(planned),
        status=status,
        started_at=_start(trials, study),
        ended_at=None if status == "RUNNING" else max(ends, default=study.changed_at),
        params=_sampled(planned),
        tags={
            "kind": RunKind.CONFIGURATION,
            "family": planned.family,
            "configuration": planned.configuration,
            "phase": ",".join(_distinct(trial.record.planned.phase for trial in trials)),
        },
        **_figures(trials, configuration_aggregates(trials), study),
    )


def _trial_view(study: StudyRecord, trial: TrialActivity) -> RunView:
    planned, ending = trial.record.planned, trial.record.ending
    status = "RUNNING" if trial.running else "KILLED"
    outcome = "running" if trial.running else "interrupted"
    if ending is not None:
        status, outcome = TRIAL_STATUS[ending.outcome], ending.outcome.value
    started_at = trial.started_at if trial.started_at is not None else (trial.ended_at or study.created_at)
    return RunView(
        kind=RunKind.TRIAL,
        key=planned.key,
        parent=(RunKind.CONFIGURATION, planned.configuration),
        name=planned.key,
        status=status,
        started_at=started_at,
        ended_at=None if status == "RUNNING" else trial.ended_at,
        params=_sampled(planned) | {"steps": str(planned.steps), "seed": str(planned.seed)},
        tags=_trial_tags(trial, outcome),
        metrics=_final(ending),
        metrics_step=ending.steps if ending is not None else 0,
        metrics_at=trial.ended_at or started_at,
        last_measurement=trial.last_measurement,
    )


def _trial_tags(trial: TrialActivity, outcome: str) -> dict[str, str]:
    planned, ending = trial.record.planned, trial.record.ending
    return {
        "kind": RunKind.TRIAL,
        "trial": planned.key,
        "phase": planned.phase,
        "slice": planned.slice,
        "family": planned.family,
        "configuration": planned.configuration,
        "replicate": str(planned.replicate),
        "point": str(planned.point),
        "seed": str(planned.seed),
        "attempt": str(trial.record.attempts),
        "outcome": outcome,
        "reason": ending.reason if ending is not None else "",
    }


def _final(ending: Ending | None) -> dict[str, float]:
    if ending is None:
        return {}
    figures = {name: getattr(ending, source) for source, name in _FINAL.items()}
    final = {name: float(figure) for name, figure in figures.items() if figure is not None}
    for name, figure in (ending.metrics or {}).items():
        final["final_select_accuracy" if name == "select_accuracy" else name] = figure
    return final


def _figures(
    trials: Sequence[TrialActivity], metrics: Mapping[str, float], study: StudyRecord
) -> dict[str, Any]:
    ends = [trial.ended_at for trial in trials if trial.record.ending is not None and trial.ended_at]
    return {
        "metrics": metrics,
        "metrics_step": len(ends),
        "metrics_at": max(ends, default=study.created_at),
    }


def _configuration_status(study: StudyRecord, trials: Sequence[TrialActivity]) -> str:
    statuses = {TRIAL_STATUS[t.record.ending.outcome] for t in trials if t.record.ending is not None}
    unended = any(trial.record.ending is None for trial in trials)
    if unended:
        return "RUNNING" if study.state is StudyState.RUNNING else "KILLED"
    return next(status for status in ("FINISHED", "KILLED", "FAILED") if status in statuses)


def _configuration_name(planned: PlannedTrial) -> str:
    params = planned.params
    shape = ",".join(str(params[name]) for name in ("num_experts", "top_k", "rank") if name in params)
    lr = f"lr {params['lr']:.3g}" if isinstance(params.get("lr"), float) else ""
    return " ".join(filter(None, (planned.family, shape, lr, planned.configuration[:4])))


def _sampled(planned: PlannedTrial) -> dict[str, str]:
    return {"family": planned.family} | {name: str(value) for name, value in planned.params.items()}


def _closed_at(study: StudyRecord) -> float | None:
    return None if study.state in {StudyState.PLANNED, StudyState.RUNNING} else study.changed_at


def _start(trials: Iterable[TrialActivity], study: StudyRecord) -> float:
    starts = (trial.started_at or trial.ended_at for trial in trials)
    return min((start for start in starts if start is not None), default=study.created_at)


def _is_lost(trial: TrialActivity) -> bool:
    return trial.record.ending is not None and trial.record.ending.outcome in _LOST


def _grouped(
    trials: Iterable[TrialActivity], group: Callable[[PlannedTrial], str]
) -> dict[str, list[TrialActivity]]:
    groups: dict[str, list[TrialActivity]] = {}
    for trial in trials:
        groups.setdefault(group(trial.record.planned), []).append(trial)
    return groups


def _any_of(trials: Iterable[TrialActivity], keys: AbstractSet[str]) -> bool:
    return any(trial.record.planned.key in keys for trial in trials)


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(str(name) for name in names))
