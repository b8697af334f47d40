"""The Riemannian preconditioner of low-rank adapters, batched over modules and experts.

Source: Zhang and Pilanci, "Riemannian Preconditioned LoRA for Fine-Tuning Foundation
Models", arXiv 2402.02347.

    dA_i = (B_i^T B_i + eps I)^-1 grad A_i        dB_i = grad B_i (A_i A_i^T + eps I)^-1

Differs from the method's release, which calls `torch.inverse` in the weights' dtype and leaves the gradient
as it is when that raises: here a Cholesky factorisation decides, a matrix that fails it is damped further and
counted, and one that still fails ends the trial. Products over features run in float32 or better; the small
matrices are damped, factorised and solved in float64 where the device has it, since an eps of 1e-8 beside a
Gram matrix of size 1 is below float32's resolution.

Dimensions: M modules of one shape, E experts, R rank, I input features, O output features.
"""

import torch
from torch import Tensor

from search_spaces.errors import TrialFailedError

MAX_RETRIES = 8
"""How often a failing matrix gets ten times the damping: from rounding to far above its largest entry."""


def precondition_A(grad_A_MERI: Tensor, B_MEOR: Tensor, damping: float) -> tuple[Tensor, int]:  # noqa: N802
    """Direction of A: (B^T B + damping I)^-1 grad A.

    Returns:
        The direction in the gradient's shape and dtype, and the number of matrices that needed more damping.

    Raises:
        TrialFailedError: when a matrix cannot be factorised at any damping.
    """
    B_MEOR = _precise(B_MEOR)
    inverse_MERR, num_damped = damped_inverse(B_MEOR.mT @ B_MEOR, damping)
    return (inverse_MERR @ grad_A_MERI.to(inverse_MERR.dtype)).to(grad_A_MERI.dtype), num_damped


def precondition_B(grad_B_MEOR: Tensor, A_MERI: Tensor, damping: float) -> tuple[Tensor, int]:  # noqa: N802
    """Direction of B: grad B (A A^T + damping I)^-1; returns and raises as `precondition_A`."""
    A_MERI = _precise(A_MERI)
    inverse_MERR, num_damped = damped_inverse(A_MERI @ A_MERI.mT, damping)
    return (grad_B_MEOR.to(inverse_MERR.dtype) @ inverse_MERR).to(grad_B_MEOR.dtype), num_damped


def damped_inverse(gram_xRR: Tensor, damping: float) -> tuple[Tensor, int]:
    """Inverse of a batch of damped Gram matrices through their Cholesky factors.

    Args:
        gram_xRR: symmetric positive semidefinite matrices, any leading dimensions.
        damping: epsilon, added to every diagonal; where the factorisation fails, ten times as much again and
            again, beginning no lower than the rounding of the Gram matrix itself.

    Returns:
        The inverses in the Gram matrices' dtype, and how many matrices needed more than `damping`.

    Raises:
        TrialFailedError: when a matrix is not finite or fails `MAX_RETRIES` retries.
    """
    small_nRR = gram_xRR.flatten(0, -3).to(_small_dtype(gram_xRR))
    identity_RR = torch.eye(small_nRR.shape[-1], dtype=small_nRR.dtype, device=small_nRR.device)
    factor_nRR, info_n = torch.linalg.cholesky_ex(small_nRR + damping * identity_RR)
    finite_n = factor_nRR.diagonal(dim1=-2, dim2=-1).isfinite().all(-1)  # infinite matrices factorise
    failed_n = (info_n.ne(0) | ~finite_n).nonzero().squeeze(-1)
    if failed_n.numel():
        factor_nRR[failed_n] = _with_more_damping(
            small_nRR[failed_n], damping, torch.finfo(gram_xRR.dtype).eps
        )
    return torch.cholesky_inverse(factor_nRR).to(gram_xRR.dtype).view_as(gram_xRR), failed_n.numel()


def _with_more_damping(gram_nRR: Tensor, damping: float, rounding: float) -> Tensor:
    """Factorise what failed, each matrix with the least damping of a rising sequence that it takes."""
    if not gram_nRR.isfinite().all():
        raise TrialFailedError(
            "The preconditioner met weights whose Gram matrix is not finite; the trial has diverged, and a "
            "lower learning rate may not."
        )
    trace_n11 = gram_nRR.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    damping_n11 = (rounding * trace_n11).clamp_min(damping)
    identity_RR = torch.eye(gram_nRR.shape[-1], dtype=gram_nRR.dtype, device=gram_nRR.device)
    factor_nRR = torch.empty_like(gram_nRR)
    waiting_n = torch.ones(len(gram_nRR), dtype=torch.bool, device=gram_nRR.device)
    for _ in range(MAX_RETRIES):
        damping_n11 = damping_n11 * 10
        tried_nRR, info_n = torch.linalg.cholesky_ex(gram_nRR + damping_n11 * identity_RR)
        succeeded_n = waiting_n & info_n.eq(0)
        factor_nRR[succeeded_n] = tried_nRR[succeeded_n]
        waiting_n &= ~succeeded_n
        if not waiting_n.any():
            return factor_nRR
    raise TrialFailedError(
        f"The preconditioner could not factorise {int(waiting_n.sum())} matrices at damping {damping}, nor "
        f"after {MAX_RETRIES} rises of it; use a larger damping or a lower learning rate."
    )


def _precise(weights: Tensor) -> Tensor:
    return weights.to(torch.promote_types(weights.dtype, torch.float32))


def _small_dtype(gram: Tensor) -> torch.dtype:
    return gram.dtype if gram.device.type == "mps" else torch.float64
