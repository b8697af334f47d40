"""One step of several optimizers at once, as batched operations over their buffers.

Nothing of one adapter enters a number of another: norms, clipping, dampings and learning rates are each adapter's
own, and one that fails is left behind by itself. So a step in company is, to the bit, the step alone.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from search_spaces.errors import TrialFailedError
from trainers.optimizers.buffers import Buffer
from trainers.optimizers.precondition import Factor, precondition
from trainers.optimizers.step_statistics import NonFiniteStepError, StepStatistics, require_finite

if TYPE_CHECKING:
    from trainers.optimizers.optimizer import MoeLoraOptimizer

EXPERTS = ("experts_A", "experts_B")
KINDS = {
    "expert gradient": EXPERTS,
    "router gradient": ("routers",),
    "head gradient": ("head",),
}
"""Groups whose gradients are measured and clipped jointly."""

Failures = dict[int, TrialFailedError]


@dataclass(frozen=True, kw_only=True)
class _Move:
    """A buffer that is about to follow a direction."""

    optimizer: "MoeLoraOptimizer"
    group: str
    buffer: Buffer
    direction: Tensor


@torch.no_grad()
def step_together(optimizers: Sequence["MoeLoraOptimizer"]) -> list[StepStatistics | TrialFailedError]:
    """Take one step of every optimizer with the gradients at hand.

    Args:
        optimizers: of different adapters on one device.

    Returns:
        What each step did, or why it could not be taken.
    """
    for optimizer in optimizers:
        for _, buffer in optimizer.all_buffers():
            buffer.gather()
    failures: Failures = {}
    norms = _grad_norms(optimizers)
    for number, (optimizer, own) in enumerate(zip(optimizers, norms, strict=True)):
        _note_infinite(failures, number, own, optimizer.num_steps + 1)
    going = [number for number in range(len(optimizers)) if number not in failures]
    _clip([(optimizers[number], norms[number]) for number in going])
    kept = _moments_of_idle(optimizers)
    num_damped = _move(optimizers, going, failures)
    for view, before in kept:
        view.copy_(before)
    going = [number for number in going if number not in failures]
    update_norms = _update_norms([optimizers[number] for number in going])
    for number, update_norm in zip(going, update_norms, strict=True):
        optimizer = optimizers[number]
        _note_infinite(failures, number, {"update": update_norm}, optimizer.num_steps + 1)
        if number in failures:
            continue
        optimizer.num_steps += 1
        optimizer.show_moments()
        optimizer.last_step = StepStatistics(
            expert_grad_norm=norms[number]["expert gradient"],
            router_grad_norm=norms[number]["router gradient"],
            head_grad_norm=norms[number]["head gradient"],
            update_norm=update_norm,
            num_factorised=_num_factorised(optimizer),
            num_damped=num_damped[number],
        )
    return [failures.get(number, optimizer.last_step) for number, optimizer in enumerate(optimizers)]


def _move(
    optimizers: Sequence["MoeLoraOptimizer"], going: Sequence[int], failures: Failures
) -> dict[int, int]:
    """Move the weights of all that go; how many matrices of each needed more damping."""
    num_damped = dict.fromkeys(going, 0)
    conditioned = [number for number in going if optimizers[number].is_preconditioned]
    staggered = [number for number in conditioned if optimizers[number].updates_a_first]
    sides = [(number, "experts_A") for number in conditioned]
    sides += [(number, "experts_B") for number in conditioned if number not in staggered]
    directions = _directions(optimizers, sides, failures, num_damped)
    _apply(_moves(optimizers, [(number, "experts_A") for number in staggered], directions, failures))
    later = [(number, "experts_B") for number in staggered if number not in failures]
    directions |= _directions(optimizers, later, failures, num_damped)
    rest = [(number, name) for number in going for name in optimizers[number].buffers]
    rest = [(number, name) for number, name in rest if not (number in staggered and name == "experts_A")]
    _apply(_moves(optimizers, rest, directions, failures))
    return num_damped


def _directions(
    optimizers: Sequence["MoeLoraOptimizer"],
    sides: Sequence[tuple[int, str]],
    failures: Failures,
    num_damped: dict[int, int],
) -> dict[tuple[int, str], list[Tensor]]:
    """Preconditioned gradients of some factors, for each of its buffers; notes what fails."""
    factors, owners = [], []
    for number, name in sides:
        optimizer = optimizers[number]
        partners = optimizer.buffers["experts_B" if name == "experts_A" else "experts_A"]
        for buffer, partner in zip(optimizer.buffers[name], partners, strict=True):
            factors.append(
                Factor(
                    gradient=buffer.gradients,
                    partner=partner.weights,
                    is_A=name == "experts_A",
                    damping=optimizer.group(name)["damping"],
                )
            )
            owners.append((number, name))
    directions: dict[tuple[int, str], list[Tensor]] = defaultdict(list)
    for owner, found in zip(owners, precondition(factors), strict=True):
        if isinstance(found, TrialFailedError):
            failures.setdefault(owner[0], found)
        else:
            directions[owner].append(found[0])
            num_damped[owner[0]] += found[1]
    return directions


def _moves(
    optimizers: Sequence["MoeLoraOptimizer"],
    sides: Sequence[tuple[int, str]],
    directions: dict[tuple[int, str], list[Tensor]],
    failures: Failures,
) -> list[_Move]:
    moves = []
    for number, name in sides:
        if number in failures:
            continue
        buffers = optimizers[number].buffers[name]
        followed = directions.get((number, name)) or [buffer.gradients for buffer in buffers]
        moves += [
            _Move(optimizer=optimizers[number], group=name, buffer=buffer, direction=direction)
            for buffer, direction in zip(buffers, followed, strict=True)
        ]
    return moves


def _apply(moves: Sequence[_Move]) -> None:
    """Let the weights follow their directions; one batch for all that share a rule and its settings."""
    batches: dict[tuple[Any, ...], list[_Move]] = defaultdict(list)
    for move in moves:
        rule, group = move.optimizer.rule, move.optimizer.group(move.group)
        batches[(rule, *(group[name] for name in rule.SETTINGS))].append(move)
    for batch in batches.values():
        rule, group = batch[0].optimizer.rule, batch[0].optimizer.group(batch[0].group)
        buffers = [move.buffer for move in batch]
        groups = [move.optimizer.group(move.group) for move in batch]
        directions = [move.direction for move in batch]
        rule.fill_changes(buffers, directions, [float(one["lr"]) for one in groups], group)
        _add_changes(buffers, [float(one["lr"]) * one["weight_decay"] for one in groups])


def _add_changes(buffers: Sequence[Buffer], decays: Sequence[float]) -> None:
    """Add the changes to the weights, with the decay that is a fraction of these; idle weights stay."""
    decaying = [(buffer, decay) for buffer, decay in zip(buffers, decays, strict=True) if decay]
    if decaying:
        lost = torch._foreach_mul(  # noqa: SLF001 (the public form takes one tensor)
            [buffer.weights for buffer, _ in decaying], [decay for _, decay in decaying]
        )
        torch._foreach_sub_([buffer.changes for buffer, _ in decaying], lost)
    for buffer in buffers:
        for place in buffer.idle:
            buffer.changes[place].zero_()
    torch._foreach_add_([buffer.weights for buffer in buffers], [buffer.changes for buffer in buffers])


def _grad_norms(optimizers: Sequence["MoeLoraOptimizer"]) -> list[dict[str, float]]:
    """Joint norms of each optimizer's gradients, by kind."""
    listed = [
        (number, kind, buffer.gradients)
        for number, optimizer in enumerate(optimizers)
        for kind, names in KINDS.items()
        for name in names
        for buffer in optimizer.buffers[name]
    ]
    found: list[dict[str, list[float]]] = [{kind: [] for kind in KINDS} for _ in optimizers]
    for (number, kind, _), norm in zip(listed, _norms(tensor for _, _, tensor in listed), strict=True):
        found[number][kind].append(norm)
    return [{kind: math.hypot(*norms) for kind, norms in own.items()} for own in found]


def _update_norms(optimizers: Sequence["MoeLoraOptimizer"]) -> list[float]:
    """Joint norm of each optimizer's changes of the experts."""
    listed = [
        (number, buffer.changes)
        for number, optimizer in enumerate(optimizers)
        for name in EXPERTS
        for buffer in optimizer.buffers[name]
    ]
    found: list[list[float]] = [[] for _ in optimizers]
    for (number, _), norm in zip(listed, _norms(tensor for _, tensor in listed), strict=True):
        found[number].append(norm)
    return [math.hypot(*norms) for norms in found]


def _norms(tensors: Iterable[Tensor]) -> list[float]:
    """Euclidean norms, with one wait for the device."""
    listed = list(tensors)
    if not listed:
        return []
    by_tensor = torch._foreach_norm(listed)  # noqa: SLF001 (the public form takes one tensor)
    norms: list[float] = torch.hstack(by_tensor).tolist()
    return norms


def _clip(going: Sequence[tuple["MoeLoraOptimizer", dict[str, float]]]) -> None:
    """Scale gradients down where their joint norm is above what the optimizer allows."""
    tensors, fractions = [], []
    for optimizer, norms in going:
        for kind, names in KINDS.items():
            max_norm = optimizer.max_norms.get(kind)
            fraction = 1.0 if max_norm is None else max_norm / (norms[kind] + 1e-6)
            if fraction < 1:
                gradients = [buffer.gradients for name in names for buffer in optimizer.buffers[name]]
                tensors += gradients
                fractions += [fraction] * len(gradients)
    if tensors:
        torch._foreach_mul_(tensors, fractions)


def _moments_of_idle(optimizers: Sequence["MoeLoraOptimizer"]) -> list[tuple[Tensor, Tensor]]:
    """Moments of weights without a gradient, with a copy to put back after the step."""
    views = [
        moment[place]
        for optimizer in optimizers
        for _, buffer in optimizer.all_buffers()
        for place in buffer.idle
        for moment in buffer.moments.values()
    ]
    return [(view, view.clone()) for view in views]


def _note_infinite(failures: Failures, number: int, norms: dict[str, float], step: int) -> None:
    try:
        require_finite(norms, step)
    except NonFiniteStepError as error:
        failures[number] = error


def _num_factorised(optimizer: "MoeLoraOptimizer") -> int:
    if not optimizer.is_preconditioned:
        return 0
    factors = [buffer.weights for name in EXPERTS for buffer in optimizer.buffers[name]]
    return sum(factor.shape[:2].numel() for factor in factors)
