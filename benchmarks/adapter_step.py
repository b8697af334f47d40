"""How much faster are stacked experts than a loop over experts?

Both sides do the adapters' part of a training step on the same weights, tokens and output gradients: forward and
backward of every adapted layer, then the optimizer. The base's linear layers are left out on both sides: a layer
begins from zeros. The plain side is what one writes first, and what the method's release does: for each expert its
gate times B(A(x)) under autograd, and for each expert's two matrices `torch.linalg.inv` in front of torch's own
optimizer. Before the clock starts, both sides must make the same gradients and the same step.

Dimensions: T tokens, E experts, R rank, I input features, O output features.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from frame import Benchmark, Countdown, Goal, Paired, Result, Setting, geometric_means, paired, run
from peft import PeftModel, get_peft_model
from plain import PlainLayer, PlainOptimizer, gradient_of
from torch import Tensor, nn

from search_spaces.families import family as family_named
from trainers.moe_lora import MoeLoraConfig, adapter_parameters, moe_lora_layers
from trainers.optimizers import build_optimizer

FAMILIES = ("sgd", "rsgd", "adamw", "radamw", "gradamw")
PAIRS = 6
LR, DAMPING, EPS = 1e-2, 1e-6, 1e-6
TOLERANCE = 1e-3
"""Largest relative difference between the sides; float32 sums in another order."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The attention of a model, and the adapter on it."""

    name: str
    hidden: int
    kv: int
    """Output features of k and v."""
    layers: int
    layers_of_model: int
    """Where it has more, memory and time are saved: a layer costs the same wherever it is."""
    batch: tuple[int, int] = (8, 64)
    """Rows, and tokens a row."""
    num_experts: int = 20
    top_k: int = 10
    rank: int = 4


SHAPES = (
    Shape(name="SmolLM2-135M", hidden=576, kv=192, layers=8, layers_of_model=30),
    Shape(name="Llama-3.2-3B", hidden=3072, kv=1024, layers=2, layers_of_model=28),
)
TINY = Shape(
    name="tiny", hidden=16, kv=8, layers=1, layers_of_model=1, batch=(2, 4), num_experts=3, top_k=2, rank=2
)


class Zeros(nn.Linear):
    """A linear layer whose product is left out."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch names it
        """Zeros in the output's shape."""
        return input.new_zeros(*input.shape[:-1], self.out_features)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way of doing the step."""

    layers: list[Callable[[Tensor], Tensor]]
    step: Callable[[], object]
    zero_grad: Callable[[], None]
    x: Tensor
    dy: list[Tensor]
    """Gradient of each layer's output."""

    def gradients(self) -> list[Tensor]:
        """Forward and backward of every layer; returns the gradients of their inputs."""
        found = []
        for layer, dy in zip(self.layers, self.dy, strict=True):
            x = self.x.detach().requires_grad_()
            layer(x).backward(dy)  # type: ignore[no-untyped-call]
            found.append(gradient_of(x))
        return found

    def __call__(self) -> None:
        """The adapters' part of a training step."""
        self.zero_grad()
        self.gradients()
        self.step()


def measure(setting: Setting) -> Result:
    """Every family at every shape; the headline is that of the shape that gains less."""
    shapes = (TINY,) if setting.quick else SHAPES
    countdown = Countdown(setting, len(shapes) * len(FAMILIES))
    table, means = [], []
    for shape in shapes:
        found: list[Paired] = []
        for family in FAMILIES:
            vectorised, plain, difference = _sides(shape, family, setting.device)
            found.append(
                paired(plain, vectorised, pairs=2 if setting.quick else PAIRS, device=setting.device)
            )
            layers = f"{shape.layers} of {shape.layers_of_model}"
            row = found[-1].row("plain", "vectorised")
            table.append({"shape": shape.name, "layers": layers, "family": family, **row})
            table[-1]["largest_difference"] = difference
            countdown.turn(f"{shape.name}, {family}: {table[-1]['ratio']:.1f} times")
        means.append(geometric_means([one.ratios for one in found]))
    return Result(ratios=min(means, key=statistics.median), table=table)


def _sides(shape: Shape, family: str, device: torch.device) -> tuple[Side, Side, float]:
    """Both sides on the same weights, checked against each other, and how far apart they are."""
    chosen = family_named(family)
    model = _adapted(shape, chosen.gate_exponent).to(device)
    layers = moe_lora_layers(model)
    twins = [PlainLayer(layer) for layer in layers]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape.batch, shape.hidden, generator=generator).to(device)
    outputs = [(*shape.batch, layer.out_features) for layer in layers]
    dy = [(1e-3 * torch.randn(size, generator=generator)).to(device) for size in outputs]
    optimizer = build_optimizer(
        model, family=family, lr=LR, router_lr=LR, damping=DAMPING, eps=EPS, simultaneous=True
    )
    plain_optimizer = PlainOptimizer(twins, chosen, lr=LR, router_lr=LR, damping=DAMPING, eps=EPS)
    vectorised = Side(layers=[*layers], step=optimizer.step, zero_grad=optimizer.zero_grad, x=x, dy=dy)
    plain = Side(
        layers=[*twins], step=plain_optimizer.step, zero_grad=plain_optimizer.rule.zero_grad, x=x, dy=dy
    )
    return vectorised, plain, _largest_difference(model, twins, vectorised, plain)


def _adapted(shape: Shape, gate_exponent: float) -> PeftModel:
    """Layers without a base, whose B is not zero, so that everything is at work."""
    sizes = {"q_proj": shape.hidden, "k_proj": shape.kv, "v_proj": shape.kv, "o_proj": shape.hidden}
    blocks = [
        nn.ModuleDict({name: Zeros(shape.hidden, size, bias=False) for name, size in sizes.items()})
        for _ in range(shape.layers)
    ]
    config = MoeLoraConfig(
        num_experts=shape.num_experts,
        top_k=shape.top_k,
        r=shape.rank,
        lora_dropout=0.0,
        target_modules=list(sizes),
        gate_exponent=gate_exponent,
        input_gradient="faithful",  # the plain side's trick has this one
        seed=0,
    )
    model = get_peft_model(nn.ModuleDict({"blocks": nn.ModuleList(blocks)}), config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for pair in adapter_parameters(model).experts:
            pair.B.copy_(0.02 * torch.randn(pair.B.shape, generator=generator))
    return model


def _largest_difference(model: PeftModel, twins: list[PlainLayer], vectorised: Side, plain: Side) -> float:
    """Largest relative difference of input gradients, weights' gradients and the weights' first step."""
    weights = adapter_parameters(model)
    ours = [weight for pair in weights.experts for weight in (pair.A, pair.B)] + [*weights.routers]
    before = [weight.detach().clone() for weight in ours]
    pairs = [*zip(vectorised.gradients(), plain.gradients(), strict=True)]
    theirs = [stacked for twin in twins for stacked in (_stacked(twin.A), _stacked(twin.B))]
    theirs += [gradient_of(twin.router) for twin in twins]
    pairs += [(gradient_of(weight), gradient) for weight, gradient in zip(ours, theirs, strict=True)]
    difference = max(_relative(mine, other) for mine, other in pairs)
    vectorised.step()
    plain.step()
    moved = [torch.stack(factor) for twin in twins for factor in (twin.A, twin.B)]
    moved += [twin.router for twin in twins]
    steps = zip(ours, moved, before, strict=True)
    moved_apart = max(_relative(mine - old, other - old) for mine, other, old in steps)
    if not max(difference, moved_apart) < TOLERANCE:
        raise SystemExit(
            f"The two sides differ by {difference:.1e} in gradients, {moved_apart:.1e} in steps."
        )
    return max(difference, moved_apart)


def _relative(mine: Tensor, other: Tensor) -> float:
    return float((mine - other).detach().norm() / other.detach().norm())


def _stacked(weights: list[Tensor]) -> Tensor:
    return torch.stack([gradient_of(weight) for weight in weights])


BENCHMARK = Benchmark(
    name="adapter_step",
    question="How many times as fast is the vectorised adapter step as a loop over experts?",
    goal=Goal(at_least=4.0),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
