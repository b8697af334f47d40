"""Calibration: lanes are added for as long as they pay, and nothing of the timing stays behind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import torch

from search_spaces.errors import SpecError
from tests.trainers.test_trial import bench, figures, run, setup, workload
from trainers import calibration as module
from trainers import timing
from trainers.calibration import BUDGET_S, Calibration, calibrate
from trainers.device_memory import DeviceMemory
from trainers.trial import Trial
from trainers.workbench import open_workbench

FOUND = Calibration(
    lanes=4,
    step_s={1: 1.0, 2: 1.5, 4: 2.0},
    evaluation_s={"select": 0.5, "report": 1.0},
    memory_bytes=10**9,
    device="cpu",
    load_s=3.0,
)


@dataclass
class Planted:
    """Stands for timed trials whose gains are known; a number of lanes without one does not fit."""

    gains: Mapping[int, float]
    tried: list[int] = field(default_factory=list)

    def time_alone(self) -> None:
        """The lone trial has been timed."""

    def seconds_for(self, lanes: int) -> float:
        return float(lanes)

    def gain(self, lanes: int, *, worth: float) -> float:
        assert worth > 1
        self.tried.append(lanes)
        if lanes not in self.gains:
            raise torch.OutOfMemoryError("no room")
        return self.gains[lanes]


def chosen(gains: Mapping[int, float], *, most: int = 16) -> tuple[int, list[int]]:
    """Lanes that are chosen, and those that were tried."""
    planted = Planted(gains)
    found = module._gains(planted, DeviceMemory(torch.device("cpu"), 1), most, lambda _: None)
    return max(tried for tried in found if module._pays(found, tried)), planted.tried


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({2: 1.02, 4: 2.0}, (1, [2])),
        ({2: 0.8}, (1, [2])),
        ({2: 1.5, 4: 1.54, 8: 3.0}, (2, [2, 4])),
        ({2: 1.5, 4: 2.0, 8: 1.9}, (4, [2, 4, 8])),
        ({2: 1.2, 4: 1.4, 8: 1.6, 16: 1.8}, (16, [2, 4, 8, 16])),
        ({2: 1.5}, (2, [2, 4])),
        ({}, (1, [2])),
    ],
)
def test_lanes_double_for_as_long_as_each_doubling_pays(gains, expected):
    assert chosen(gains) == expected


def test_no_more_lanes_are_tried_than_asked_for():
    assert chosen({2: 1.5, 4: 2.0, 6: 2.5, 8: 3.0}, most=6) == (6, [2, 4, 6])
    assert chosen({2: 1.5}, most=1) == (1, [])


def test_when_time_is_up_only_a_clear_gain_goes_on(monkeypatch):
    now = iter(range(0, 10**6, int(BUDGET_S) + 1))
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(now)))
    assert chosen({2: 1.5, 4: 1.6, 8: 3.0}) == (4, [2, 4])


def test_memory_is_foreseen_from_the_lanes_at_hand():
    memory, size = DeviceMemory(torch.device("cpu"), 1), 2**27
    held = torch.ones(size // 4)
    memory.note(2)
    assert held.sum() == size // 4
    grown = memory.expected_bytes(8) - memory.expected_bytes(0)
    assert grown == pytest.approx(4 * size, rel=0.2)
    assert memory.has_room_for(2)
    assert not memory.has_room_for(10**6)


def test_a_calibration_reads_back_and_fills_the_gaps_between_lanes():
    assert Calibration.from_json(FOUND.to_json()) == FOUND
    assert [FOUND.joint_step_s(lanes) for lanes in (0, 0.5, 1, 3, 4, 8)] == [0, 0.5, 1, 1.75, 2, 4]
    assert FOUND.steps_per_second(4) == 2


@pytest.fixture
def brief(monkeypatch):
    """Samples of one step, which are enough where no figure counts."""
    monkeypatch.setattr(timing, "MOST_STEPS", 1)


@pytest.mark.usefixtures("brief")
def test_timing_leaves_base_folders_and_measurements_as_they_were(tmp_path):
    shared, said = bench(tmp_path), []
    trials = [setup(tmp_path / family, family=family) for family in ("sgd", "gradamw", "radamw")]
    alone = figures(run(Trial(setup(tmp_path / "before"), shared)))
    before = {name: weight.clone() for name, weight in shared.foundation.model.named_parameters()}
    shared.base_scores.clear()
    found = calibrate(shared, trials, most_lanes=2, say=said.append)
    assert list(found.step_s) == [1, 2]
    assert found.lanes in {1, 2}
    assert all(0 < seconds < 5 for seconds in (*found.step_s.values(), *found.evaluation_s.values()))
    assert found.memory_bytes > 0
    timed, gained = said
    assert re.fullmatch(r"Timing 2 lanes: at most about \d+ s\.", timed)
    assert "2 lanes train" in gained
    assert not any((tmp_path / one.family).exists() for one in trials)
    after = dict(shared.foundation.model.named_parameters())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert shared.base_scores.keys() == {"select", "report"}
    assert figures(run(Trial(setup(tmp_path / "after"), shared))) == alone


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    ("dtype", "slowdown", "is_told"),
    [("bfloat16", 30, True), ("bfloat16", 0.5, False), ("float32", 30, False)],
)
def test_slow_bfloat16_is_told(tmp_path, monkeypatch, dtype, slowdown, is_told):
    monkeypatch.setattr(module, "bfloat16_time", lambda _: slowdown)
    made = workload(tmp_path)
    made = made.model_copy(update={"base": made.base.model_copy(update={"dtype": dtype})})
    said: list[str] = []
    calibrate(
        open_workbench(made, tmp_path, tmp_path / "cache", "cpu"),
        [setup(tmp_path)],
        most_lanes=1,
        say=said.append,
    )
    assert any("bfloat16 take 30 times as long" in line for line in said) == is_told


@pytest.mark.usefixtures("brief")
def test_an_encoder_has_one_lane(tmp_path):
    shared = bench(tmp_path, encoder=True)
    found = calibrate(shared, [setup(tmp_path)], most_lanes=8)
    assert (found.lanes, list(found.step_s)) == (1, [1])


@pytest.mark.usefixtures("brief")
def test_a_trial_that_diverges_while_it_is_timed_begins_anew(tmp_path):
    found = calibrate(bench(tmp_path), [setup(tmp_path, family="sgd", lr=1e38)], most_lanes=2)
    assert list(found.step_s) == [1, 2]


def test_a_base_without_room_for_one_trial_is_refused(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Trial, "_train_one_step", full)
    with pytest.raises(
        SpecError, match="Not even one trial of family gradamw fits in the memory of cpu: lower"
    ):
        calibrate(bench(tmp_path), [setup(tmp_path)], most_lanes=4)


@pytest.mark.parametrize("wrong", [{"most_lanes": 0}, {"most_lanes": 1, "num_packs": 0}])
def test_nothing_to_calibrate_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="at the least"):
        calibrate(bench(tmp_path), [setup(tmp_path)], **wrong)


@pytest.mark.gpu
def test_an_accelerators_memory_is_watched(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    shared = bench(tmp_path)
    shared.foundation.model.to("cuda")
    found = calibrate(shared, [setup(tmp_path)], most_lanes=4)
    assert found.device.startswith("cuda")
    assert 0 < found.memory_bytes < torch.cuda.get_device_properties("cuda").total_memory
