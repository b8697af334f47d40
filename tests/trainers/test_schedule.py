"""Schedules against transformers' own, and closed forms for what transformers lacks."""

import math

import pytest
import torch
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from trainers.schedule import lr_multiplier
from trainers.workload import Training

NUM_STEPS = 40
THEIRS = {
    "constant": get_constant_schedule_with_warmup,
    "linear": lambda optimizer, warmup: get_linear_schedule_with_warmup(optimizer, warmup, NUM_STEPS),
    "cosine": lambda optimizer, warmup: get_cosine_schedule_with_warmup(optimizer, warmup, NUM_STEPS),
}


def training(**changes: object) -> Training:
    return Training(**{"steps": NUM_STEPS, **changes})


@pytest.mark.parametrize("schedule", sorted(THEIRS))
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_schedules_are_those_of_transformers(schedule, warmup):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = THEIRS[schedule](optimizer, round(warmup * NUM_STEPS))
    recipe = training(schedule=schedule, warmup=warmup)
    for step in range(NUM_STEPS):
        assert lr_multiplier(recipe, step, NUM_STEPS) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_floor_is_reached_one_step_after_the_last(schedule):
    recipe = training(schedule=schedule, warmup=0.25, final_lr_frac=0.1)
    assert lr_multiplier(recipe, NUM_STEPS // 4, NUM_STEPS) == 1.0
    assert lr_multiplier(recipe, NUM_STEPS, NUM_STEPS) == pytest.approx(0.1)
    middle = lr_multiplier(recipe, 25, NUM_STEPS)  # half of the way down
    assert middle == pytest.approx(0.55)


def test_a_cosine_is_a_cosine():
    recipe = training(schedule="cosine", final_lr_frac=0.2)
    quarter = lr_multiplier(recipe, NUM_STEPS // 4, NUM_STEPS)
    assert quarter == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)


@pytest.mark.parametrize("schedule", sorted(THEIRS))
@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.4, 0.9])
def test_the_shortest_trials_have_a_rate_at_every_step(schedule, num_steps, warmup):
    recipe = training(schedule=schedule, warmup=warmup)
    rates = [lr_multiplier(recipe, step, num_steps) for step in range(num_steps)]
    assert all(0.0 <= rate <= 1.0 for rate in rates)
    assert warmup or rates[0] == 1.0


def test_the_schedule_needs_no_memory():
    recipe = training(schedule="cosine", warmup=0.1)
    steps = list(range(NUM_STEPS))
    forward = [lr_multiplier(recipe, step, NUM_STEPS) for step in steps]
    assert [lr_multiplier(recipe, step, NUM_STEPS) for step in reversed(steps)] == forward[::-1]
