"""The optimizer as a torch optimizer: state, schedules, clipping, statistics and refusals."""

import copy
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from search_spaces.errors import SpecError, TrialFailedError
from search_spaces.families import FAMILIES
from tests.trainers.nets import adapted_net, data, train, weights
from trainers.moe_lora import adapter_parameters
from trainers.optimizers import RULES, NonFiniteStepError, build_optimizer

NAMES = sorted(FAMILIES)


def optimizer_of(model, name: str, **settings: Any):
    return build_optimizer(model, family=name, **({"lr": 1e-3, "router_lr": 1e-3} | settings))


def backward(model, *, step: int = 0) -> None:
    x, target = data(step, torch.float64)
    ((model(x) - target) ** 2).mean().backward()


def test_every_rule_has_a_family():
    assert {family.rule for family in FAMILIES.values()} == set(RULES)


@pytest.mark.parametrize("bias_correction", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_continues_to_the_bit(name, bias_correction):
    straight, broken = adapted_net(), adapted_net()
    optimizer = optimizer_of(straight, name, bias_correction=bias_correction)
    train(straight, optimizer, 3)
    train(straight, optimizer, 3)

    first = optimizer_of(broken, name, bias_correction=bias_correction)
    train(broken, first, 3)
    state = copy.deepcopy(first.state_dict())
    tensors = {f"{index}.{key}": value for index, one in state["state"].items() for key, value in one.items()}
    read = load(save(tensors)) if tensors else {}  # through safetensors, as checkpoints go
    for index, one in state["state"].items():
        one.update({key: read[f"{index}.{key}"] for key in one})
    second = optimizer_of(broken, name, bias_correction=bias_correction, lr=1.0)
    second.load_state_dict(state)
    train(broken, second, 3)
    assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(broken), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_schedulers_scale_every_groups_learning_rate(name):
    scheduled, by_hand = adapted_net(), adapted_net()
    factors = [1.0, 0.5, 0.25, 0.0]
    optimizer = optimizer_of(scheduled, name, router_lr=3e-3)
    scheduler = LambdaLR(optimizer, lambda step: factors[step])
    other = optimizer_of(by_hand, name, router_lr=3e-3)
    for step in range(3):
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(
            [1e-3 * factors[step], 1e-3 * factors[step], 3e-3 * factors[step]]
        )
        for model, optimizer_ in ((scheduled, optimizer), (by_hand, other)):
            optimizer_.zero_grad()
            backward(model, step=step)
            optimizer_.step()
        scheduler.step()
        for group, lr in zip(other.param_groups, (1e-3, 1e-3, 3e-3), strict=True):
            group["lr"] = lr * factors[step + 1]
    assert all(torch.equal(a, b) for a, b in zip(weights(scheduled), weights(by_hand), strict=True))


def test_loraplus_gives_b_its_own_learning_rate():
    optimizer = optimizer_of(adapted_net(), "loraplus", lr=1e-3, lr_ratio=16.0)
    assert {g["name"]: g["lr"] for g in optimizer.param_groups} == {
        "experts_A": 1e-3,
        "experts_B": 1.6e-2,
        "routers": 1e-3,
    }


@pytest.mark.parametrize("name", ["sgd", "gradamw"])
def test_clipping_is_torchs(name):
    """Routers jointly to one norm, experts jointly to another."""
    model, other = adapted_net(), adapted_net()
    backward(model)
    backward(other)
    parameters = adapter_parameters(other)
    experts = [w for pair in parameters.experts for w in (pair.A, pair.B)]
    router_norm = torch.nn.utils.clip_grad_norm_(parameters.routers, 0.01)
    expert_norm = torch.nn.utils.clip_grad_norm_(experts, 0.02)
    assert float(router_norm) > 0.01
    assert float(expert_norm) > 0.02

    clipped = optimizer_of(model, name, router_max_norm=0.01, expert_max_norm=0.02)
    clipped.step()
    unclipped = optimizer_of(other, name, router_max_norm=None)
    unclipped.step()
    for got, want in zip(weights(model), weights(other), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-15)
    assert clipped.last_step.router_grad_norm == pytest.approx(float(router_norm))
    assert clipped.last_step.expert_grad_norm == pytest.approx(float(expert_norm))


@pytest.mark.parametrize("name", NAMES)
def test_statistics_of_a_step(name):
    model = adapted_net()
    backward(model)
    parameters = adapter_parameters(model)
    experts = [w for pair in parameters.experts for w in (pair.A, pair.B)]
    grad_norm = sum(float(w.grad.pow(2).sum()) for w in experts) ** 0.5
    before = [w.detach().clone() for w in experts]
    optimizer = optimizer_of(model, name)
    optimizer.step()
    moved = sum(float((w - b).detach().pow(2).sum()) for w, b in zip(experts, before, strict=True)) ** 0.5
    step = optimizer.last_step
    assert step.expert_grad_norm == pytest.approx(grad_norm)
    assert step.update_norm == pytest.approx(moved)
    assert step.head_grad_norm == 0.0
    assert step.num_factorised == (16 if FAMILIES[name].preconditioned else 0)
    assert step.num_damped == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("which", ["expert", "router"])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_that_are_not_finite_stop_before_anything_moves(name, which, bad):
    model = adapted_net()
    backward(model)
    parameters = adapter_parameters(model)
    weight = parameters.experts[1].B if which == "expert" else parameters.routers[0]
    weight.grad[0] = bad
    before = [w.detach().clone() for w in weights(model)]
    optimizer = optimizer_of(model, name)
    with pytest.raises(NonFiniteStepError, match=rf"{which} gradient norm is {bad} at optimizer step 1, so"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(weights(model), before, strict=True))
    assert issubclass(NonFiniteStepError, TrialFailedError)


def test_an_update_that_overflows_is_not_silent():
    model = adapted_net()
    backward(model)
    with pytest.raises(NonFiniteStepError, match="update norm is inf at optimizer step 1"):
        optimizer_of(model, "sgd", lr=1e308).step()


@pytest.mark.parametrize("name", NAMES)
def test_layers_without_gradients_stay(name):
    model = adapted_net()
    backward(model)
    idle = adapter_parameters(model).experts[0]
    idle.A.grad = idle.B.grad = adapter_parameters(model).routers[0].grad = None
    before = [w.detach().clone() for w in weights(model)]
    optimizer_of(model, name).step()
    stayed = [torch.equal(a, b) for a, b in zip(weights(model), before, strict=True)]
    assert stayed == [True, True, False, False, True, False]


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_is_decoupled_from_the_direction(name):
    """Without a gradient to follow, weights shrink by lr * decay, preconditioned or not."""
    model = adapted_net()
    for weight in weights(model):
        weight.grad = torch.zeros_like(weight)
    before = [w.detach().clone() for w in weights(model)]
    optimizer_of(model, name, lr=0.1, router_lr=0.1, weight_decay=0.5).step()
    for now, then in zip(weights(model), before, strict=True):
        torch.testing.assert_close(now, then * 0.95)


def test_a_closure_is_called_with_gradients_on():
    model = adapted_net()
    optimizer = optimizer_of(model, "sgd")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(data(0, torch.float64)[0]).pow(2).mean()
        loss.backward()
        return loss

    with torch.no_grad():
        assert float(optimizer.step(closure)) > 0
    assert optimizer.last_step.update_norm > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "grsdg"}, r"Unknown .*'grsdg', did you mean 'grsgd'"),
        ({"lr": -1.0}, "lr is -1.0 but must not be negative"),
        ({"router_lr": float("nan")}, "router_lr is nan but must not be negative"),
        ({"head_lr": -0.1}, "head_lr is -0.1 but must not be negative"),
        ({"damping": 0.0}, "damping is 0.0 but must be above 0"),
        ({"eps": 0.0}, "eps is 0.0 but must be above 0"),
        ({"router_max_norm": 0.0}, "router_max_norm is 0.0 but must be above 0"),
        ({"lr_ratio": 4.0}, r"lr_ratio is 4.0 but family 'sgd' has none"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, message):
    with pytest.raises(SpecError, match=message) as error:
        build_optimizer(adapted_net(), **({"family": "sgd", "lr": 1.0, "router_lr": 1.0} | settings))
    assert "\n" not in str(error.value)


def test_absent_and_frozen_adapters_are_refused():
    model = adapted_net()
    with pytest.raises(ValueError, match="no MoE-LoRA adapter named 'other'"):
        build_optimizer(model, family="sgd", lr=1.0, router_lr=1.0, adapter="other")
    model.requires_grad_(requires_grad=False)
    with pytest.raises(ValueError, match="'default' is frozen"):
        build_optimizer(model, family="sgd", lr=1.0, router_lr=1.0)
