"""The preconditioner alone: against linear solves, and where factorisations fail."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from search_spaces.errors import TrialFailedError
from tests.trainers.nets import adapted_net, data
from trainers.moe_lora import adapter_parameters
from trainers.optimizers import build_optimizer
from trainers.optimizers.precondition import damped_inverse, precondition_A, precondition_B


@pytest.mark.parametrize("damping", [1e-8, 1e-6, 1e-3, 1e-1])
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_directions_solve_the_linear_systems(rank, damping):
    generator = torch.Generator().manual_seed(0)
    grad_A, A = torch.randn(2, 3, 5, rank, 24, generator=generator, dtype=torch.float64)
    grad_B, B = torch.randn(2, 3, 5, 20, rank, generator=generator, dtype=torch.float64)
    identity = torch.eye(rank, dtype=torch.float64)
    direction_A, damped_A = precondition_A(grad_A, B, damping)
    direction_B, damped_B = precondition_B(grad_B, A, damping)
    expected_A = torch.linalg.solve(B.mT @ B + damping * identity, grad_A)
    expected_B = torch.linalg.solve(A @ A.mT + damping * identity, grad_B, left=False)
    torch.testing.assert_close(direction_A, expected_A, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(direction_B, expected_B, rtol=1e-10, atol=1e-12)
    assert damped_A == damped_B == 0


def test_small_damping_survives_single_precision():
    """1e-8 beside a rank-deficient Gram matrix of size 1: inverted in fp32 the null space is noise."""
    gram = torch.zeros(1, 2, 2)
    gram[0, 0, 0] = 1.0
    inverse, num_damped = damped_inverse(gram, 1e-8)
    torch.testing.assert_close(inverse[0], torch.diag(torch.tensor([1.0, 1e8])), rtol=1e-6, atol=1e-6)
    assert num_damped == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_preconditioned_in_single(dtype):
    generator = torch.Generator().manual_seed(0)
    grad = torch.randn(1, 2, 3, 8, generator=generator).to(dtype)
    B = torch.randn(1, 2, 6, 3, generator=generator).to(dtype)
    direction, _ = precondition_A(grad, B, 1e-3)
    expected, _ = precondition_A(grad.double(), B.double(), 1e-3)
    assert direction.dtype == dtype
    torch.testing.assert_close(direction.double(), expected, rtol=1e-2, atol=1e-4)


def test_what_cannot_be_factorised_is_damped_further_and_counted():
    gram = torch.eye(3, dtype=torch.float64).repeat(2, 2, 1, 1)
    gram[1, 0, 0, 1] = gram[1, 0, 1, 0] = 1 + 1e-9  # indefinite, its least eigenvalue -1e-9
    inverse, num_damped = damped_inverse(gram, 1e-12)
    assert num_damped == 1
    torch.testing.assert_close(inverse[0, 0], torch.eye(3, dtype=torch.float64))
    # 1e-12 is raised tenfold until the matrix is positive definite, four times
    expected = torch.linalg.inv(gram[1, 0] + 1e-8 * torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(inverse[1, 0], expected, rtol=1e-6, atol=0)


def test_what_stays_indefinite_fails_the_trial():
    gram = torch.tensor([[[1.0, 0.0], [0.0, -1e12]]], dtype=torch.float64)
    gram[0, 0, 0] = 1e12  # so that the trace, which sizes the retries, is 0
    with pytest.raises(
        TrialFailedError, match=r"could not factorise 1 matrices at damping 1e-06, nor after 8"
    ):
        damped_inverse(gram, 1e-6)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_gram_matrices_that_are_not_finite_fail_the_trial(bad):
    gram = torch.eye(2).unsqueeze(0)
    gram[0, 0, 0] = bad
    with pytest.raises(TrialFailedError, match="Gram matrix is not finite"):
        damped_inverse(gram, 1e-6)


class _CountFactorisations(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        self.count += "cholesky_ex" in str(func)
        return func(*args, **(kwargs or {}))


def test_one_factorisation_serves_all_factors_of_a_rank():
    """Two unlike layers, A and B of each: one batch, whatever the number of experts."""
    model = adapted_net(num_experts=12, top_k=3)
    optimizer = build_optimizer(model, family="rsgd", lr=1e-3, router_lr=1e-3)
    model(data(0, torch.float64)[0]).sum().backward()
    with _CountFactorisations() as counted:
        optimizer.step()
    assert counted.count == 1
    assert optimizer.last_step.num_factorised == 2 * 2 * 12
    assert len(adapter_parameters(model).experts) == 2
