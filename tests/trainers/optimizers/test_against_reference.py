"""Ten optimizer steps of every family, against the expert-by-expert reference, torch and PEFT."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer, create_riemannian_optimizer
from torch import Tensor

from search_spaces.families import FAMILIES
from tests.trainers import reference
from tests.trainers.nets import Net, adapted_net, data, train, twin, twin_output, weights
from trainers.moe_lora import adapter_parameters
from trainers.optimizers import build_optimizer

SHAPES = [(1, 1, 1), (4, 1, 2), (4, 2, 3), (20, 10, 4)]
"""num_experts, top_k, rank."""
LRS = {("sgd", False): 0.1, ("sgd", True): 0.02, ("adamw", False): 1e-3, ("adamw", True): 1e-3}
"""By rule and preconditioning: a visible way in ten steps, without exploding."""
STEPS = 10


def assert_same_weights(model, layers: list[reference.Layer], tolerance: float) -> None:
    for layer, pair, router in zip(
        layers, adapter_parameters(model).experts, adapter_parameters(model).routers, strict=True
    ):
        expected = (torch.stack(layer.A), torch.stack(layer.B), layer.router)
        for got, want in zip((pair.A, pair.B, router), expected, strict=True):
            scale = max(1.0, float(want.detach().abs().max()))
            torch.testing.assert_close(got.to(want.dtype), want, rtol=0, atol=tolerance * scale)


def train_twin(optimizer: reference.Optimizer, dtype: torch.dtype) -> None:
    for step in range(STEPS):
        x, target = (t.to(dtype) for t in data(step, torch.float64))
        ((twin_output(optimizer.layers, x) - target) ** 2).mean().backward()
        optimizer.step()


def compare_with_reference(model, name: str, tolerance: float, **settings: Any) -> None:
    family = FAMILIES[name]
    layers = twin(model, torch.float64)
    before = [w.detach().clone() for w in weights(model)]
    lr = LRS[family.rule, family.preconditioned]
    settings = {"lr": lr, "router_lr": 2e-4, "damping": 1e-3} | settings
    train(model, build_optimizer(model, family=name, **settings), STEPS)
    train_twin(
        reference.Optimizer(
            layers=layers, rule=family.rule, preconditioned=family.preconditioned, **settings
        ),
        torch.float64,
    )
    assert_same_weights(model, layers, tolerance)
    moved = [float((w.detach() - b).norm() / b.norm()) for w, b in zip(weights(model), before, strict=True)]
    assert min(moved[:4]) > 1e-3  # the experts have come a way together, a thousand tolerances at the least


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("input_gradient", ["exact", "faithful"])
@pytest.mark.parametrize("name", sorted(FAMILIES))
class TestEveryFamily:
    def test_in_fp64(self, name, input_gradient, shape):
        settings = {"lr_ratio": 4.0, "lr": 3e-4} if name == "loraplus" else {}
        compare_with_reference(
            self.model(name, input_gradient, shape, torch.float64), name, 1e-12, **settings
        )

    def test_in_fp32(self, name, input_gradient, shape):
        settings = {"lr_ratio": 4.0, "lr": 3e-4} if name == "loraplus" else {}
        compare_with_reference(self.model(name, input_gradient, shape, torch.float32), name, 1e-6, **settings)

    @staticmethod
    def model(name, input_gradient, shape, dtype) -> Any:
        return adapted_net(
            dtype=dtype,
            num_experts=shape[0],
            top_k=shape[1],
            r=shape[2],
            lora_alpha=2.0 * shape[2],
            gate_exponent=FAMILIES[name].gate_exponent,
            input_gradient=input_gradient,
        )


@pytest.mark.parametrize("name", ["rsgd", "grsgd", "radamw", "gradamw"])
def test_from_the_usual_start(name):
    """B = 0 and damping 1e-6: the first matrices are 1e-6 times the identity."""
    model = adapted_net(lora_alpha=4.0, gate_exponent=FAMILIES[name].gate_exponent)
    for pair in adapter_parameters(model).experts:
        torch.nn.init.zeros_(pair.B)
    layers = twin(model)
    family = FAMILIES[name]
    settings = {"lr": 1e-2 if family.rule == "sgd" else 1e-3, "router_lr": 1e-4}
    train(model, build_optimizer(model, family=name, **settings), STEPS)
    train_twin(
        reference.Optimizer(layers=layers, rule=family.rule, preconditioned=True, **settings), torch.float64
    )
    assert_same_weights(model, layers, 1e-9)


@pytest.mark.parametrize("name", ["adamw", "radamw", "gradamw", "rsgd"])
def test_the_releases_two_switches(name):
    family = FAMILIES[name]
    release = {"simultaneous": False, "bias_correction": False}
    settings = {"lr": LRS[family.rule, family.preconditioned], "router_lr": 2e-4, "damping": 1e-3}

    def trained(**switches: Any) -> list[Tensor]:
        model = adapted_net(lora_alpha=4.0, input_gradient="faithful", gate_exponent=family.gate_exponent)
        layers = twin(model)
        train(model, build_optimizer(model, family=name, **settings, **switches), STEPS)
        twin_optimizer = reference.Optimizer(
            layers=layers,
            rule=family.rule,
            preconditioned=family.preconditioned,
            **settings,
            **switches,
        )
        train_twin(twin_optimizer, torch.float64)
        assert_same_weights(model, layers, 1e-12)
        return weights(model)

    released, ours = trained(**release), trained()
    differ = any(not torch.equal(a, b) for a, b in zip(released, ours, strict=True))
    assert differ == (family.rule == "adamw")  # the release's SGD is simultaneous, and has no moments


@pytest.mark.parametrize("name", ["sgd", "gsgd", "adamw", "gadamw"])
def test_plain_families_are_torchs_optimizers(name):
    """Clipping off; weight decay, betas and eps on."""
    family = FAMILIES[name]
    model = adapted_net(gate_exponent=family.gate_exponent)
    other = adapted_net(gate_exponent=family.gate_exponent)
    pairs = adapter_parameters(other)
    experts = [w for pair in pairs.experts for w in (pair.A, pair.B)]
    groups = [{"params": experts, "lr": 0.01}, {"params": list(pairs.routers), "lr": 0.003}]
    if family.rule == "sgd":
        theirs = torch.optim.SGD(groups, weight_decay=0.1)
    else:
        theirs = torch.optim.AdamW(groups, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-5)
    ours = build_optimizer(
        model,
        family=name,
        lr=0.01,
        router_lr=0.003,
        weight_decay=0.1,
        betas=(0.8, 0.95),
        eps=1e-5,
        router_max_norm=None,
    )
    train(model, ours, STEPS)
    train(other, theirs, STEPS)
    for got, want in zip(weights(model), weights(other), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-14)


def lora_net(model) -> torch.nn.Module:
    """PEFT's own LoRA with the weights of a one-expert model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        base = Net(torch.float64)
    config = LoraConfig(target_modules=["first", "second"], r=2, lora_alpha=4)
    lora = get_peft_model(base, config, autocast_adapter_dtype=False)
    modules = dict(lora.named_modules())
    with torch.no_grad():
        for pair in adapter_parameters(model).experts:
            module = modules[f"base_model.model.{pair.name}"]
            module.base_layer.load_state_dict(
                dict(model.named_modules())[f"base_model.model.{pair.name}"].base_layer.state_dict()
            )
            module.lora_A["default"].weight.copy_(pair.A[0])
            module.lora_B["default"].weight.copy_(pair.B[0])
    return lora.double()


def assert_same_as_lora(model, lora: torch.nn.Module, tolerance: float) -> None:
    modules = dict(lora.named_modules())
    for pair in adapter_parameters(model).experts:
        module = modules[f"base_model.model.{pair.name}"]
        for got, layer in ((pair.A[0], module.lora_A), (pair.B[0], module.lora_B)):
            torch.testing.assert_close(got, layer["default"].weight, rtol=0, atol=tolerance)


def train_lora(lora: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for step in range(STEPS):
        x, target = data(step, torch.float64)
        optimizer.zero_grad()
        ((lora(x) - target) ** 2).mean().backward()
        optimizer.step()


@pytest.mark.parametrize("rule", ["sgd", "adamw"])
def test_one_expert_is_pefts_riemannian_lora(rule):
    model = adapted_net(num_experts=1, top_k=1, lora_alpha=4.0)
    lora = lora_net(model)
    lr = LRS[rule, True]
    if rule == "sgd":
        theirs = create_riemannian_optimizer(lora, torch.optim.SGD, lr=lr, reg=1e-3)
    else:
        theirs = create_riemannian_optimizer(
            lora, torch.optim.AdamW, lr=lr, reg=1e-3, eps=1e-6, weight_decay=0.0
        )
    train_lora(lora, theirs)
    train(model, build_optimizer(model, family=f"r{rule}", lr=lr, router_lr=0.0, damping=1e-3), STEPS)
    assert_same_as_lora(model, lora, 1e-11)


def test_one_expert_under_lora_plus_is_pefts():
    model = adapted_net(num_experts=1, top_k=1, lora_alpha=4.0)
    lora = lora_net(model)
    theirs = create_loraplus_optimizer(
        lora, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=8.0, eps=1e-6, weight_decay=0.0
    )
    train_lora(lora, theirs)
    train(model, build_optimizer(model, family="loraplus", lr=1e-3, router_lr=0.0, lr_ratio=8.0), STEPS)
    assert_same_as_lora(model, lora, 1e-12)
