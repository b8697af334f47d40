"""The Riemannian preconditioner of low-rank adapters, batched over lanes, modules and experts.

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

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from search_spaces.errors import TrialFailedError

MAX_RETRIES = 8
"""How often a failing matrix gets ten times the damping: from rounding to far above its largest entry."""


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One of the two factors of some experts of one adapter."""

    gradient: Tensor
    """(M, E, R, I) of A, (M, E, O, R) of B."""
    partner: Tensor
    """The other factor's weights."""
    is_A: bool  # noqa: N815
    damping: float


Direction = tuple[Tensor, int]
"""A direction in the gradient's shape and dtype, and how many matrices needed more damping."""


def precondition(factors: Sequence[Factor]) -> list[Direction | TrialFailedError]:
    """Directions of many factors at once: of A, (B^T B + damping I)^-1 grad A; of B, grad B (A A^T + damping I)^-1.

    Those of a shape are multiplied in one batch, and those of a rank factorised in one. None depends on the others.

    Args:
        factors: of any number of adapters.

    Returns:
        Each one's direction, or why it has none.
    """
    batches: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, one in enumerate(factors):
        kind = (
            one.is_A,
            one.gradient.shape[-2:],
            one.partner.shape[-2:],
            one.gradient.dtype,
            one.gradient.device,
        )
        batches[kind].append(number)
    grams = [_grams([factors[number] for number in numbers]) for numbers in batches.values()]
    dampings = [
        [factors[number].damping for number in numbers for _ in range(_num_experts(factors[number]))]
        for numbers in batches.values()
    ]
    inverses = damped_inverses(grams, dampings)
    directions: dict[int, Direction | TrialFailedError] = {}
    for numbers, (inverse_nRR, failures_n) in zip(batches.values(), inverses, strict=True):
        members = [factors[number] for number in numbers]
        sizes = [_num_experts(one) for one in members]
        moved_n = torch.split(_applied(members, inverse_nRR), sizes)
        for number, one, moved, failures in zip(
            numbers, members, moved_n, _split(failures_n, sizes), strict=True
        ):
            error = _failure(failures, one.damping)
            directions[number] = error or (
                moved.view_as(one.gradient).to(one.gradient.dtype),
                sum(failure is not None for failure in failures),
            )
    return [directions[number] for number in range(len(factors))]


def precondition_A(grad_A_MERI: Tensor, B_MEOR: Tensor, damping: float) -> Direction:  # noqa: N802
    """Direction of A: (B^T B + damping I)^-1 grad A.

    Returns:
        The direction in the gradient's shape and dtype, and the number of matrices that needed more damping.

    Raises:
        TrialFailedError: when a matrix cannot be factorised at any damping.
    """
    return _only(precondition([Factor(gradient=grad_A_MERI, partner=B_MEOR, is_A=True, damping=damping)]))


def precondition_B(grad_B_MEOR: Tensor, A_MERI: Tensor, damping: float) -> Direction:  # noqa: N802
    """Direction of B: grad B (A A^T + damping I)^-1; returns and raises as `precondition_A`."""
    return _only(precondition([Factor(gradient=grad_B_MEOR, partner=A_MERI, is_A=False, damping=damping)]))


def damped_inverses(
    grams: Sequence[Tensor], dampings: Sequence[Sequence[float]]
) -> list[tuple[Tensor, list[str | None]]]:
    """Inverses of batches of damped Gram matrices through their Cholesky factors; one factorisation for each rank.

    Args:
        grams: symmetric positive semidefinite matrices, (n, R, R) each.
        dampings: epsilon of each matrix, added to its diagonal; where the factorisation fails, ten times as much
            again and again, beginning no lower than the rounding of the Gram matrix itself.

    Returns:
        For each batch the inverses in the Gram matrices' dtype, and for each matrix None where it took its damping,
        else what was the matter: `damped`, `indefinite` or `infinite`; the inverse means something for `damped` only.
    """
    by_rank: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, gram_nRR in enumerate(grams):
        by_rank[gram_nRR.shape[-1], gram_nRR.dtype, gram_nRR.device].append(number)
    found: dict[int, tuple[Tensor, list[str | None]]] = {}
    for numbers in by_rank.values():
        sizes = [len(grams[number]) for number in numbers]
        inverse_nRR, failures_n = _inverted(
            _joined([grams[number] for number in numbers]),
            [damping for number in numbers for damping in dampings[number]],
        )
        found |= dict(
            zip(
                numbers,
                zip(torch.split(inverse_nRR, sizes), _split(failures_n, sizes), strict=True),
                strict=True,
            )
        )
    return [found[number] for number in range(len(grams))]


def damped_inverse(gram_xRR: Tensor, damping: float) -> tuple[Tensor, int]:
    """`damped_inverses` of one batch, with any leading dimensions, at one damping.

    Returns:
        The inverses in the Gram matrices' dtype, and how many matrices needed more than `damping`.

    Raises:
        TrialFailedError: when a matrix is not finite or fails `MAX_RETRIES` retries.
    """
    gram_nRR = gram_xRR.flatten(0, -3)
    inverse_nRR, failures = damped_inverses([gram_nRR], [[damping] * len(gram_nRR)])[0]
    error = _failure(failures, damping)
    if error is not None:
        raise error
    return inverse_nRR.view_as(gram_xRR), sum(failure is not None for failure in failures)


def _inverted(gram_nRR: Tensor, dampings: Sequence[float]) -> tuple[Tensor, list[str | None]]:
    small_nRR = gram_nRR.to(_small_dtype(gram_nRR))
    damping_n11 = torch.tensor(dampings, dtype=small_nRR.dtype, device=small_nRR.device)[:, None, None]
    identity_RR = torch.eye(small_nRR.shape[-1], dtype=small_nRR.dtype, device=small_nRR.device)
    factor_nRR, info_n = torch.linalg.cholesky_ex(small_nRR + damping_n11 * identity_RR)
    finite_n = factor_nRR.diagonal(dim1=-2, dim2=-1).isfinite().all(-1)  # infinite matrices factorise
    failed = (info_n.ne(0) | ~finite_n).nonzero().squeeze(-1)
    failures: list[str | None] = [None] * len(gram_nRR)
    if failed.numel():
        rounding = torch.finfo(gram_nRR.dtype).eps
        factor_nRR[failed], outcomes = _with_more_damping(small_nRR[failed], damping_n11[failed], rounding)
        for place, outcome in zip(failed.tolist(), outcomes, strict=True):
            failures[place] = outcome
    return torch.cholesky_inverse(factor_nRR).to(gram_nRR.dtype), failures


def _with_more_damping(gram_nRR: Tensor, damping_n11: Tensor, rounding: float) -> tuple[Tensor, list[str]]:
    """Factorise what failed, each matrix with the least damping of a rising sequence that it takes."""
    identity_RR = torch.eye(gram_nRR.shape[-1], dtype=gram_nRR.dtype, device=gram_nRR.device)
    finite_n = gram_nRR.isfinite().flatten(1).all(-1)
    factor_nRR = identity_RR.expand_as(gram_nRR).clone()
    trace_n11 = gram_nRR.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
    damping_n11 = torch.maximum(rounding * trace_n11, damping_n11)
    waiting_n = finite_n.clone()
    for _ in range(MAX_RETRIES):
        if not waiting_n.any():
            break
        damping_n11 = damping_n11 * 10
        tried_nRR, info_n = torch.linalg.cholesky_ex(gram_nRR + damping_n11 * identity_RR)
        succeeded_n = waiting_n & info_n.eq(0)
        factor_nRR[succeeded_n] = tried_nRR[succeeded_n]
        waiting_n &= ~succeeded_n
    outcomes = zip(finite_n.tolist(), waiting_n.tolist(), strict=True)
    return factor_nRR, [
        "infinite" if not finite else "indefinite" if waiting else "damped" for finite, waiting in outcomes
    ]


def _failure(failures: Sequence[str | None], damping: float) -> TrialFailedError | None:
    """Why an adapter cannot be preconditioned, if so."""
    if "infinite" in failures:
        return TrialFailedError(
            "The preconditioner met weights whose Gram matrix is not finite; the trial has diverged, and a "
            "lower learning rate may not."
        )
    if "indefinite" in failures:
        return TrialFailedError(
            f"The preconditioner could not factorise {failures.count('indefinite')} matrices at damping {damping}, "
            f"nor after {MAX_RETRIES} rises of it; use a larger damping or a lower learning rate."
        )
    return None


def _grams(members: Sequence[Factor]) -> Tensor:
    """(n, R, R) over the experts of all members."""
    partner_nxx = _precise(_joined([one.partner.flatten(0, 1) for one in members]))
    return partner_nxx.mT @ partner_nxx if members[0].is_A else partner_nxx @ partner_nxx.mT


def _applied(members: Sequence[Factor], inverse_nRR: Tensor) -> Tensor:
    gradient_nxx = _joined([one.gradient.flatten(0, 1) for one in members]).to(inverse_nRR.dtype)
    return inverse_nRR @ gradient_nxx if members[0].is_A else gradient_nxx @ inverse_nRR


def _num_experts(factor: Factor) -> int:
    return factor.gradient.shape[:2].numel()


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))


def _split(values: list[str | None], sizes: Sequence[int]) -> list[list[str | None]]:
    ends = list(itertools.accumulate(sizes))
    return [values[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _only(found: Sequence[Direction | TrialFailedError]) -> Direction:
    if isinstance(found[0], TrialFailedError):
        raise found[0]
    return found[0]


def _precise(weights: Tensor) -> Tensor:
    return weights.to(torch.promote_types(weights.dtype, torch.float32))


def _small_dtype(gram: Tensor) -> torch.dtype:
    return gram.dtype if gram.device.type == "mps" else torch.float64
