"""A study at one moment, read from its ledger for the report."""

from dataclasses import asdict
from pathlib import Path

from study.ledger import Ledger, StudyRecord
from study.report import Snapshot
from study.reproduction.taking import take_record
from study.statistics.claims import ClaimSet
from study.trial_table import curves, rung_table, trial_table


def take_snapshot(ledger: Ledger, study: str) -> Snapshot:
    """What the ledger says of a study now.

    Raises:
        SpecError: there is no such study, or its claims cannot be read.
    """
    record = ledger.study(study)
    spans = _phase_spans(ledger, study)
    return Snapshot(
        name=record.name,
        state=record.state.value,
        spec=record.spec,
        plan=record.plan,
        manifest=record.manifest,
        trials=trial_table(ledger, study),
        curves=curves(ledger, study),
        rungs=rung_table(ledger, study),
        events=[asdict(event) for event in ledger.events(study)],
        claims=claims_of(record),
        phase_starts={phase: first for phase, (first, _) in spans.items()},
        phase_ends={phase: last for phase, (_, last) in spans.items()},
        record=take_record(ledger, study),
    )


def claims_of(study: StudyRecord) -> ClaimSet | None:
    """What a study claims: its claims file as it was at the last launch, else as it is; None where it claims nothing.

    Raises:
        SpecError: the claims cannot be read.
    """
    from study.claims.file import parse_claims, read_claims

    path = study.spec.get("claims")
    kept = (study.manifest.get("claims") or {}).get("written")
    if kept is not None:
        return parse_claims(kept, source=f"The claims of study {study.name}").claim_set()
    if isinstance(path, str) and Path(path).exists():
        return parse_claims(read_claims(path), source=path).claim_set()
    return None


def _phase_spans(ledger: Ledger, study: str) -> dict[str, tuple[float, float]]:
    """Phase to the Unix times in seconds of its first and its last measurement."""
    phases = {trial.planned.key: trial.planned.phase.value for trial in ledger.trials(study)}
    spans: dict[str, tuple[float, float]] = {}
    for one in ledger.measurements(study):
        first, last = spans.get(phases[one.trial], (one.recorded_at, one.recorded_at))
        spans[phases[one.trial]] = (min(first, one.recorded_at), max(last, one.recorded_at))
    return spans
