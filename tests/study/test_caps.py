"""Limits of device-hours and hours: what is counted, and how a study stops at one."""

import pytest

from study.caps import Caps
from study.coordinator import Coordinator
from study.interruption import Interruption
from study.ledger import Ledger, StudyState
from study.tracking.view import views
from tests.study.simulation import World, coordinator_in, drive, mixed_life, new_study, study_spec


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ledger.db'}"


def capped_events(ledger: Ledger, study: str) -> list[dict[str, object]]:
    return [dict(event.detail) for event in ledger.events(study) if event.kind == "capped"]


def test_without_limits_nothing_ends_a_launch(url):
    spec = study_spec()
    with new_study(spec, url) as ledger:
        clock = Clock()
        caps = Caps(spec, ledger, Interruption(), lambda: 1e12, clock=clock)
        clock.now += 1e9
        assert not caps.is_over()
        assert capped_events(ledger, spec.name) == []


def test_the_limit_of_device_hours_stops_a_study_in_order(url):
    spec = study_spec(resources={"max_device_hours": 2.5})
    with new_study(spec, url) as ledger:
        interruption, used_s = Interruption(), [8999.0]
        caps = Caps(spec, ledger, interruption, lambda: used_s[0])
        assert not caps.is_over()
        used_s[0] = 9036.0
        assert caps.is_over()
        assert caps.is_over()
        assert interruption.final_state is StudyState.STOPPED
        assert interruption.reason == (
            "resources.max_device_hours is 2.5 and 2.51 device-hours were used: "
            "launch the study file with a higher one"
        )
        assert capped_events(ledger, spec.name) == [{"cap": "max_device_hours", "limit": 2.5, "used": 2.51}]


def test_the_limit_of_hours_counts_from_the_launch(url):
    spec = study_spec(resources={"max_hours": 0.5})
    with new_study(spec, url) as ledger:
        clock, interruption = Clock(), Interruption()
        caps = Caps(spec, ledger, interruption, lambda: 1e9, clock=clock)
        clock.now += 1799
        assert not caps.is_over()
        clock.now += 1
        assert caps.is_over()
        assert (
            "resources.max_hours is 0.5 and 0.5 hours of this launch were used: resume it"
            in interruption.reason
        )
        assert capped_events(ledger, spec.name) == [{"cap": "max_hours", "limit": 0.5, "used": 0.5}]


def test_what_stopped_a_launch_before_is_not_overruled(url):
    spec = study_spec(resources={"max_hours": 1})
    with new_study(spec, url) as ledger:
        clock, interruption = Clock(), Interruption()
        caps = Caps(spec, ledger, interruption, lambda: 0.0, clock=clock)
        interruption.set("SIGINT was received")
        clock.now += 7200
        assert caps.is_over()
        assert interruption.final_state is StudyState.INTERRUPTED
        assert capped_events(ledger, spec.name) == []


def test_device_seconds_are_those_of_the_whole_study_over_all_launches(url):
    spec = study_spec()
    with new_study(spec, url) as ledger:
        world = World(seed=0, num_workers=3, life=mixed_life)
        first = coordinator_in(world, spec, ledger)
        assert first.device_seconds == 0
        trial = first.next_trial()
        reports = mixed_life(trial)
        first.receive(trial.key, 0, reports[:2])
        assert first.device_seconds == reports[1].metrics["device_s"] == 1.0
        again = Coordinator(spec, ledger)
        assert again.device_seconds == 1.0
        drive(coordinator_in(world, spec, ledger), world)
        endings = [record.ending for record in ledger.trials(spec.name)]
        assert Coordinator(spec, ledger).device_seconds == sum(ending.device_seconds for ending in endings)


def test_limits_change_no_trial():
    assert study_spec().digest == study_spec(resources={"max_hours": 2, "max_device_hours": 3.5}).digest


def test_a_limit_may_change_though_mlflow_refuses_a_parameter_that_does(url):
    spec = study_spec(resources={"max_hours": 2})
    with new_study(spec, url) as ledger:
        ledger.set_study_state(spec.name, StudyState.RUNNING)
        (before,) = views(ledger.study(spec.name), [])
        ledger.save_spec(spec.name, study_spec(resources={"max_hours": 3, "packs": 2}).canonical())
        (after,) = views(ledger.study(spec.name), [])
    assert before.params == after.params
    assert after.params["training.batch"] == "4"
