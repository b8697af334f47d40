"""How much faster is our preconditioned optimizer step than PEFT's?

Both sides take one step on the same factors and gradients: those of q, k, v and o in all layers of SmolLM2-135M.
PEFT's `create_riemannian_optimizer` knows pairs of matrices, so N experts are N LoRA adapters on a layer there and one
stack here. With one expert it is plain LoRA. Our step measures gradient and update norms besides, and refuses what is
not finite; PEFT's does not.

The directions are the same where both formulas hold. They differ where a factor has lost rank: PEFT inverts by
`torch.linalg.pinv` in float32, which cuts away a direction whose share is only the damping once that falls below
float32's resolution, and gives 0 there; ours factorises in float64 and gives 1 / damping, as the formula says.
`agreement` shows both.
"""

import copy
import statistics
from dataclasses import dataclass
from typing import Any

import torch
from frame import Benchmark, Countdown, Goal, Paired, Result, Setting, paired, run
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_riemannian_optimizer
from torch import Tensor, nn

from trainers.moe_lora import MoeLoraConfig, adapter_parameters
from trainers.optimizers import MoeLoraOptimizer, build_optimizer

RANK = 4
PAIRS = 40
LR, DAMPING, EPS = 1e-4, 1e-6, 1e-6
LOST_DAMPING = 1e-8
"""A damping at which float32 cannot tell a lost direction from a small one."""
TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Attention layers to adapt."""

    hidden: int
    kv: int
    layers: int
    experts: tuple[int, ...]
    """Numbers of experts to ask for; the last is the headline's."""


SMOLLM2 = Shape(hidden=576, kv=192, layers=30, experts=(1, 20))
TINY = Shape(hidden=16, kv=8, layers=1, experts=(1, 2))
ONE_LAYER = Shape(hidden=576, kv=192, layers=1, experts=(2,))


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The same experts twice, ours stacked and PEFT's pair by pair, with one set of gradients."""

    stacks: list[Tensor]
    """A (E, R, I) and B (E, O, R) of every layer."""
    stack_gradients: list[Tensor]
    singles: list[Tensor]
    """The same, expert by expert."""
    single_gradients: list[Tensor]
    ours: MoeLoraOptimizer
    peft: torch.optim.Optimizer

    def fresh_gradients(self) -> None:
        """Put the gradients back: PEFT writes its directions over them."""
        for weights, gradients in (
            (self.stacks, self.stack_gradients),
            (self.singles, self.single_gradients),
        ):
            for weight, gradient in zip(weights, gradients, strict=True):
                if weight.grad is None:
                    weight.grad = gradient.clone()
                else:
                    weight.grad.copy_(gradient)


def measure(setting: Setting) -> Result:
    """Plain LoRA and a mixture, with both rules; the headline is the mixture's smaller ratio."""
    shape, pairs = (TINY, 2) if setting.quick else (SMOLLM2, PAIRS)
    countdown = Countdown(setting, 2 * len(shape.experts))
    table: list[dict[str, Any]] = []
    headline: list[Paired] = []
    for num_experts in shape.experts:
        for family in ("rsgd", "radamw"):
            sides = _sides(shape, num_experts, family, DAMPING, setting.device)
            found = paired(
                sides.peft.step,
                sides.ours.step,
                pairs=pairs,
                device=setting.device,
                before=sides.fresh_gradients,
            )
            row = {"experts": num_experts, "matrices": len(sides.singles), "family": family}
            table.append({**row, **found.row("peft", "ours")})
            countdown.turn(f"{num_experts} experts, {family}: {table[-1]['ratio']:.1f} times")
            if num_experts == shape.experts[-1]:
                headline.append(found)
    agreement = {
        "full_rank": _difference(_sides(ONE_LAYER, 2, "rsgd", DAMPING, setting.device)),
        "lost_rank": _difference(_lost_rank(_sides(ONE_LAYER, 2, "rsgd", LOST_DAMPING, setting.device))),
    }
    if not agreement["full_rank"] < TOLERANCE:
        raise SystemExit(f"The directions differ by {agreement['full_rank']:.1e} where the formulas agree.")
    ratios = min((one.ratios for one in headline), key=statistics.median)
    return Result(ratios=ratios, table=table, more={"agreement": agreement})


def _sides(shape: Shape, num_experts: int, family: str, damping: float, device: torch.device) -> Sides:
    bare = _bare_model(shape)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
    config = MoeLoraConfig(
        num_experts=num_experts, top_k=1, r=RANK, lora_dropout=0.0, target_modules=targets, seed=0
    )
    mixture = get_peft_model(copy.deepcopy(bare), config).to(device)
    lora = get_peft_model(bare, LoraConfig(r=RANK, target_modules=targets), adapter_name="expert0")
    for expert in range(1, num_experts):
        lora.add_adapter(f"expert{expert}", LoraConfig(r=RANK, target_modules=targets))
    lora.base_model.set_adapter([f"expert{expert}" for expert in range(num_experts)])
    lora.to(device)
    generator = torch.Generator().manual_seed(0)
    stacks: list[Tensor] = []
    singles: list[Tensor] = []
    weights = dict(lora.named_parameters())
    for pair in adapter_parameters(mixture).experts:
        with torch.no_grad():
            pair.B.copy_(0.02 * torch.randn(pair.B.shape, generator=generator))
        for stack, factor in ((pair.A, "lora_A"), (pair.B, "lora_B")):
            names = [f"base_model.model.{pair.name}.{factor}.expert{i}.weight" for i in range(num_experts)]
            stacks.append(stack)
            singles.extend(weights[name] for name in names)
            with torch.no_grad():
                for name, expert in zip(names, stack, strict=True):
                    weights[name].copy_(expert)
    gradients = [1e-3 * torch.randn(stack.shape, generator=generator).to(device) for stack in stacks]
    rule = {"rsgd": torch.optim.SGD, "radamw": torch.optim.AdamW}[family]
    adam: dict[str, Any] = {"eps": EPS, "weight_decay": 0.0} if family == "radamw" else {}
    return Sides(
        stacks=stacks,
        stack_gradients=gradients,
        singles=singles,
        single_gradients=[gradient for stack in gradients for gradient in stack],
        ours=build_optimizer(mixture, family=family, lr=LR, router_lr=LR, damping=damping, eps=EPS),
        peft=create_riemannian_optimizer(lora, rule, lr=LR, reg=damping, **adam),
    )


def _bare_model(shape: Shape) -> nn.Module:
    """Linear layers of the right shapes; no step reads their weights."""
    sizes = {"q_proj": shape.hidden, "k_proj": shape.kv, "v_proj": shape.kv, "o_proj": shape.hidden}
    return nn.ModuleList(
        nn.ModuleDict({name: nn.Linear(shape.hidden, size, bias=False) for name, size in sizes.items()})
        for _ in range(shape.layers)
    )


@torch.no_grad()
def _lost_rank(sides: Sides) -> Sides:
    """The same with factors B whose last column repeats the first."""
    for weight in sides.stacks[1::2]:
        weight[..., -1] = weight[..., 0]
    for weight, expert in zip(sides.singles, _expert_by_expert(sides.stacks), strict=True):
        weight.copy_(expert)
    return sides


def _expert_by_expert(stacks: list[Tensor]) -> list[Tensor]:
    return [expert for stack in stacks for expert in stack]


def _difference(sides: Sides) -> float:
    """Largest relative difference between the first steps of both sides, over the factors."""
    sides.fresh_gradients()
    before = [weight.detach().clone() for weight in sides.singles]
    sides.ours.step()
    sides.peft.step()
    steps = zip(_expert_by_expert(sides.stacks), sides.singles, before, strict=True)
    moved = [(mine.detach() - old, other.detach() - old) for mine, other, old in steps]
    return max(float((mine - other).norm() / mine.norm()) for mine, other in moved)


BENCHMARK = Benchmark(
    name="precondition",
    question="How many times as fast is our preconditioned optimizer step as PEFT's?",
    goal=Goal(at_least=10.0),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
