"""What a study will take, against sums by hand."""

from typing import Any

import pytest

from study.prediction import launch_prediction, most_lanes, predicted, quickest_lanes
from study.spec import StudySpec, parse_spec
from trainers.calibrated import Calibration

TIMED = Calibration(
    lanes=4,
    step_s={1: 1.0, 2: 1.5, 4: 2.0},
    evaluation_s={"select": 0.5, "report": 3.0},
    memory_bytes=10**9,
    device="cpu",
    load_s=36.0,
)
CONFIRMATION = {"confirmation": {"seeds": 5}}


def spec(phases: dict[str, Any], **changes: Any) -> StudySpec:
    """Two families that train 8 steps and are evaluated every 4."""
    document = {
        "name": "predicted",
        "seed": 1,
        "base": {"model": "path:/models/none"},
        "task": {"name": "vader_movie", "select_rows": 12},
        "training": {"steps": 8, "batch": 4, "eval_every": 4},
        "families": ["sgd", "gradamw"],
        "phases": phases,
    }
    return parse_spec({**document, **changes}, source="a study")


def test_trials_run_in_waves_and_the_last_lanes_may_stay_empty():
    found = predicted(spec(CONFIRMATION), TIMED, packs=1)
    # ten trials: two waves of four lanes at 2 s a step, one of two at 1.5 s; then 0.5 + 0.5 + 3 s of evaluations each
    assert found["seconds"] == {"confirmation": pytest.approx(8 * (2 + 2 + 1.5) + 10 * 4)}
    assert found["device_seconds"]["confirmation"] == pytest.approx({"sgd": 42, "gradamw": 42})
    assert found["trials"] == {"confirmation": 10}
    assert found["steps"] == {"confirmation": 80}
    assert found["device_hours"] == pytest.approx(84 / 3600)
    assert found["hours"] == pytest.approx((84 + 36) / 3600)
    assert (found["packs"], found["lanes"]) == (1, 4)


def test_lanes_must_save_more_than_their_clients_cost():
    long, short = (
        spec(CONFIRMATION),
        spec({"confirmation": {"seeds": 2}}, training={"steps": 2, "eval_every": 2}),
    )
    # ten trials of 8 steps: 84 s with four lanes, 100 with two, 120 with one; a client is 2 s
    assert quickest_lanes(long, TIMED, packs=1, cpus=1) == 4
    # four of 2 steps: 18 s with four lanes, 20 with two, 22 with one
    assert quickest_lanes(short, TIMED, packs=1, cpus=1) == 1
    assert quickest_lanes(short, TIMED, packs=1, cpus=16) == 4


def test_packs_share_the_trials_and_the_fullest_one_decides():
    found = predicted(spec({"confirmation": {"seeds": 3}}), TIMED, packs=4, lanes=1)
    # six trials on four packs: two of them train two, one after the other
    assert found["seconds"]["confirmation"] == pytest.approx(2 * (8 + 4))
    assert sum(found["device_seconds"]["confirmation"].values()) == pytest.approx(6 * (8 + 4))


def test_families_differ_by_their_own_seconds():
    found = predicted(spec(CONFIRMATION), TIMED, packs=1, solo_s={"sgd": 1.0, "gradamw": 3.0})
    costs = {family: seconds / 5 - 4 for family, seconds in found["device_seconds"]["confirmation"].items()}
    assert costs["gradamw"] == pytest.approx(3 * costs["sgd"])
    assert sum(found["device_seconds"]["confirmation"].values()) == pytest.approx(84)


def test_a_search_is_cheaper_by_what_stopping_saves():
    searched = {"search": {"trials": 4, "reduction": 2, "grace_steps": 2}}
    whole = {"confirmation": {"seeds": 4}}
    search, confirmation = (
        predicted(spec(phases), TIMED, packs=1)["device_seconds"] for phases in (searched, whole)
    )
    # rungs at 2 and 4 of 8 steps with one in two passing: 2 + 2/2 + 4/4 = 4 steps, half of the budget
    assert search["search"]["sgd"] == pytest.approx(confirmation["confirmation"]["sgd"] / 2)


def test_phases_of_one_stage_share_its_lanes():
    phases = {"sensitivity": {"replicates": 1, "points": 2, "factor_slices": ["rank"]}}
    found = predicted(
        spec(phases, spaces={"all": {"rank": [2, 4, 8], "num_experts": [2], "top_k": [2]}}), TIMED, packs=1
    )
    assert found["trials"] == {"sensitivity": 4, "factor_slice": 6}
    assert sum(found["seconds"].values()) == pytest.approx(84)
    assert found["seconds"]["factor_slice"] == pytest.approx(84 * 0.6)


def test_scores_of_disturbed_adapters_are_part_of_the_cost():
    small = {"all": {"num_experts": [2], "top_k": [2]}}
    disturbed = {"confirmation": {"seeds": 5, "perturbations": ["expert_dropped", {"weights_bits": 4}]}}
    plain, more = (
        predicted(spec(phases, spaces=small), TIMED, packs=1)["seconds"]["confirmation"]
        for phases in (CONFIRMATION, disturbed)
    )
    assert more - plain == pytest.approx(10 * 3 * 3.0)  # two experts, and the weights


def test_a_launch_predicts_with_the_lanes_it_found():
    study = spec(CONFIRMATION)
    assert launch_prediction(study, TIMED, 2) == predicted(study, TIMED, packs=2, lanes=4)
    assert launch_prediction(study, TIMED, 2, lanes=1) == predicted(study, TIMED, packs=2, lanes=1)


@pytest.mark.parametrize(("seeds", "packs", "expected"), [(5, 1, 10), (5, 3, 4), (2, 9, 1), (400, 2, 32)])
def test_no_lane_stays_empty_from_the_start(seeds: int, packs: int, expected: int):
    assert most_lanes(spec({"confirmation": {"seeds": seeds}}), packs) == expected
