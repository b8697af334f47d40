"""What the overheads benchmark times is a whole study, driven to its end."""

import subprocess
import sys
from pathlib import Path

import overheads
import pytest
from planted import planted_life, short_spec
from real_run import Timeline, busy_costs, handover

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


def test_the_work_on_a_trial_is_told_from_that_on_measurements():
    """Two clients, 10 ms a measurement, 40 measurements a trial, and 70 ms more for each trial."""
    starts, measured, ends, now = [], [], [], 1000.0
    for _ in range(20):
        starts.append(now + 0.03)
        now += 0.07
        measured += [now + 0.01 * number for number in range(1, 41)]
        now = measured[-1]
        ends.append(now + 0.5)  # another client's trial goes on meanwhile
    seen = Timeline(
        started_s=starts,
        first_said_s=measured[::40],
        turnovers_s=[(start, 0.25) for start in starts],
        measured_s=measured,
        ended_s=ends,
    )
    found = busy_costs(seen, 2)
    assert found["measurement_s"] == pytest.approx(0.01)
    assert found["trial_s"] == pytest.approx(
        0.07, rel=0.1
    )  # the last trial's start ends the time that counts
    assert found["turnover_s"] == 0.25


def test_the_time_between_two_trials_of_a_lane_is_told():
    """Two lanes, 0.4 s apart; a trial trains a second, and its lane is idle for 0.3 s before it."""
    begins = [lane + 1.3 * number for lane in (0.0, 0.4) for number in range(5)]
    seen = Timeline(
        started_s=[],
        first_said_s=sorted(begins),
        turnovers_s=[],
        measured_s=[],
        ended_s=sorted(begin + 1.0 for begin in begins),
    )
    assert handover(seen, 2) == pytest.approx(0.3)


def test_ray_is_not_imported_before_its_environment_is_set():
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    program = "import overheads, scaling, sys; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=benchmarks, check=True)
