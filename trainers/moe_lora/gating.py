"""Which experts a token meets, and how much of each.

Source: Sun et al., "A Stronger Mixture of Low-Rank Experts for Fine-Tuning Foundation Models", ICML 2025.
A softmax over all experts, cut to the top-k and renormalised, is the softmax over the k largest logits;
that is how it is computed here, in float32 or better.

Dimensions: L lanes, T tokens, E experts.
"""

import math

import torch
from torch import Tensor


def top_k_gates(logits_LTE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Gates of the top-k experts of every token, dense.

    Args:
        logits_LTE: the router's logits, float32 or better.
        top_k: experts per token, 1 to E.

    Returns:
        gates_LTE, which sum to 1 over the selected experts and are exactly 0 for the others, and
        selected_LTE, true for exactly `top_k` experts of each token.
    """
    if top_k == logits_LTE.shape[-1]:
        return logits_LTE.softmax(-1), torch.ones_like(logits_LTE, dtype=torch.bool)
    top = logits_LTE.topk(top_k, dim=-1, sorted=False)
    gates_LTE = torch.zeros_like(logits_LTE).scatter(-1, top.indices, top.values.softmax(-1))
    selected_LTE = torch.zeros_like(logits_LTE, dtype=torch.bool).scatter_(-1, top.indices, value=True)
    return gates_LTE, selected_LTE


def parameter_gates(gates_LTE: Tensor, selected_LTE: Tensor, gate_exponent: float) -> Tensor:
    """What the experts' parameters see in place of the gate: g**a, and 0 for unselected experts at any a.

    Args:
        gates_LTE: gates of `top_k_gates`.
        selected_LTE: selection of `top_k_gates`; it matters at a = 0 only, where 0**0 is 1.
        gate_exponent: a: 1 plain, 0.5 the release's rule, 0 the paper's exact rule.
    """
    if gate_exponent == 1:
        return gates_LTE
    if gate_exponent == 0:
        return selected_LTE.to(gates_LTE.dtype)
    if gate_exponent == 0.5:  # noqa: PLR2004
        return gates_LTE.sqrt()
    wide = gates_LTE.dtype if gates_LTE.device.type == "mps" else torch.float64
    return (
        gates_LTE.to(wide).pow(gate_exponent).to(gates_LTE.dtype)
    )  # in single, the last bit depends on the place


def lane_top_k_gates(
    logits_LTE: Tensor, top_k_L11: Tensor, num_experts_L11: Tensor, top_k: int
) -> tuple[Tensor, Tensor]:
    """`top_k_gates` for lanes that differ in experts or top-k; experts beyond a lane's own are never selected.

    Args:
        logits_LTE: the router's logits, float32 or better; anything beyond a lane's experts.
        top_k_L11: experts per token of each lane.
        num_experts_L11: experts of each lane, at least its top-k.
        top_k: the largest top-k of all lanes.

    Returns:
        As `top_k_gates`, to the bit where a lane selects all of its experts. Elsewhere the last bit may differ:
        here the selected are summed from the largest down, there in the order in which `topk` finds them.
    """
    own_LTE = hidden_beyond(logits_LTE, num_experts_L11)
    top = own_LTE.topk(top_k, dim=-1, sorted=True)
    within_LTK = (torch.arange(top_k, device=logits_LTE.device) < top_k_L11).expand_as(top.values)
    top_gates_LTK = top.values.masked_fill(~within_LTK, -math.inf).softmax(-1)
    gates_LTE = torch.zeros_like(logits_LTE).scatter(-1, top.indices, top_gates_LTK)
    selected_LTE = torch.zeros_like(logits_LTE, dtype=torch.bool).scatter_(-1, top.indices, within_LTK)
    gates_LTE = torch.where(top_k_L11 == num_experts_L11, own_LTE.softmax(-1), gates_LTE)
    return gates_LTE, selected_LTE


def hidden_beyond(logits_LTE: Tensor, num_experts_L11: Tensor) -> Tensor:
    """The logits with -inf in place of those beyond each lane's experts."""
    beyond_L1E = torch.arange(logits_LTE.shape[-1], device=logits_LTE.device) >= num_experts_L11
    return logits_LTE.masked_fill(beyond_L1E, -math.inf)


def gate_gradient_to_logits(gates_LTE: Tensor, gate_gradient_LTE: Tensor) -> Tensor:
    """Chain dL/dg through the softmax over the selected logits; unselected logits get exactly 0."""
    weighted_LTE = gates_LTE * gate_gradient_LTE
    return weighted_LTE - gates_LTE * weighted_LTE.sum(-1, keepdim=True)


def gate_entropy_nats(gates_LTE: Tensor) -> Tensor:
    """Entropy of each token's gates in nats, from 0 to ln(top_k); shape (L, T)."""
    return -torch.xlogy(gates_LTE, gates_LTE).sum(-1)


def balance_loss(
    logits_LTE: Tensor, selected_LTE: Tensor, weight_LT: Tensor, num_experts_L: Tensor | None = None
) -> Tensor:
    """Load-balancing loss of Switch Transformers (Fedus et al. 2021, eq. 4) for top-k routing.

    Differs from the source: fractions are of the routed token slots, so that it is 1 under perfect
    balance for every k. In double where there is one: in single, sums over experts have last bits that depend on
    how many stand beside a lane's own.

    Args:
        logits_LTE: the router's logits, differentiable.
        selected_LTE: which experts each token is routed to.
        weight_LT: 1 for tokens that count and 0 for padding.
        num_experts_L: experts of each lane, where the others' logits are -inf; none: E.

    Returns:
        One loss per lane, shape (L,): E * sum over experts of load fraction times mean probability.
    """
    wide = logits_LTE.dtype if logits_LTE.device.type == "mps" else torch.float64
    weight_LT1 = weight_LT.to(wide).unsqueeze(-1)
    tokens_L1 = weight_LT1.sum(1).clamp_min(1)
    load_LE = (selected_LTE * weight_LT1).sum(1)
    load_LE = load_LE / load_LE.sum(-1, keepdim=True).clamp_min(1)
    mean_probability_LE = (logits_LTE.to(wide).softmax(-1) * weight_LT1).sum(1) / tokens_L1
    num_experts = logits_LTE.shape[-1] if num_experts_L is None else num_experts_L
    return num_experts * (load_LE * mean_probability_LE).sum(-1)
