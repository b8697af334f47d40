"""The frozen base with the adapters of several lanes on it, run once for the rows of all of them.

Shapes: L lanes, B rows of a lane, S positions, K positions with a target.
"""

import copy
import itertools
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from search_spaces.errors import TrialFailedError
from trainers.adapter import AttachedAdapter
from trainers.batches import make_batch
from trainers.lane_weights import LaneWeights
from trainers.moe_lora import RoutingStatistics, moe_lora_layers
from trainers.moe_lora.experts import Weights
from trainers.moe_lora.packed import LaneStack, PackedLayer, PassRows
from trainers.objective import Evaluation, evaluate_lanes, loss_sums, target_losses
from trainers.perturbations import DisturbedEvaluation
from trainers.tasks import Example
from trainers.training_step import Accumulated, NextStep, StepRows, dropout_seed, mean_loss
from trainers.workbench import Workbench

Model = TypeVar("Model", bound=nn.Module)


def sharing_copy(model: Model) -> Model:
    """The same model with modules of its own, to be changed freely, over the very same weights and buffers."""
    shared = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


class JointModel:
    """Runs several lanes at once: the gradients of their steps, and their scores. It moves no weight."""

    def __init__(self, workbench: Workbench, module_names: Sequence[str]) -> None:
        """Put packed layers in place of the named linear layers, in a copy that shares the base's weights."""
        self._workbench = workbench
        self._model = sharing_copy(workbench.foundation.model)
        self._layers: list[PackedLayer] = []
        for name in module_names:
            layer = PackedLayer(self._model.get_submodule(name), name)
            self._model.set_submodule(name, layer)
            self._layers.append(layer)
        self._adapters: list[AttachedAdapter] = []
        self._weights: LaneWeights | None = None

    def gradients(
        self, adapters: Sequence[AttachedAdapter], coming: Sequence[NextStep], rows: Sequence[StepRows]
    ) -> list[Accumulated | TrialFailedError]:
        """Forward and backward over the lanes' batches, piece by piece; may be repeated.

        Args:
            adapters: one a lane; their weights get their gradients.
            coming: each lane's next step.
            rows: each lane's rows, all in as many pieces of as many rows of as many positions.

        Returns:
            What each lane's passes came to, or why its step cannot be taken.

        Raises:
            torch.OutOfMemoryError: the joint passes do not fit.
        """
        weights = self._load(adapters)
        self._model.train()
        loss_sums, token_sums = [0.0] * len(coming), [0] * len(coming)
        for number, pieces in enumerate(zip(*(one.pieces for one in rows), strict=True)):
            seeds = [dropout_seed(one.seed, one.step, number) for one in coming]
            loss_L, tokens_L = self._pass(pieces, rows[0].width, seeds)
            loss_sums = [total + loss for total, loss in zip(loss_sums, loss_L.tolist(), strict=True)]
            token_sums = [total + tokens for total, tokens in zip(token_sums, tokens_L.tolist(), strict=True)]
        weights.hand_out(token_sums)
        return [
            _made(loss, tokens, one) for loss, tokens, one in zip(loss_sums, token_sums, coming, strict=True)
        ]

    def evaluate(
        self, adapters: Sequence[AttachedAdapter], examples: Sequence[Example]
    ) -> list[tuple[Evaluation, dict[str, float]]]:
        """Each lane's scores on the same rows, with its routing figures.

        Raises:
            torch.OutOfMemoryError: the joint passes do not fit.
        """
        self._load(adapters)
        self._model.eval()
        routing = RoutingStatistics(adapter="default")
        for layer in self._layers:
            layer.routing = routing
        try:
            scores = self._scores(examples, len(adapters))
        finally:
            for layer in self._layers:
                layer.routing = None
        return [
            (own, routing.metrics(lane, adapter.num_experts))
            for lane, (own, adapter) in enumerate(zip(scores, adapters, strict=True))
        ]

    def evaluate_disturbed(
        self, evaluations: Sequence[DisturbedEvaluation], examples: Sequence[Example]
    ) -> list[Evaluation]:
        """Scores of disturbed adapters on the same rows; the adapters stay as they are.

        Args:
            evaluations: one a lane, of as many adapters or of one.
            examples: the rows that all of them read.

        Raises:
            torch.OutOfMemoryError: the joint passes do not fit.
        """
        self._load([one.adapter for one in evaluations])
        self._model.eval()
        try:
            for layer in self._layers:
                layer.disturb([one.disturbance for one in evaluations])
            return self._scores(examples, len(evaluations))
        finally:
            for layer in self._layers:
                layer.gating = None

    def _load(self, adapters: Sequence[AttachedAdapter]) -> LaneWeights:
        """Copy the lanes' weights into the stacks, which are kept while the lanes stay as they are."""
        if self._weights is None or self._adapters != list(adapters):
            self._release()
            weights = LaneWeights([one.optimizer for one in adapters])
            lanes = [moe_lora_layers(adapter.model) for adapter in adapters]
            for number, (layer, members) in enumerate(
                zip(self._layers, zip(*lanes, strict=True), strict=True)
            ):
                settings = [member.moe_lora_settings["default"] for member in members]
                layer.stack = LaneStack.of(settings, Weights(*weights.of_module(number)))
            self._weights, self._adapters = weights, list(adapters)
        self._weights.load()
        return self._weights

    def forget(self, adapter: AttachedAdapter) -> None:
        """Let go of an adapter that has left."""
        if adapter in self._adapters:
            self._release()

    def _release(self) -> None:
        """Give the memory of the stacks back."""
        self._weights, self._adapters = None, []
        for layer in self._layers:
            layer.stack = layer.rows = layer.balance_loss_L = None

    def _scores(self, examples: Sequence[Example], num_lanes: int) -> list[Evaluation]:
        return evaluate_lanes(
            self._model,
            examples,
            self._workbench.foundation,
            num_lanes,
            prepare=self._announce,
            scoring=self._workbench.workload.task.scoring,
        )

    def _announce(self, attention_mask: Tensor | None) -> None:
        rows = PassRows(attention_mask=attention_mask)
        for layer in self._layers:
            layer.rows = rows

    def _pass(
        self, pieces: Sequence[Sequence[Example]], width: int, seeds: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """One forward and backward; returns each lane's loss in nats and its number of targets, (L,)."""
        num_lanes = len(pieces)
        batch = make_batch(
            [example for lane in pieces for example in lane], self._workbench.foundation, width
        )
        rows = PassRows(attention_mask=batch.attention_mask, dropout_seeds=tuple(seeds))
        for layer in self._layers:
            layer.rows = rows
            layer.balance_loss_L = None  # one of a pass that did not fit would hold what that has computed
        loss_L = loss_sums(target_losses(self._model, batch), num_lanes)
        tokens_L = batch.target_mask.view(num_lanes, -1).sum(1)
        objective_L = loss_L
        balance_weight = self._workbench.workload.adapter.load_balance_weight
        if balance_weight:
            balance_L = torch.stack([_balance_loss(layer) for layer in self._layers]).sum(0)
            objective_L = loss_L + balance_weight * tokens_L.to(balance_L.dtype) * balance_L
        # Ones, not a sum: a lane that is not a number must not be added to the others.
        torch.autograd.backward(objective_L, torch.ones_like(objective_L))
        return loss_L.detach(), tokens_L


def _made(loss_nats_sum: float, num_tokens: int, coming: NextStep) -> Accumulated | TrialFailedError:
    try:
        loss_nats = mean_loss(loss_nats_sum, num_tokens, step=coming.step)
    except TrialFailedError as error:
        return error
    return Accumulated(loss_nats=loss_nats, num_tokens=num_tokens)


def _balance_loss(layer: PackedLayer) -> Tensor:
    if layer.balance_loss_L is None:
        raise ValueError(f"{layer.module_name} has not run, so it has no load-balancing loss.")
    return layer.balance_loss_L
