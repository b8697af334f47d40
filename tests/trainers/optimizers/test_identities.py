"""What must hold of the families by mathematics alone."""

from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor, nn

from search_spaces.families import FAMILIES
from tests.trainers.nets import adapted_net, train, weights
from trainers.moe_lora import MoeLoraConfig, adapter_parameters, initialize
from trainers.optimizers import build_optimizer

LRS = {"sgd": 0.02, "adamw": 1e-3}


def trained(name: str, *, uniform: bool = False, lr: float | None = None, **settings: Any) -> list[Tensor]:
    model = adapted_net(lora_alpha=4.0, **settings)
    if uniform:
        for router in adapter_parameters(model).routers:
            nn.init.zeros_(router)
    lr = LRS[FAMILIES[name].rule] if lr is None else lr
    train(model, build_optimizer(model, family=name, lr=lr, router_lr=0.0, damping=1e-3), 10)
    return [w.detach() for w in weights(model)]


def assert_all_close(left: list[Tensor], right: list[Tensor], tolerance: float) -> None:
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("input_gradient", ["exact", "faithful"])
@pytest.mark.parametrize("name", ["sgd", "rsgd", "adamw", "radamw"])
def test_at_top_k_1_every_gate_exponent_gives_the_same_results(name, input_gradient):
    plain, half, zero = (
        trained(name, top_k=1, gate_exponent=a, input_gradient=input_gradient) for a in (1.0, 0.5, 0.0)
    )
    assert_all_close(plain, half, 0.0)
    assert_all_close(plain, zero, 0.0)


@pytest.mark.parametrize(("num_experts", "top_k"), [(4, 2), (8, 8), (20, 10)])
@pytest.mark.parametrize(("exponent", "power"), [(0.5, 0.5), (0.0, 1.0)])
def test_uniform_gates_make_rescaling_a_larger_learning_rate(exponent, power, num_experts, top_k):
    """grsgd(lr) = rsgd(lr * sqrt(k)), and a = 0 is rsgd(lr * k)."""
    shape = {"num_experts": num_experts, "top_k": top_k}
    rescaled = trained("grsgd", uniform=True, gate_exponent=exponent, **shape)
    plain = trained("rsgd", uniform=True, lr=LRS["sgd"] * top_k**power, **shape)
    assert_all_close(rescaled, plain, 1e-10)
    unscaled = trained("rsgd", uniform=True, **shape)
    assert max(float((a - b).abs().max()) for a, b in zip(rescaled, unscaled, strict=True)) > 1e-3


@pytest.mark.parametrize("name", ["sgd", "rsgd"])
@pytest.mark.parametrize("exponent", [1.0, 0.5, 0.0])
def test_the_layer_moves_by_the_gate_to_the_power_of_1_plus_a(name, exponent):
    """One token, equal experts, unequal gates: each expert's share of the layer's move is c g**(1 + a)."""
    base = nn.Sequential(nn.Linear(6, 5, bias=False)).double()
    config = MoeLoraConfig(
        num_experts=5, top_k=4, r=2, lora_dropout=0.0, target_modules=["0"], gate_exponent=exponent
    )
    model = get_peft_model(base, config)
    initialize(model, seed=1)
    (pair,), (router,) = adapter_parameters(model).experts, adapter_parameters(model).routers
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        pair.A.copy_(pair.A[:1].expand_as(pair.A))
        pair.B.copy_(torch.randn(1, 5, 2, generator=generator, dtype=torch.float64).expand_as(pair.B))
        router.copy_(torch.linspace(-1.0, 2.0, 5)[:, None] * x / x.norm() ** 2)  # logits -1, ..., 2
    gates = torch.linspace(-1.0, 2.0, 5, dtype=torch.float64)[1:].softmax(0)
    before = pair.B.detach() @ pair.A.detach()

    optimizer = build_optimizer(model, family=name, lr=1e-7, router_lr=0.0)
    (model(x) * torch.arange(5)).sum().backward()
    optimizer.step()

    move = (pair.B @ pair.A - before) @ x[0]  # of each expert's own product
    share = gates * move.detach()[1:].norm(dim=-1)
    slopes = share.log().diff() / gates.log().diff()
    torch.testing.assert_close(slopes, torch.full_like(slopes, 1 + exponent), rtol=0, atol=1e-5)
    assert torch.equal(move[0], torch.zeros_like(move[0]))


@pytest.mark.parametrize("input_gradient", ["exact", "faithful"])
@pytest.mark.parametrize("exponent", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_unselected_experts_never_move(name, exponent, input_gradient):
    model = adapted_net(lora_alpha=4.0, gate_exponent=exponent, input_gradient=input_gradient)
    modules = dict(model.named_modules())
    for layer in (
        "first",
        "second",
    ):  # expert 3 comes last for every token: its logits are far below the rest
        module = modules[f"base_model.model.{layer}"]
        module.register_forward_pre_hook(lambda _, args: (args[0].abs() + 0.1,))  # inputs above 0
        with torch.no_grad():
            module.moe_lora_router["default"][3] = -100.0
    before = [w.detach().clone() for w in weights(model)]
    train(model, build_optimizer(model, family=name, lr=1e-3, router_lr=1e-4), 10)
    for index, (now, then) in enumerate(zip(weights(model), before, strict=True)):
        if index < 4:
            assert torch.equal(now[3], then[3])
            assert not torch.equal(now[:3], then[:3])


@pytest.mark.parametrize("rule", ["sgd", "adamw"])
def test_large_damping_makes_the_preconditioner_a_scaled_identity(rule):
    """(G + eps I)^-1 is I / eps up to G / eps: rsgd(lr * eps) becomes sgd(lr); AdamW loses the factor."""
    damping = 1e8
    plain, preconditioned = adapted_net(lora_alpha=4.0), adapted_net(lora_alpha=4.0)
    lr = 0.02 if rule == "sgd" else 1e-3
    lr_preconditioned = lr * damping if rule == "sgd" else lr
    eps = 1e-6 if rule == "sgd" else 1e-30  # Adam's eps would notice the factor
    train(plain, build_optimizer(plain, family=rule, lr=lr, router_lr=0.0, eps=eps), 5)
    train(
        preconditioned,
        build_optimizer(
            preconditioned,
            family=f"r{rule}",
            lr=lr_preconditioned,
            router_lr=0.0,
            damping=damping,
            eps=eps,
        ),
        5,
    )
    assert_all_close(weights(plain), weights(preconditioned), 1e-6)


def test_lora_plus_with_ratio_1_is_adamw():
    def run(name: str) -> list[Tensor]:
        model = adapted_net()
        train(model, build_optimizer(model, family=name, lr=1e-3, router_lr=1e-4), 5)
        return weights(model)

    assert_all_close(run("loraplus"), run("adamw"), 0.0)


def test_gates_near_uniform_make_adamw_forget_the_exponent():
    """AdamW is scale-invariant: with uniform gates sqrt(k) cancels but for eps."""

    def run(exponent: float) -> list[Tensor]:
        model = adapted_net(gate_exponent=exponent)
        for router in adapter_parameters(model).routers:
            nn.init.zeros_(router)
        train(model, build_optimizer(model, family="adamw", lr=1e-3, router_lr=0.0, eps=1e-20), 5)
        return weights(model)

    assert_all_close(run(1.0), run(0.5), 1e-9)
