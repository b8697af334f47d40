"""Optimizers of the families under study: {sgd, adamw} x {plain, preconditioned}, and LoRA+ as a control.

A family's gate exponent is no part of its optimizer: it lives in the adapter's configuration
(`MoeLoraConfig.gate_exponent`), since it acts where gradients arise.
"""

from collections.abc import Callable

from torch import nn

from search_spaces.errors import SpecError
from search_spaces.families import family as family_named
from trainers.moe_lora.adapter import adapter_parameters
from trainers.optimizers import adamw, sgd
from trainers.optimizers.optimizer import EXPERTS_A, EXPERTS_B, HEAD, ROUTERS, MoeLoraOptimizer, Rule
from trainers.optimizers.step_statistics import NonFiniteStepError, StepStatistics
from trainers.optimizers.together import step_together

RULES: dict[str, Rule] = {"sgd": sgd, "adamw": adamw}
"""The base rules by name."""


def build_optimizer(
    model: nn.Module,
    *,
    family: str,
    lr: float,
    router_lr: float,
    damping: float = 1e-6,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-6,
    bias_correction: bool = True,
    weight_decay: float = 0.0,
    simultaneous: bool = True,
    router_max_norm: float | None = 1.0,
    expert_max_norm: float | None = None,
    head_lr: float | None = None,
    lr_ratio: float = 1.0,
    adapter: str = "default",
) -> MoeLoraOptimizer:
    """The optimizer of a family for one adapter of a model.

    `simultaneous=False, bias_correction=False` reproduce the method's release.

    Args:
        model: a model with MoE-LoRA layers.
        family: a name of `search_spaces.families.FAMILIES`.
        lr: learning rate of the experts.
        router_lr: learning rate of the routers, which follow the plain rule.
        damping: epsilon of the preconditioner; families without it ignore it.
        betas: decay of Adam's moments; SGD ignores it, as it does `eps` and `bias_correction`.
        eps: added to Adam's denominator.
        bias_correction: whether Adam's moments are corrected for their start at zero.
        weight_decay: decoupled from the preconditioner and from Adam's moments.
        simultaneous: precondition A and B with each other's old values. False lets AdamW precondition B with
            the A of the same step, as released; the release's SGD is simultaneous in either case.
        router_max_norm: joint norm to which the routers' gradients are clipped; None: never.
        expert_max_norm: joint norm to which the experts' gradients are clipped; None: never.
        head_lr: learning rate of the modules to save; None: `lr`.
        lr_ratio: learning rate of B over that of A (family `loraplus`).
        adapter: name of the adapter.

    Raises:
        SpecError: when the family is unknown or a value is out of its range.
        ValueError: when the model has no such adapter, or it is frozen.
    """
    chosen = family_named(family)
    _require(_not_negative, lr=lr, router_lr=router_lr, head_lr=head_lr, weight_decay=weight_decay)
    _require(_positive, damping=damping, eps=eps, lr_ratio=lr_ratio)
    _require(_positive, router_max_norm=router_max_norm, expert_max_norm=expert_max_norm)
    if "lr_ratio" not in chosen.space.dimensions and lr_ratio != 1:
        raise SpecError(
            f"lr_ratio is {lr_ratio} but family {family!r} has none; use 'loraplus' or leave it at 1."
        )
    parameters = adapter_parameters(model, adapter)
    if not parameters.experts[0].A.requires_grad:
        raise ValueError(f"Adapter {adapter!r} is frozen; activate it with set_adapter before training it.")
    return MoeLoraOptimizer(
        parameters,
        RULES[chosen.rule],
        preconditioned=chosen.preconditioned,
        lrs={
            EXPERTS_A: lr,
            EXPERTS_B: lr * lr_ratio,
            ROUTERS: router_lr,
            HEAD: lr if head_lr is None else head_lr,
        },
        simultaneous=simultaneous,
        max_norms={"expert gradient": expert_max_norm, "router gradient": router_max_norm},
        settings={
            "betas": betas,
            "eps": eps,
            "bias_correction": bias_correction,
            "weight_decay": weight_decay,
            "damping": damping,
        },
    )


def _not_negative(value: float) -> str:
    return "" if value >= 0 else "not be negative"


def _positive(value: float) -> str:
    return "" if value > 0 else "be above 0"


def _require(broken_rule: Callable[[float], str], **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and (rule := broken_rule(value)):
            raise SpecError(f"{name} is {value} but must {rule}; change it in the study or in the call.")


__all__ = [
    "EXPERTS_A",
    "EXPERTS_B",
    "HEAD",
    "ROUTERS",
    "RULES",
    "MoeLoraOptimizer",
    "NonFiniteStepError",
    "Rule",
    "StepStatistics",
    "build_optimizer",
    "step_together",
]
