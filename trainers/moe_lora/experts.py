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

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from trainers.moe_lora.gating import gate_gradient_to_logits, parameter_gates, top_k_gates

ParameterGating = Callable[[Tensor, Tensor, float], Tensor]
"""From gates_LTE, selected_LTE and the gate exponent to what the parameters see, as `parameter_gates`."""

Gating = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""From logits_LTE and top_k to gates_LTE and selected_LTE, as `top_k_gates`."""


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How tokens are mixed over experts."""

    top_k: int
    """Experts per token."""
    scale: float | Tensor
    """s = alpha / r, times 1 / (1 - dropout) where a dropout mask is given; (L, 1, 1) where lanes differ."""
    gate_exponent: float
    """a: the experts' parameters see g**a."""
    exact: bool | Tensor
    """Whether the input sees g (true) or g**a (false); (L, 1, 1) where lanes differ."""
    gating: Gating = top_k_gates
    """Another one must pick experts as `top_k_gates` does, or serve evaluation only: its gradients are used."""
    parameter_gating: ParameterGating = parameter_gates
    """Another one serves lanes whose gate exponents differ."""


_LEAST_SIZE, _SIZE_STEP = 16, 4
"""Rows and columns from which MKL takes the same kernels on processors of Intel and of AMD, measured."""


class Weights(NamedTuple):
    """The weights of all lanes in one layer."""

    router: Tensor
    """Shape (L, E, I)."""
    A: Tensor
    """Shape (L, E, R, I)."""
    B: Tensor
    """Shape (L, E, O, R)."""


class Routed(NamedTuple):
    """What the backward pass needs of the forward pass beside its inputs."""

    gates: Tensor
    """Shape (L, T, E), float32 or better."""
    selected: Tensor
    """Which experts each token is routed to, shape (L, T, E)."""
    h: Tensor
    """Every token projected by every expert, shape (L, T, F)."""


def mix(
    x_LTI: Tensor, weights: Weights, keep_LTI: Tensor | None, mixing: Mixing
) -> tuple[Tensor, Tensor, Routed]:
    """Output of the experts for every token of every lane, outside autograd.

    Args:
        x_LTI: the layer's input in the base's dtype.
        weights: routers and experts.
        keep_LTI: dropout mask of 0 and 1 (uint8) on the experts' input, not the router's; none: no dropout.
        mixing: the settings.

    Returns:
        y_LTO in A's dtype; the routers' logits_LTE; and what the backward pass needs.
    """
    router_LEI, A_LERI, B_LEOR = weights
    dtype = torch.promote_types(torch.promote_types(x_LTI.dtype, router_LEI.dtype), torch.float32)
    logits_LTE = _product(x_LTI.to(dtype), router_LEI.to(dtype).mT)
    gates_LTE, selected_LTE = mixing.gating(logits_LTE, mixing.top_k)
    h_LTF = _product(_kept(x_LTI, keep_LTI, A_LERI.dtype), A_LERI.flatten(1, 2).mT)
    y_LTO = _weighted(h_LTF, gates_LTE, mixing.scale) @ _flat(B_LEOR)
    return y_LTO, logits_LTE, Routed(gates_LTE, selected_LTE, h_LTF)


def expert_gradients(
    dy_LTO: Tensor,
    x_LTI: Tensor,
    weights: Weights,
    routed: Routed,
    *,
    keep_LTI: Tensor | None,
    mixing: Mixing,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients through the experts, given that of their output.

    Returns:
        dlogits_LTE through the gates; dx_LTI through the experts only; dA_LERI; dB_LEOR.
    """
    _, A_LERI, B_LEOR = weights
    gates_LTE, selected_LTE, h_LTF = routed
    seen_LTE = mixing.parameter_gating(gates_LTE, selected_LTE, mixing.gate_exponent)
    u_LTF = _product(dy_LTO, _flat(B_LEOR).mT)
    dgates_LTE = (u_LTF * h_LTF).view(*gates_LTE.shape, -1).sum(-1).mul_(mixing.scale)
    seen_u_LTF = _weighted(u_LTF, seen_LTE, mixing.scale)
    dA_LFI = _product(seen_u_LTF.mT, _kept(x_LTI, keep_LTI, A_LERI.dtype))
    dB_LFO = _product(_weighted(h_LTF, seen_LTE, mixing.scale).mT, dy_LTO)
    dx_LTI = _input_side(u_LTF, seen_u_LTF, gates_LTE, mixing) @ A_LERI.flatten(1, 2)
    return (
        gate_gradient_to_logits(gates_LTE, dgates_LTE.to(gates_LTE.dtype)),
        dx_LTI if keep_LTI is None else dx_LTI.mul_(keep_LTI.to(dx_LTI.dtype)),
        dA_LFI.view_as(A_LERI),
        dB_LFO.view(*A_LERI.shape[:3], -1).mT.contiguous(),
    )


def mix_experts(
    x: Tensor, router: Tensor, A: Tensor, B: Tensor, *, mixing: Mixing, keep_LTI: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`mix`, differentiable with the gradients of this module's head.

    Args:
        x: the layer's input in the base's dtype, (L, T, I); any (..., I) if the weights have no lane axis.
        router: the routers' weights, ([L,] E, I).
        A: the experts' first factors, ([L,] E, R, I).
        B: the experts' second factors, ([L,] E, O, R), in A's dtype.
        mixing: the settings.
        keep_LTI: dropout mask as in `mix`.

    Returns:
        y, shaped as x but with O features, and logits_LTE, both differentiable; gates_LTE and selected_LTE, not.
    """
    with _without_autocast(x.device.type):
        outputs: tuple[Tensor, Tensor, Tensor, Tensor] = _MixExperts.apply(  # type: ignore[no-untyped-call]
            x, router, A, B, keep_LTI, mixing
        )
    return outputs


class _MixExperts(torch.autograd.Function):
    """Adds the lane axis of a solo layer inside, where a view costs no autograd node."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes by position
        ctx: Any, x: Tensor, router: Tensor, A: Tensor, B: Tensor, keep_LTI: Tensor | None, mixing: Mixing
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        has_lanes = A.dim() == len("LERI")
        weights = Weights(*(weight if has_lanes else weight.unsqueeze(0) for weight in (router, A, B)))
        x_LTI = x.reshape(len(weights.A), -1, x.shape[-1])
        y_LTO, logits_LTE, routed = mix(x_LTI, weights, keep_LTI, mixing)
        ctx.mixing, ctx.shapes = mixing, (x.shape, router.shape, A.shape, B.shape)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(routed.gates, routed.selected)
        ctx.save_for_backward(x_LTI, keep_LTI, *weights, *routed)
        return y_LTO.view(*x.shape[:-1], -1), logits_LTE, routed.gates, routed.selected

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Any, dlogits_LTE: Any, *_: Any) -> tuple[Any, ...]:
        x_LTI, keep_LTI, *saved = ctx.saved_tensors
        weights, routed = Weights(*saved[:3]), Routed(*saved[3:])
        dx_LTI = dA_LERI = dB_LEOR = drouter_LEI = None
        if dy is not None:
            dy_LTO = dy.reshape(*x_LTI.shape[:2], -1)
            through_gates_LTE, dx_LTI, dA_LERI, dB_LEOR = expert_gradients(
                dy_LTO, x_LTI, weights, routed, keep_LTI=keep_LTI, mixing=ctx.mixing
            )
            dlogits_LTE = through_gates_LTE if dlogits_LTE is None else dlogits_LTE + through_gates_LTE
        if dlogits_LTE is not None:
            drouter_LEI = _product(dlogits_LTE.mT, x_LTI.to(dlogits_LTE.dtype))
            dx_LTI = _plus_product(dx_LTI, dlogits_LTE, weights.router.to(dlogits_LTE.dtype))
        gradients = zip((dx_LTI, drouter_LEI, dA_LERI, dB_LEOR), ctx.shapes, strict=True)
        return (*(None if grad is None else grad.view(shape) for grad, shape in gradients), None, None)


def _without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast would run the router in the base's dtype; the context is entered only where it is on."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _kept(x_LTI: Tensor, keep_LTI: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The experts' input; the factor 1 / (1 - dropout) is part of the scale."""
    if keep_LTI is None:
        return x_LTI.to(dtype)
    return keep_LTI.to(dtype).mul_(x_LTI)


def _input_side(u_LTF: Tensor, seen_u_LTF: Tensor, gates_LTE: Tensor, mixing: Mixing) -> Tensor:
    """What goes back to the layer's input, by the mode of each lane."""
    if mixing.exact is False:
        return seen_u_LTF
    exact_u_LTF = _weighted(u_LTF, gates_LTE, mixing.scale)
    return exact_u_LTF if mixing.exact is True else torch.where(mixing.exact, exact_u_LTF, seen_u_LTF)


def _weighted(values_LTF: Tensor, weights_LTE: Tensor, scale: float | Tensor) -> Tensor:
    """Scale every expert's R values of a token by the expert's weight."""
    weights_LTE1 = (weights_LTE * scale).to(values_LTF.dtype).unsqueeze(-1)
    return (values_LTF.view(*weights_LTE.shape, -1) * weights_LTE1).view_as(values_LTF)


def _flat(B_LEOR: Tensor) -> Tensor:
    """B as one matrix per lane, (L, E*R, O)."""
    return B_LEOR.mT.flatten(1, 2)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """A product of matrices whose elements do not depend on how many rows and columns stand beside theirs.

    Libraries multiply few rows or columns by kernels of their own, which sum in another order. So there are at least
    `_LEAST_SIZE` of either, in whole groups of `_SIZE_STEP`, the rest of them zero and cut off again.
    """
    num_rows, num_columns = left.shape[-2], right.shape[-1]
    whole = _with_zeros(left, rows=_missing(num_rows)) @ _with_zeros(right, columns=_missing(num_columns))
    return whole[..., :num_rows, :num_columns].contiguous()


def _missing(size: int) -> int:
    return max(_LEAST_SIZE, -(-size // _SIZE_STEP) * _SIZE_STEP) - size


def _with_zeros(matrix: Tensor, *, rows: int = 0, columns: int = 0) -> Tensor:
    return pad(matrix, (0, columns, 0, rows)) if columns or rows else matrix


def _plus_product(total: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    """`total` plus a product of matrices, in one pass where the dtypes allow it."""
    if total is None:
        return left @ right
    return total.baddbmm_(left, right) if total.dtype == left.dtype else total + left @ right
