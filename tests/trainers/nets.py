"""A two-layer net under MoE-LoRA, small enough to be followed by hand, and its expert-by-expert twin."""

from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor, nn

from tests.trainers import reference
from trainers.moe_lora import MoeLoraConfig, adapter_parameters, moe_lora_layers

FEATURES = (6, 7, 5)
TOKENS = 9


class Net(nn.Module):
    """Two linear layers of unlike shapes with a bend between; the second sees the first's gradient mode."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES[0], FEATURES[1], dtype=dtype)
        self.second = nn.Linear(FEATURES[1], FEATURES[2], bias=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def adapted_net(*, dtype: torch.dtype = torch.float64, seed: int = 0, **settings: Any) -> PeftModel:
    """The net with a fresh adapter whose B is not zero, so that every gradient is at work."""
    settings = {"num_experts": 4, "top_k": 2, "r": 2, "lora_dropout": 0.0} | settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = MoeLoraConfig(target_modules=["first", "second"], seed=seed, **settings)
        model = get_peft_model(Net(dtype), config)
        with torch.no_grad():
            for pair in adapter_parameters(model).experts:
                pair.B.normal_(std=0.5)
            for router in adapter_parameters(model).routers:
                router.mul_(3)  # gates far from uniform
    return model


def twin(model: PeftModel, dtype: torch.dtype | None = None) -> list[reference.Layer]:
    """The expert-by-expert copy of an adapted net."""
    config = model.peft_config["default"]
    return [
        reference.layer_of(
            layer,
            exponent=config.gate_exponent,
            input_gradient=config.input_gradient,
            dtype=dtype or layer.base_layer.weight.dtype,
        )
        for layer in moe_lora_layers(model)
    ]


def twin_output(layers: list[reference.Layer], x: Tensor) -> Tensor:
    """What the net computes, by the reference layers."""
    return layers[1](torch.tanh(layers[0](x)))


def data(seed: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Tokens and targets."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(TOKENS, FEATURES[0], generator=generator, dtype=torch.float64)
    y = torch.randn(TOKENS, FEATURES[2], generator=generator, dtype=torch.float64)
    return x.to(dtype), y.to(dtype)


def train(model: PeftModel, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Some steps on squared error, new tokens each step."""
    dtype = adapter_parameters(model).experts[0].A.dtype
    for step in range(steps):
        x, y = data(step, dtype)
        optimizer.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimizer.step()


def weights(model: PeftModel) -> list[Tensor]:
    """A, B and router of every layer, as they are now."""
    parameters = adapter_parameters(model)
    return [w for pair in parameters.experts for w in (pair.A, pair.B)] + list(parameters.routers)
