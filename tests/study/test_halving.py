"""Decisions of successive halving: Ray's own rule, in planned order."""

import random

import numpy as np
import pytest
from ray.tune.schedulers import ASHAScheduler

from study.halving import OrderedHalving, rung_steps

KEYS = [f"search/rsgd/p{point:03d}" for point in range(27)]


def halving() -> OrderedHalving:
    made = OrderedHalving(family="rsgd", grace_steps=2, reduction=3, max_steps=20)
    made.plan(KEYS)
    return made


def losses() -> dict[tuple[str, int], float]:
    generator = np.random.default_rng(5)
    return {(key, rung): float(generator.normal(2.0, 0.3)) for key in KEYS for rung in (2, 6, 18)}


def run_in(
    arrival_order: list[tuple[str, int]], values: dict[tuple[str, int], float]
) -> list[tuple[str, int, str]]:
    made = halving()
    stopped: set[str] = set()
    records = []
    for key, rung in arrival_order:
        if key in stopped:
            continue
        made.arrive(key, rung, values[key, rung])
        if rung == 18:
            made.end(key, 20)
        for record in made.decide():
            records.append((record.trial, record.rung, record.action))
            if record.action == "stop":
                stopped.add(record.trial)
    return sorted(records)


def shuffled_arrivals(seed: int) -> list[tuple[str, int]]:
    """A random interleaving in which every trial still meets its own rungs in order."""
    waiting = {key: [2, 6, 18] for key in KEYS}
    chooser = random.Random(seed)
    arrivals = []
    while waiting:
        key = chooser.choice(sorted(waiting))
        arrivals.append((key, waiting[key].pop(0)))
        if not waiting[key]:
            del waiting[key]
    return arrivals


def test_rungs_lie_below_the_full_budget():
    assert rung_steps(2, 3, 20) == (2, 6, 18)
    assert rung_steps(2, 3, 18) == (2, 6)
    assert rung_steps(20, 3, 20) == ()


@pytest.mark.parametrize("seed", range(5))
def test_decisions_do_not_depend_on_arrival_order(seed):
    values = losses()
    in_order = [(key, rung) for rung in (2, 6, 18) for key in KEYS]
    assert run_in(shuffled_arrivals(seed), values) == run_in(in_order, values)


def test_decisions_in_planned_order_are_rays():
    values = losses()
    ray_asha = ASHAScheduler(
        time_attr="step", metric="loss", mode="min", grace_period=2, reduction_factor=3, max_t=20
    )
    made = halving()
    for key in KEYS:
        trial = type("T", (), {"trial_id": key})()
        ray_asha.on_trial_add(None, trial)
        expected = ray_asha.on_trial_result(None, trial, {"step": 2, "loss": values[key, 2]})
        made.arrive(key, 2, values[key, 2])
        (record,) = made.decide()
        assert (record.action == "stop") == (expected == ASHAScheduler.STOP)
        if record.cutoff is not None:
            assert (record.action == "stop") == (record.value > record.cutoff)


def test_a_trial_waits_for_those_planned_before_it():
    made = halving()
    made.arrive(KEYS[1], 2, 1.0)
    assert made.decide() == []
    made.arrive(KEYS[0], 2, 2.0)
    assert [(record.trial, record.action) for record in made.decide()] == [
        (KEYS[0], "continue"),
        (KEYS[1], "continue"),
    ]


def test_a_diverged_trial_meets_its_next_rung_with_the_capped_loss():
    made = halving()
    made.arrive(KEYS[0], 2, 1.0)
    made.end(KEYS[1], 1, diverged_at_nats=5.0)
    first, second = made.decide()
    assert (first.action, second.action, second.value) == ("continue", "stop", 5.0)


def test_a_trial_lost_before_a_rung_holds_nobody_up():
    made = halving()
    made.end(KEYS[0], 0)
    made.arrive(KEYS[1], 2, 1.0)
    assert [record.trial for record in made.decide()] == [KEYS[1]]


def test_a_trial_that_could_not_be_measured_at_its_rung_holds_nobody_up():
    made = halving()
    made.arrive(KEYS[0], 2, 1.0)
    made.end(KEYS[0], 6)
    made.end(KEYS[1], 2)
    for rung in (2, 6):
        made.arrive(KEYS[2], rung, 0.5)
    decided = [(record.trial, record.rung) for record in made.decide()]
    assert decided == [(KEYS[0], 2), (KEYS[2], 2), (KEYS[2], 6)]


def test_refilled_rungs_decide_the_rest_alike():
    values = losses()
    whole, first = halving(), halving()
    records = []
    for key in KEYS:
        whole.arrive(key, 2, values[key, 2])
        records += whole.decide()
    for key in KEYS[:13]:
        first.arrive(key, 2, values[key, 2])
    kept = first.decide()
    resumed = halving()
    resumed.refill(kept)
    for key in KEYS[13:]:
        resumed.arrive(key, 2, values[key, 2])
    assert kept + resumed.decide() == records
