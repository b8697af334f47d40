"""The optimizer families under study: what each is, what may vary in it, and what it reduces to.

A family is {sgd, adamw} x {plain, r: Riemannian preconditioner} x {plain, g: gate exponent 1/2}, after
Sun et al., "A Stronger Mixture of Low-Rank Experts for Fine-Tuning Foundation Models", ICML 2025,
arXiv 2502.15828 (preconditioner: Zhang and Pilanci, arXiv 2402.02347). Families differ in nothing but what
their name says. The ninth, `loraplus`, is a control: AdamW with a larger learning rate for B (LoRA+, Hayou et
al., arXiv 2402.12354).

Differs from the paper: its learning rates (3e-5 for SGD, 1e-5 for AdamW on a model of 3 billion parameters)
are points, not ranges; the ranges here span five decades or more, so that both ends fail on a small model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from search_spaces.dimensions import Category, Dimension, Integer, LogFloat, Param
from search_spaces.errors import SpecError, unknown
from search_spaces.space import Space


@dataclass(frozen=True, kw_only=True)
class Role:
    """What a hyperparameter means, whichever family has it."""

    meaning: str
    """One line for people."""
    whole: bool
    """Whether it takes whole numbers only."""
    above: float
    """Every value must exceed this."""


ROLES: Mapping[str, Role] = MappingProxyType(
    {
        "lr": Role(meaning="learning rate of the experts", whole=False, above=0.0),
        "router_lr": Role(meaning="learning rate of the router", whole=False, above=0.0),
        "num_experts": Role(meaning="experts per adapted layer (N)", whole=True, above=0),
        "top_k": Role(meaning="experts selected per token (k)", whole=True, above=0),
        "rank": Role(meaning="rank of each expert (r)", whole=True, above=0),
        "damping": Role(meaning="damping of the preconditioner (epsilon)", whole=False, above=0.0),
        "lr_ratio": Role(meaning="learning rate of B over that of A", whole=False, above=0.0),
    }
)
"""Every hyperparameter; the order is that of the coordinates of a design, the same for all families."""


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """Where one family coincides with another."""

    to: str
    """The other family."""
    when: str
    """The condition, in words."""
    exact: bool
    """Whether the updates are equal there; otherwise they agree in the limit."""
    params: Mapping[str, Param] = field(default_factory=dict)
    """Hyperparameter values that bring it about; empty when it is no matter of one value."""
    lr: str = "lr"
    """Learning rate at which the other family makes the same update."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One optimizer family."""

    name: str
    rule: Literal["sgd", "adamw"]
    preconditioned: bool
    gate_exponent: float
    """Power of its gate that an expert's parameters see: 1 is plain, 1/2 the paper's rescaling."""
    space: Space
    defaults: Mapping[str, Param]
    """A point of `space` to fall back on without a search."""
    lr_scale: str
    """What the size of a learning rate means here, so that nobody compares it across families."""
    reductions: tuple[Reduction, ...]
    paper: bool
    """Whether the paper compares it."""

    @property
    def summary(self) -> str:
        """One line for people."""
        base = {"sgd": "SGD", "adamw": "AdamW"}[self.rule]
        parts = ["with a Riemannian preconditioner"] if self.preconditioned else []
        if self.gate_exponent != 1:
            parts.append(f"with gates raised to {self.gate_exponent:g}")
        if "lr_ratio" in self.space.dimensions:
            parts.append("with a larger learning rate for B (LoRA+)")
        return f"{base} {' and '.join(parts)}".strip() or base


_LR_RANGE = {
    ("sgd", False): LogFloat(1e-3, 1e2),
    ("sgd", True): LogFloat(1e-5, 1e0),
    ("adamw", False): LogFloat(1e-6, 1e-1),
    ("adamw", True): LogFloat(1e-6, 1e-1),
}
_LR_DEFAULT = {("sgd", False): 0.3, ("sgd", True): 1e-2, ("adamw", False): 3e-4, ("adamw", True): 1e-4}
_LR_SCALE = {
    ("sgd", False): "multiplies the raw gradient: it grows as the gradient shrinks with model and gates",
    ("sgd", True): "multiplies the preconditioned gradient: free of the scale of A and B, not of the gates",
    ("adamw", False): "about the change of each weight per step: nearly free of the gradient's scale",
    (
        "adamw",
        True,
    ): "about the change of each weight per step, its pattern that of the preconditioned gradient",
}


def _space(name: str, rule: str, *, preconditioned: bool) -> Space:
    dimensions: dict[str, Dimension] = {
        "lr": _LR_RANGE[rule, preconditioned],
        "router_lr": LogFloat(1e-8, 1e-2),
        "num_experts": Category((2, 4, 8, 16)),
        "top_k": Category((2, 4, 8), at_most="num_experts"),
        "rank": Category((4, 8, 16, 32)),
    }
    if preconditioned:
        dimensions["damping"] = LogFloat(1e-8, 1e-1)
    if name == "loraplus":
        dimensions["lr_ratio"] = LogFloat(1.0, 64.0)
    return Space(name=name, version=1, dimensions=dimensions)


def _defaults(name: str, rule: str, *, preconditioned: bool) -> dict[str, Param]:
    lr = _LR_DEFAULT[rule, preconditioned]
    params: dict[str, Param] = {"lr": lr, "router_lr": 1e-4, "num_experts": 8, "top_k": 4, "rank": 4}
    if preconditioned:
        params["damping"] = 1e-6
    if name == "loraplus":
        params["lr_ratio"] = 16.0
    return params


def _reductions(name: str, rule: str, *, preconditioned: bool, gated: bool) -> tuple[Reduction, ...]:
    if name == "loraplus":
        when = "lr_ratio is 1: A and B share one learning rate"
        return (Reduction(to="adamw", when=when, exact=True, params={"lr_ratio": 1.0}),)
    found: list[Reduction] = []
    if gated:
        plain = name.removeprefix("g")
        when = "top_k is 1: the only gate is 1, and so is every power of it"
        found.append(Reduction(to=plain, when=when, exact=True, params={"top_k": 1}))
        sgd = rule == "sgd"
        found.append(
            Reduction(
                to=plain,
                when="the gates are uniform: each is 1/top_k, and its square root a constant factor "
                + ("(exact in the exact input-gradient mode)" if sgd else "that AdamW all but cancels"),
                exact=sgd,
                lr="lr * sqrt(top_k)" if sgd else "lr",
            )
        )
    if preconditioned:
        found.append(
            Reduction(
                to=name.replace("r", "", 1) if gated else name.removeprefix("r"),
                when="damping far exceeds the eigenvalues of A·Aᵀ and Bᵀ·B: the preconditioner is 1/damping",
                exact=False,
                lr="lr / damping" if rule == "sgd" else "lr",
            )
        )
    return tuple(found)


def _family(name: str) -> Family:
    rule: Literal["sgd", "adamw"] = "sgd" if name.endswith("sgd") else "adamw"
    prefix = "" if name == "loraplus" else name.removesuffix(rule)
    preconditioned, gated = "r" in prefix, "g" in prefix
    return Family(
        name=name,
        rule=rule,
        preconditioned=preconditioned,
        gate_exponent=0.5 if gated else 1.0,
        space=_space(name, rule, preconditioned=preconditioned),
        defaults=_defaults(name, rule, preconditioned=preconditioned),
        lr_scale=_LR_SCALE[rule, preconditioned],
        reductions=_reductions(name, rule, preconditioned=preconditioned, gated=gated),
        paper=name in PAPER_FAMILIES,
    )


PAPER_FAMILIES = ("sgd", "rsgd", "grsgd", "adamw", "radamw", "gradamw")
"""The six families that the paper compares."""

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        name: _family(name)
        for name in ("sgd", "rsgd", "gsgd", "grsgd", "adamw", "radamw", "gadamw", "gradamw", "loraplus")
    }
)
"""Every family by name; the last is a control."""


def family(name: str) -> Family:
    """The family of that name; SpecError with the nearest name when there is none."""
    if name not in FAMILIES:
        raise unknown("family", name, FAMILIES)
    return FAMILIES[name]


def fitting_dimension(role: str, dimension: Dimension) -> Dimension:
    """`dimension` as hyperparameter `role` takes it: whole numbers as int, real ones as float.

    Raises:
        SpecError: the role is unknown, or the dimension holds a value that the role cannot take.
    """
    if role not in ROLES:
        raise unknown("hyperparameter", role, ROLES)
    rule = ROLES[role]
    if not isinstance(dimension, Category):
        if rule.whole != isinstance(dimension, Integer):
            kind = (
                "whole numbers: write {int: [low, high]}" if rule.whole else "reals: write {log: [low, high]}"
            )
            raise SpecError(f"{role} takes {kind} or a list of choices.")
        _check_above(role, [dimension.low])
        return dimension
    for choice in dimension.choices:
        if isinstance(choice, str) or (rule.whole and not float(choice).is_integer()):
            raise SpecError(f"{choice!r} is no {'whole number' if rule.whole else 'number'}: replace it.")
    numbers = [float(choice) for choice in dimension.choices]
    _check_above(role, numbers)
    return Category(tuple(int(n) if rule.whole else n for n in numbers), dimension.at_most)


def _check_above(role: str, values: Iterable[float]) -> None:
    for value in values:
        if not value > ROLES[role].above:
            raise SpecError(f"{value:g} is too low: {role} must be above {ROLES[role].above:g}, so raise it.")
