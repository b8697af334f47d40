"""A study at one moment, read from its ledger for the report."""

from dataclasses import asdict

from study.ledger import Ledger
from study.report import Snapshot
from study.trial_table import curves, rung_table, trial_table


def take_snapshot(ledger: Ledger, study: str) -> Snapshot:
    """What the ledger says of a study now.

    Raises:
        SpecError: there is no such study.
    """
    record = ledger.study(study)
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
    )
