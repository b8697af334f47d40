"""What a study will cost, and on what its packs are placed."""

import pytest

from search_spaces.errors import SpecError
from study.cluster import fit_packs
from study.home import open_home
from study.plan import plan_study, plan_text, smallest_effects
from study.spec import Resources, parse_spec
from tests.trainers.test_trial import workload


def tiny_spec(folder):
    parts = workload(folder).model_dump(mode="json")
    return parse_spec(
        {
            "name": "planned",
            "seed": 1,
            **parts,
            "families": ["sgd", "gradamw"],
            "spaces": {"all": {"num_experts": [2], "top_k": [2], "rank": [2]}},
            "phases": {
                "search": {"trials": 4, "reduction": 2, "grace_steps": 2},
                "confirmation": {"seeds": 3},
            },
        },
        source="study",
    )


@pytest.mark.parametrize(
    ("resources", "cluster", "expected"),
    [
        ({}, {"CPU": 4}, (4, 1, 0, "cpu")),
        ({"cpus_per_pack": 3}, {"CPU": 8}, (2, 3, 0, "cpu")),
        ({"max_packs": 2}, {"CPU": 8}, (2, 1, 0, "cpu")),
        ({"packs": 9}, {"CPU": 4}, (4, 1, 0, "cpu")),
        ({}, {"CPU": 16, "GPU": 2}, (2, 1, 1, "cuda")),
        ({"gpus_per_pack": 0}, {"CPU": 2, "GPU": 2}, (2, 1, 0, "cpu")),
        ({"gpus_per_pack": 2}, {"CPU": 16, "GPU": 5}, (2, 1, 2, "cuda")),
    ],
)
def test_packs_fit_what_is_there(resources, cluster, expected):
    packs = fit_packs(Resources(**resources), cluster)
    assert (packs.number, packs.cpus, packs.gpus, packs.device) == expected


@pytest.mark.parametrize("resources", [{"cpus_per_pack": 3}, {"gpus_per_pack": 1}])
def test_a_pack_that_fits_nowhere_is_refused(resources):
    with pytest.raises(SpecError, match=r"A pack needs .* but there are 2 and 0: lower"):
        fit_packs(Resources(**resources), {"CPU": 2})


def test_a_plan_counts_times_and_adds_up(tmp_path):
    said = []
    plan = plan_study(tiny_spec(tmp_path), open_home(tmp_path / "home"), say=said.append)
    assert plan["trial_counts"] == {
        "search": {"sgd": 4, "gradamw": 4},
        "confirmation": {"sgd": 3, "gradamw": 3},
    }
    assert plan["num_trials"] == 14
    assert all(0 < speed < 5 for speed in plan["device_seconds_per_step"].values())
    total_s = sum(sum(families.values()) for families in plan["device_seconds"].values())
    assert plan["device_hours"] == pytest.approx(total_s / 3600)
    assert any("s a step" in sentence for sentence in said)
    tried = plan["steps_per_second"]
    assert tried["1"] == pytest.approx(1 / plan["calibration"]["step_s"]["1"])
    assert str(plan["lanes"]) in tried
    assert plan["hours_here"] * 3600 > sum(plan["seconds_here"].values())  # loading is part of it
    text = plan_text(plan)
    assert "14 trials of 8 steps" in text
    assert f"  1 lane        {tried['1']:>7.2f}\n" in text
    lanes = "1 lane" if plan["lanes"] == 1 else f"{plan['lanes']} lanes"
    assert f" of {lanes} on this machine at most " in text


def test_a_plan_for_a_given_number_of_lanes_tries_no_more(tmp_path):
    written = tiny_spec(tmp_path).model_dump(mode="json") | {"resources": {"lanes": 2, "packs": 1}}
    plan = plan_study(parse_spec(written, "x"), open_home(tmp_path / "home"), say=lambda _: None)
    assert (plan["lanes"], list(plan["steps_per_second"])) == (2, ["1", "2"])
    assert plan["packs_here"] == 1


def test_a_plan_without_measuring_loads_no_model(tmp_path):
    plan = plan_study(tiny_spec(tmp_path), open_home(tmp_path / "home"), say=lambda _: None, measure=False)
    assert plan["device_seconds_per_step"] is None
    assert "Device-seconds" not in plan_text(plan)


@pytest.mark.parametrize(
    ("effect_sd", "num_units"), [(0.5, 34), (0.7, 19), (0.8, 15), (1.0, 10), (1.2, 8), (1.5, 6), (2.0, 5)]
)
def test_the_smallest_effect_is_that_of_the_usual_table(tmp_path, effect_sd, num_units):
    """Paired t, two-sided 5 %, power 0.8: Cohen (1988), rounded up to whole pairs."""

    def smallest(seeds: int) -> float:
        written = tiny_spec(tmp_path).model_dump(mode="json")
        phases = {"confirmation": {"seeds": seeds}}
        return smallest_effects(parse_spec({**written, "phases": phases}, "x"))["confirmation"]["effect_sd"]

    assert smallest(num_units) <= effect_sd < smallest(num_units - 1)


def test_a_plan_says_what_each_phase_can_show(tmp_path):
    written = tiny_spec(tmp_path).model_dump(mode="json")
    phases = {"sensitivity": {"replicates": 10, "lr_slice": {}}, "confirmation": {"seeds": 2}}
    plan = plan_study(
        parse_spec({**written, "phases": phases}, "x"), open_home(tmp_path / "home"), say=str, measure=False
    )
    found = plan["smallest_effects"]
    assert list(found) == ["sensitivity", "lr_slice", "confirmation"]
    assert found["sensitivity"] == found["lr_slice"]
    assert found["sensitivity"]["smallest_p"] == 2**-9
    assert found["confirmation"] == {"unit": "seeds", "n": 2, "effect_sd": None, "smallest_p": 0.5}
    text = plan_text(plan)
    assert "  lr_slice       1.00  (10 replicates)" in text
    assert "  confirmation   none  (2 seeds; the least p is 0.5, so no test can reject)" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claims": "/nowhere/claims.yaml"}, "/nowhere/claims.yaml does not exist: check the name"),
        ({"resources": {"cpus_per_pack": 4096}}, "A pack needs 4096 CPUs"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything(tmp_path, changes, message):
    written = tiny_spec(tmp_path).model_dump(mode="json")
    spec = parse_spec({**written, **changes}, source="study")
    with pytest.raises(SpecError, match=message):
        plan_study(spec, open_home(tmp_path / "home"), say=lambda _: None, measure=False)
