"""The simulated cluster against arithmetic, and against the real ledger under another interleaving."""

import itertools
import json
from dataclasses import asdict, replace

import pytest
from simulated_pack import Costs
from simulation import Simulation

from study.records import Outcome
from tests.study.simulation import World, coordinator_in, drive, mixed_life, new_study, study_spec

SPEC = study_spec()
WORK = Costs(step_s={1: 0.25, 2: 0.4, 4: 0.6}, evaluation_s=1.0, first_s=0.5, final_s=2.0, seat_s=0.125)
REAL = replace(WORK, latency_s=0.01, measurement_s=0.02, trial_s=0.1, startup_s=5.0)


def simulated(costs: Costs, *, packs: int, lanes: int) -> Simulation:
    return Simulation(SPEC, mixed_life, costs, packs=packs, lanes=lanes)


@pytest.mark.parametrize(("packs", "lanes"), [(1, 1), (1, 4), (3, 2), (100, 1)])
def test_every_planned_trial_ends_once_with_all_its_measurements(packs: int, lanes: int):
    simulation = simulated(REAL, packs=packs, lanes=lanes)
    result = simulation.run()  # the ledger raises where a trial ends twice
    records = simulation.ledger.trials(SPEC.name)
    assert result.num_trials == len(records) > 0
    for record in records:
        assert record.ending is not None
        steps = [one.step for one in simulation.ledger.measurements(SPEC.name, record.planned.key)]
        due = {
            report.step
            for report in mixed_life(record.planned)
            if report.step <= record.ending.steps
            and (report.ending is None or report.ending.outcome != "out_of_memory")  # it measured nothing
        }
        assert steps == sorted(due)


def test_one_device_takes_the_sum_of_the_work():
    simulation = simulated(WORK, packs=1, lanes=1)
    result = simulation.run()
    expected = 0.0
    for record in simulation.ledger.trials(SPEC.name):
        ending, life = record.ending, mixed_life(record.planned)
        assert ending is not None
        said = [report for report in life if report.step <= ending.steps]
        if ending.outcome is Outcome.STOPPED:
            said = [report for report in said if report.ending is None]
        expected += WORK.seat_s + WORK.first_s + ending.steps * WORK.step_s[1]
        expected += (len(said) - 1) * WORK.evaluation_s + WORK.final_s * (ending.outcome is Outcome.FINISHED)
    assert result.makespan_s == pytest.approx(expected)
    assert result.busy_frac == pytest.approx(1.0)
    assert result.forgotten_frac == pytest.approx(0.0)


def test_more_devices_never_take_longer():
    makespans = [simulated(REAL, packs=packs, lanes=1).run().makespan_s for packs in (1, 2, 4, 8, 16, 64)]
    for fewer, more in itertools.pairwise(makespans):
        assert more <= 1.01 * fewer
    assert makespans[-1] < 0.5 * makespans[0]


def test_no_cluster_outruns_the_driver():
    result = simulated(replace(REAL, measurement_s=2.0), packs=100, lanes=1).run()
    assert result.makespan_s >= 2.0 * result.num_measurements
    assert result.driver_frac > 0.9


@pytest.mark.parametrize(("packs", "lanes"), [(1, 1), (5, 3)])
def test_the_same_trials_are_stopped_as_by_a_real_driver(tmp_path, packs: int, lanes: int):
    simulation = simulated(REAL, packs=packs, lanes=lanes)
    simulation.run()
    with new_study(SPEC, f"sqlite:///{tmp_path}/ledger.db") as real:
        world = World(seed=1, num_workers=3)
        drive(coordinator_in(world, SPEC, real), world)
        ours, theirs = simulation.ledger.rungs(SPEC.name), real.rungs(SPEC.name)
        assert sorted(json.dumps(asdict(rung)) for rung in ours) == sorted(
            json.dumps(asdict(rung)) for rung in theirs
        )
        outcomes = {
            record.planned.key: record.ending and (record.ending.outcome, record.ending.steps)
            for record in simulation.ledger.trials(SPEC.name)
        }
        assert outcomes == {
            record.planned.key: record.ending and (record.ending.outcome, record.ending.steps)
            for record in real.trials(SPEC.name)
        }


def test_a_joint_step_is_read_off_the_line_between_calibrated_lanes():
    assert [WORK.joint_step_s(lanes) for lanes in (1, 2, 3, 4, 8)] == pytest.approx(
        [0.25, 0.4, 0.5, 0.6, 1.2]
    )
