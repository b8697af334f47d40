"""One optimizer step of one trial: which rows, which dropout, which learning rate, as functions of (seed, step)."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from search_spaces.designs import derived_seed
from search_spaces.errors import TrialFailedError
from trainers.adapter import AttachedAdapter
from trainers.batches import bucketed_width, make_batch
from trainers.moe_lora import load_balancing_loss, set_dropout_seed
from trainers.objective import training_loss
from trainers.tasks import Example
from trainers.workbench import Workbench


@dataclass(kw_only=True)
class Interval:
    """Running sums between two reports; plain numbers, so that a checkpoint holds them exactly."""

    num_steps: int = 0
    num_tokens: int = 0
    """Supervised tokens since the trial began."""
    lr: float = 0.0
    """Learning rate of the experts at the last step."""
    loss_nats_sum: float = 0.0
    expert_grad_norm_sum: float = 0.0
    router_grad_norm_sum: float = 0.0
    update_norm_sum: float = 0.0
    num_factorised: int = 0
    num_damped: int = 0

    def metrics(self) -> dict[str, float]:
        """Means over the steps of the interval; empty before the first step."""
        if self.num_steps == 0:
            return {}
        return {
            "train_loss_nats": self.loss_nats_sum / self.num_steps,
            "expert_grad_norm": self.expert_grad_norm_sum / self.num_steps,
            "router_grad_norm": self.router_grad_norm_sum / self.num_steps,
            "update_norm": self.update_norm_sum / self.num_steps,
            "damped_frac": self.num_damped / max(1, self.num_factorised),
            "tokens": float(self.num_tokens),
            "lr": self.lr,
        }

    def following(self) -> "Interval":
        """The empty interval after this one."""
        return Interval(num_tokens=self.num_tokens)


def rows_of_step(seed: int, step: int, batch: int, num_rows: int) -> list[int]:
    """Indices of the rows of a step: every epoch is a fresh permutation, derived from the seed.

    Args:
        seed: the trial's seed.
        step: optimizer steps already done.
        batch: rows a step.
        num_rows: rows in the train split.
    """
    first = step * batch
    return list(itertools.islice(_endless_rows(seed, num_rows, first // num_rows, first % num_rows), batch))


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """What decides a trial's coming step, besides its weights."""

    seed: int
    step: int
    """Optimizer steps already done."""
    micro_batch: int
    """Rows a forward pass."""


@dataclass(frozen=True, kw_only=True)
class Accumulated:
    """What the forward and backward passes of one step came to; the gradients lie in the weights."""

    loss_nats: float
    """Mean over the supervised tokens of the batch."""
    num_tokens: int
    """Supervised tokens of the batch."""


@dataclass(frozen=True, kw_only=True)
class StepRows:
    """The rows of a step."""

    pieces: tuple[tuple[Example, ...], ...]
    """One micro-batch a forward pass."""
    width: int
    """Positions of every pass of a causal model; 0 for an encoder, which takes the longest row's."""


def step_rows(workbench: Workbench, coming: NextStep) -> StepRows:
    """The rows of a step, in the micro-batches of its forward passes."""
    train = workbench.data.train
    rows = rows_of_step(coming.seed, coming.step, workbench.workload.training.batch, len(train))
    examples, size = tuple(train[row] for row in rows), coming.micro_batch
    is_causal = workbench.foundation.kind == "causal"
    return StepRows(
        pieces=tuple(examples[start : start + size] for start in range(0, len(rows), size)),
        width=bucketed_width(examples, workbench.workload.task.max_tokens) if is_causal else 0,
    )


def dropout_seed(seed: int, step: int, piece: int) -> int:
    """Seed of a forward pass's dropout, from which each layer derives its own.

    Args:
        seed: the trial's seed.
        step: optimizer steps already done.
        piece: number of the micro-batch within the step.
    """
    return derived_seed(seed, "dropout", step, piece)


def mean_loss(loss_nats_sum: float, num_tokens: int, *, step: int) -> float:
    """The batch's loss by token.

    Args:
        loss_nats_sum: sum over the supervised tokens.
        num_tokens: how many there are.
        step: optimizer steps already done.

    Raises:
        TrialFailedError: it is not finite.
    """
    loss_nats = loss_nats_sum / num_tokens
    if not math.isfinite(loss_nats):
        raise TrialFailedError(f"The training loss was {loss_nats} at step {step + 1}.")
    return loss_nats


def accumulate_gradients(
    workbench: Workbench, adapter: AttachedAdapter, *, seed: int, step: int, micro_batch: int
) -> Accumulated:
    """Forward and backward over a whole batch, in micro-batches; moves no weight, so it may be repeated.

    Args:
        workbench: base and text.
        adapter: what is trained.
        seed: the trial's seed.
        step: optimizer steps already done.
        micro_batch: rows a forward pass.

    Raises:
        TrialFailedError: the loss is not finite.
        torch.OutOfMemoryError: the micro-batch does not fit.
    """
    rows = step_rows(workbench, NextStep(seed=seed, step=step, micro_batch=micro_batch))
    balance_weight = workbench.workload.adapter.load_balance_weight
    adapter.optimizer.zero_grad(set_to_none=True)
    adapter.set_training(training=True)
    loss_nats_sum, num_tokens = 0.0, 0
    for number, piece in enumerate(rows.pieces):
        batch = make_batch(piece, workbench.foundation, rows.width)
        set_dropout_seed(adapter.model, dropout_seed(seed, step, number))
        loss_sum, num_supervised = training_loss(adapter.model, batch)
        objective = loss_sum
        if balance_weight:
            objective = loss_sum + balance_weight * num_supervised * load_balancing_loss(adapter.model)
        torch.autograd.backward(objective)
        loss_nats_sum += loss_sum.item()
        num_tokens += num_supervised
    loss_nats = mean_loss(loss_nats_sum, num_tokens, step=step)
    torch._foreach_div_([weight.grad for weight in adapter.parameters if weight.grad is not None], num_tokens)
    return Accumulated(loss_nats=loss_nats, num_tokens=num_tokens)


def apply_gradients(
    adapter: AttachedAdapter, accumulated: Accumulated, *, lr_frac: float, interval: Interval
) -> None:
    """One optimizer step with the gradients at hand.

    Args:
        adapter: what is trained.
        accumulated: from `accumulate_gradients`.
        lr_frac: fraction of the peak learning rates at this step.
        interval: sums to add this step's figures to, in place.

    Raises:
        TrialFailedError: a gradient or update is not finite, or a matrix cannot be factorised.
    """
    adapter.set_lr_multiplier(lr_frac)
    adapter.optimizer.step()
    add_step(interval, adapter, accumulated)


def add_step(interval: Interval, adapter: AttachedAdapter, accumulated: Accumulated) -> None:
    """Add the figures of a step that the adapter's optimizer has taken, in place."""
    figures = adapter.optimizer.last_step
    interval.lr = adapter.lr
    interval.num_steps += 1
    interval.num_tokens += accumulated.num_tokens
    interval.loss_nats_sum += accumulated.loss_nats
    interval.expert_grad_norm_sum += figures.expert_grad_norm
    interval.router_grad_norm_sum += figures.router_grad_norm
    interval.update_norm_sum += figures.update_norm
    interval.num_factorised += figures.num_factorised
    interval.num_damped += figures.num_damped


def _endless_rows(seed: int, num_rows: int, epoch: int, skip: int) -> Iterator[int]:
    for number in itertools.count(epoch):
        order = np.random.default_rng(derived_seed(seed, "order", number)).permutation(num_rows)
        yield from (int(row) for row in order[skip:])
        skip = 0
