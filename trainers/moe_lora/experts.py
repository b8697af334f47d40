"""The mixture of low-rank experts as one autograd function.

Source: Sun et al., "A Stronger Mixture of Low-Rank Experts for Fine-Tuning Foundation Models", ICML 2025.

    y = s * sum_i g_i B_i A_i (x * keep)

The forward value uses the gate g. The experts' parameters see g**a where they would see g: a = 1 is plain,
a = 1/2 the release's rule, a = 0 the paper's exact rule. With d = dL/dy and h_i = A_i (x * keep):

    dB_i = sum over tokens of g_i**a s d h_i^T        dA_i = sum of g_i**a s B_i^T d (x * keep)^T
    dg_i = <d, s B_i h_i>                             dx   = sum_i v_i s A_i^T B_i^T d * keep

The input sees v = g in `exact` mode, which leaves the layers below as they are without the rescaling, and
v = g**a in `faithful` mode, the side effect of the release's code. Differs from the release: its trick of
detached products is replaced by these formulas, so that every a and both modes are one function.

No tensor of size tokens x experts x features is made: tokens are projected to (T, E*R), weighted there, and
multiplied back in one product. The router's logits are float32 or better; all other products run in the
adapter's dtype (float32 unless the user casts it), whatever the base's: at the ranks of LoRA they are
a few per cent of the base's work, and small steps on the weights would vanish in bfloat16. Only x in the
base's dtype, the mask and the (T, E*R) projection are kept for the backward pass.

Dimensions: L lanes, T tokens, E experts, R rank, I input features, O output features, F = E * R.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.moe_lora.gating import gate_gradient_to_logits, parameter_gates, top_k_gates


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How tokens are mixed over experts."""

    top_k: int
    """Experts per token."""
    scale: float
    """s = alpha / r, times 1 / (1 - dropout) where a dropout mask is given."""
    gate_exponent: float
    """a: the experts' parameters see g**a."""
    exact: bool
    """Whether the input sees g (true) or g**a (false)."""


def mix_experts(
    x_LTI: Tensor,
    router_LEI: Tensor,
    A_LERI: Tensor,
    B_LEOR: Tensor,
    *,
    mixing: Mixing,
    keep_LTI: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Add-on of the experts to a frozen layer's output.

    Args:
        x_LTI: the layer's input in the base's dtype.
        router_LEI: the router's weights.
        A_LERI: the experts' first factors.
        B_LEOR: the experts' second factors, same dtype as A.
        mixing: the settings.
        keep_LTI: dropout mask of 0 and 1 (uint8) on the experts' input, not the router's; none: no dropout.

    Returns:
        y_LTO in A's dtype and the router's logits_LTE, both differentiable; gates_LTE and selected_LTE, not.
    """
    outputs: tuple[Tensor, Tensor, Tensor, Tensor] = _MixExperts.apply(  # type: ignore[no-untyped-call]
        x_LTI, router_LEI, A_LERI, B_LEOR, keep_LTI, mixing
    )
    return outputs


class _MixExperts(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any,
        x_LTI: Tensor,
        router_LEI: Tensor,
        A_LERI: Tensor,
        B_LEOR: Tensor,
        keep_LTI: Tensor | None,
        mixing: Mixing,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        router_x_LTI, router_LEI = _for_router(x_LTI, router_LEI)
        logits_LTE = router_x_LTI @ router_LEI.mT
        gates_LTE, selected_LTE = top_k_gates(logits_LTE, mixing.top_k)
        h_LTF = _kept(x_LTI, keep_LTI, A_LERI.dtype) @ A_LERI.flatten(1, 2).mT
        y_LTO = _weighted(h_LTF, gates_LTE, mixing.scale) @ _flat(B_LEOR)
        ctx.mixing = mixing
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(gates_LTE, selected_LTE)
        ctx.save_for_backward(x_LTI, router_LEI, A_LERI, B_LEOR, keep_LTI, h_LTF, gates_LTE, selected_LTE)
        return y_LTO, logits_LTE, gates_LTE, selected_LTE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_LTO: Any, dlogits_LTE: Any, *_: Any) -> tuple[Any, ...]:
        x_LTI, router_LEI, A_LERI, B_LEOR, keep_LTI, h_LTF, gates_LTE, selected_LTE = ctx.saved_tensors
        needs_x, needs_router, needs_A, needs_B, *_ = ctx.needs_input_grad
        scale, exact = ctx.mixing.scale, ctx.mixing.exact
        seen_LTE = parameter_gates(gates_LTE, selected_LTE, ctx.mixing.gate_exponent)
        dx_LTI = dA_LERI = dB_LEOR = drouter_LEI = None
        if dy_LTO is not None:
            u_LTF = dy_LTO @ _flat(B_LEOR).mT
            seen_u_LTF = _weighted(u_LTF, seen_LTE, scale)
            if needs_A:
                dA_LERI = (seen_u_LTF.mT @ _kept(x_LTI, keep_LTI, A_LERI.dtype)).view_as(A_LERI)
            if needs_B:
                dB_LFO = _weighted(h_LTF, seen_LTE, scale).mT @ dy_LTO
                dB_LEOR = dB_LFO.view(*A_LERI.shape[:3], -1).mT.contiguous()
            if needs_x:
                input_u_LTF = _weighted(u_LTF, gates_LTE, scale) if exact else seen_u_LTF
                dx_LTI = input_u_LTF @ A_LERI.flatten(1, 2)
                dx_LTI = dx_LTI if keep_LTI is None else dx_LTI.mul_(keep_LTI.to(dx_LTI.dtype))
            dgates_LTE = (u_LTF * h_LTF).view(*gates_LTE.shape, -1).sum(-1).mul_(scale)
            from_gates_LTE = gate_gradient_to_logits(gates_LTE, dgates_LTE.to(gates_LTE.dtype))
            dlogits_LTE = from_gates_LTE if dlogits_LTE is None else dlogits_LTE + from_gates_LTE
        if dlogits_LTE is not None:
            if needs_router:
                drouter_LEI = dlogits_LTE.mT @ x_LTI.to(dlogits_LTE.dtype)
            if needs_x:
                from_router_LTI = dlogits_LTE @ router_LEI
                dx_LTI = from_router_LTI if dx_LTI is None else from_router_LTI.add_(dx_LTI)
        return None if dx_LTI is None else dx_LTI.to(x_LTI.dtype), drouter_LEI, dA_LERI, dB_LEOR, None, None


def _for_router(x_LTI: Tensor, router_LEI: Tensor) -> tuple[Tensor, Tensor]:
    """Input and router in float32 or better: near ties between experts must not depend on bfloat16."""
    dtype = torch.promote_types(torch.promote_types(x_LTI.dtype, router_LEI.dtype), torch.float32)
    return x_LTI.to(dtype), router_LEI.to(dtype)


def _kept(x_LTI: Tensor, keep_LTI: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The experts' input; the factor 1 / (1 - dropout) is part of the scale."""
    x_LTI = x_LTI.to(dtype)
    return x_LTI if keep_LTI is None else x_LTI * keep_LTI.to(dtype)


def _weighted(values_LTF: Tensor, weights_LTE: Tensor, scale: float) -> Tensor:
    """Scale every expert's R values of a token by the expert's weight."""
    weights_LTE1 = (weights_LTE * scale).to(values_LTF.dtype).unsqueeze(-1)
    values_LTER = values_LTF.view(*weights_LTE.shape, -1)
    return (values_LTER * weights_LTE1).view_as(values_LTF)


def _flat(B_LEOR: Tensor) -> Tensor:
    """B as one matrix per lane, (L, E*R, O)."""
    return B_LEOR.mT.flatten(1, 2)
