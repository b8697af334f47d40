"""What one optimizer step did, and the error of a step that cannot be taken."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.errors import TrialFailedError


class NonFiniteStepError(TrialFailedError):
    """A gradient or an update is infinite or not a number: the trial has diverged."""


@dataclass(frozen=True, kw_only=True)
class StepStatistics:
    """Sizes of one optimizer step, for measurements."""

    expert_grad_norm: float = 0.0
    """Joint Euclidean norm of the experts' gradients, before clipping and preconditioning."""
    router_grad_norm: float = 0.0
    """Joint Euclidean norm of the routers' gradients, before clipping."""
    head_grad_norm: float = 0.0
    """Joint Euclidean norm of the head's gradients; 0 without a head."""
    update_norm: float = 0.0
    """Euclidean norm of the change of all experts' weights."""
    num_factorised: int = 0
    """Matrices that the preconditioner factorised; 0 in families without it."""
    num_damped: int = 0
    """Those of them that failed at the given damping and were retried with more."""


def require_finite(norms: Mapping[str, float], step: int) -> None:
    """Stop before numbers that mean nothing reach the weights.

    Args:
        norms: named norms of this step.
        step: which optimizer step this is, counted from 1.

    Raises:
        NonFiniteStepError: when any of them is infinite or not a number.
    """
    for name, norm in norms.items():
        if not math.isfinite(norm):
            raise NonFiniteStepError(
                f"The {name} norm is {norm} at optimizer step {step}, so the trial has diverged; "
                "a lower learning rate may not."
            )
