"""What the overheads benchmark times is a whole study, driven to its end."""

import overheads
from planted import planted_life, short_spec

from study.ledger import Ledger
from study.records import Outcome

SPEC = short_spec(search=9, seeds=3, steps=60, eval_every=overheads.EVAL_EVERY, name="driven")


def test_a_driven_study_ends_and_every_call_is_timed(tmp_path):
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.create_study(SPEC.name, SPEC.canonical(), SPEC.digest, {})
        driven = overheads.drive(SPEC, ledger, lanes=4)
        records = ledger.trials(SPEC.name)
        assert all(record.ending is not None for record in records)
        assert len(driven.trial_s) == len(records) == 2 * (9 + 3)
        assert len(driven.receive_s) >= len(ledger.measurements(SPEC.name))
        assert {record.ending.outcome for record in records if record.ending} >= {
            Outcome.FINISHED,
            Outcome.STOPPED,
        }
        for record in records:
            said = {report.step for report in planted_life(record.planned, overheads.EVAL_EVERY)}
            assert record.ending is not None
            assert record.ending.steps in said
