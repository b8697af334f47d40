"""Steps of several optimizers at once: each takes, to the bit, the step that it takes alone."""

import pytest
import torch

from search_spaces.errors import TrialFailedError
from search_spaces.families import FAMILIES
from tests.trainers.nets import adapted_net, data, weights
from trainers.moe_lora import adapter_parameters
from trainers.optimizers import NonFiniteStepError, build_optimizer, step_together

SHAPES = [
    {"num_experts": 4, "top_k": 2, "r": 2},
    {"num_experts": 7, "top_k": 3, "r": 2},
    {"num_experts": 3, "top_k": 3, "r": 4},
]
STEPS = 3


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lane(number: int):
    """A net and its optimizer; lanes differ in family, shape, rates, damping, clipping, decay and recipe."""
    name = sorted(FAMILIES)[number % len(FAMILIES)]
    model = adapted_net(dtype=torch.float32, **SHAPES[number % len(SHAPES)])
    optimizer = build_optimizer(
        model,
        family=name,
        lr=10.0 ** -(2 + number % 3),
        router_lr=10.0 ** -(1 + number % 2),
        damping=10.0 ** -(2 + number % 4),
        router_max_norm=0.01 * (1 + number),
        expert_max_norm=None if number % 2 else 0.05,
        weight_decay=0.1 * (number % 3),
        simultaneous=number % 4 != 3,
        bias_correction=number % 5 != 4,
    )
    return model, optimizer


def backward(model, step: int) -> None:
    x, target = data(step, torch.float32)
    ((model(x) - target) ** 2).mean().backward()


def test_every_lane_moves_as_it_does_alone():
    numbers = range(2 * len(FAMILIES))
    together, alone = [lane(number) for number in numbers], [lane(number) for number in numbers]
    for step in range(STEPS):
        for model, optimizer in together + alone:
            optimizer.zero_grad()
            backward(model, step)
        outcomes = step_together([optimizer for _, optimizer in together])
        for (model, optimizer), (other, single), outcome in zip(together, alone, outcomes, strict=True):
            single.step()
            assert outcome == single.last_step == optimizer.last_step
            assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(other), strict=True))
    assert any(optimizer.last_step.num_factorised for _, optimizer in together)


def test_those_that_fail_stay_behind_and_the_others_go_on():
    lanes, alone = [lane(number) for number in range(8)], [lane(number) for number in range(8)]
    for model, _ in lanes + alone:
        backward(model, 0)
    sick_gradient, sick_weights = lanes[2], next(pair for pair in lanes[3:] if pair[1].is_preconditioned)
    adapter_parameters(sick_gradient[0]).experts[0].A.grad[0] = float("nan")
    with torch.no_grad():
        adapter_parameters(sick_weights[0]).experts[1].A[:] = float("inf")
    before = [weight.detach().clone() for weight in weights(sick_gradient[0])]
    outcomes = step_together([optimizer for _, optimizer in lanes])
    for pair, (other, single), outcome in zip(lanes, alone, outcomes, strict=True):
        if pair is sick_gradient:
            assert isinstance(outcome, NonFiniteStepError)
            assert "expert gradient norm is nan at optimizer step 1" in str(outcome)
        elif pair is sick_weights:
            assert isinstance(outcome, TrialFailedError)
            assert "Gram matrix is not finite" in str(outcome)
        else:
            single.step()
            assert outcome == single.last_step
            assert all(torch.equal(a, b) for a, b in zip(weights(pair[0]), weights(other), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights(sick_gradient[0]), before, strict=True))


def test_parameters_are_views_of_flat_buffers_and_find_back_when_moved():
    model, optimizer = lane(1)
    for _, buffer in optimizer.all_buffers():
        for param, weight in zip(buffer.params, buffer.weights, strict=True):
            assert param.data_ptr() == weight.data_ptr()
    other, straight = lane(1)
    for step in range(2):
        for trained, its in ((model, optimizer), (other, straight)):
            its.zero_grad()
            backward(trained, step)
            if trained is model:
                for weight in weights(model):
                    weight.data = weight.data.clone()
            its.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(other), strict=True))
