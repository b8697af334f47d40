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
from trainers.moe_lora import moe_lora_layers
from trainers.moe_lora.layer import AdapterSettings, MoeLoraLayer
from trainers.moe_lora.packed import LaneStack, PackedLayer, PassRows
from trainers.objective import target_losses
from trainers.tasks import Example
from trainers.training_step import Accumulated, NextStep, dropout_seed, mean_loss, pieces_of_step
from trainers.workbench import Workbench

Model = TypeVar("Model", bound=nn.Module)

_PARTS = ("moe_lora_router", "moe_lora_A", "moe_lora_B")
"""A layer's weights in the order of `LaneStack.parts`."""


def sharing_copy(model: Model) -> Model:
    """The same model with modules of its own, to be changed freely, over the very same weights and buffers."""
    shared = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


class JointModel:
    """Makes the gradients of one step of several lanes at once; moves no weight."""

    def __init__(self, workbench: Workbench, module_names: Sequence[str]) -> None:
        """Put packed layers in place of the named linear layers, in a copy that shares the base's weights."""
        self._workbench = workbench
        self._model = sharing_copy(workbench.foundation.model)
        self._layers: list[PackedLayer] = []
        for name in module_names:
            layer = PackedLayer(self._model.get_submodule(name), name)
            self._model.set_submodule(name, layer)
            self._layers.append(layer)
        self._model.train()
        self._settings: list[list[AdapterSettings]] = []

    def gradients(
        self, adapters: Sequence[AttachedAdapter], coming: Sequence[NextStep]
    ) -> list[Accumulated | TrialFailedError]:
        """Forward and backward over the lanes' batches, piece by piece; may be repeated.

        Args:
            adapters: one a lane; their weights get their gradients.
            coming: each lane's next step, all with as many rows a pass.

        Returns:
            What each lane's passes came to, or why its step cannot be taken.

        Raises:
            torch.OutOfMemoryError: the joint passes do not fit.
        """
        self._load(adapters)
        pieces = [pieces_of_step(self._workbench, one) for one in coming]
        loss_sums, token_sums = [0.0] * len(coming), [0] * len(coming)
        for number, examples in enumerate(zip(*pieces, strict=True)):
            seeds = [dropout_seed(one.seed, one.step, number) for one in coming]
            loss_L, tokens_L = self._pass(examples, seeds)
            loss_sums = [total + loss for total, loss in zip(loss_sums, loss_L.tolist(), strict=True)]
            token_sums = [total + tokens for total, tokens in zip(token_sums, tokens_L.tolist(), strict=True)]
        self._hand_out(adapters, token_sums)
        return [
            _made(loss, tokens, one) for loss, tokens, one in zip(loss_sums, token_sums, coming, strict=True)
        ]

    def _load(self, adapters: Sequence[AttachedAdapter]) -> None:
        """Copy the lanes' weights into the stacks, which are kept while the lanes' settings stay as they are."""
        lanes = [moe_lora_layers(adapter.model) for adapter in adapters]
        by_layer = list(zip(*lanes, strict=True))
        settings = [[layer.moe_lora_settings["default"] for layer in layers] for layers in by_layer]
        if settings != self._settings:
            for layer, members in zip(self._layers, by_layer, strict=True):
                layer.stack = LaneStack.of(members)
            self._settings = settings
        places = [
            part for lane in range(len(lanes)) for stack in self._stacks() for part in stack.parts(lane)
        ]
        weights: list[Tensor] = [weight for lane in lanes for layer in lane for weight in _weights(layer)]
        with torch.no_grad():
            torch._foreach_copy_(places, weights)
        for stack in self._stacks():
            for weight in stack.weights:
                weight.grad = None

    def _pass(self, examples: Sequence[list[Example]], seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """One forward and backward; returns each lane's loss in nats and its number of targets, (L,)."""
        batch = make_batch([example for lane in examples for example in lane], self._workbench.foundation)
        rows = PassRows(
            num_rows=len(examples[0]),
            widths=tuple(max(_width(example) for example in lane) for lane in examples),
            dropout_seeds=tuple(seeds),
            attention_mask=batch.attention_mask,
        )
        for layer in self._layers:
            layer.rows = rows
        loss_L = target_losses(self._model, batch).view(len(examples), -1).sum(1)
        tokens_L = batch.target_mask.view(len(examples), -1).sum(1)
        objective_L = loss_L
        balance_weight = self._workbench.workload.adapter.load_balance_weight
        if balance_weight:
            balance_L = torch.stack([_balance_loss(layer) for layer in self._layers]).sum(0)
            objective_L = loss_L + balance_weight * tokens_L * balance_L
        # Ones, not a sum: a lane that is not a number must not be added to the others.
        torch.autograd.backward(objective_L, torch.ones_like(objective_L))
        return loss_L.detach(), tokens_L

    def _hand_out(self, adapters: Sequence[AttachedAdapter], token_sums: Sequence[int]) -> None:
        """Give each lane's weights their gradients, by token as a lone trial has them."""
        for lane, (adapter, num_tokens) in enumerate(zip(adapters, token_sums, strict=True)):
            gradients = [part.contiguous() for stack in self._stacks() for part in stack.gradients(lane)]
            torch._foreach_div_(gradients, num_tokens)
            weights = [weight for layer in moe_lora_layers(adapter.model) for weight in _weights(layer)]
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient

    def _stacks(self) -> list[LaneStack]:
        return [layer.stack for layer in self._layers if layer.stack is not None]


def _made(loss_nats_sum: float, num_tokens: int, coming: NextStep) -> Accumulated | TrialFailedError:
    try:
        loss_nats = mean_loss(loss_nats_sum, num_tokens, step=coming.step)
    except TrialFailedError as error:
        return error
    return Accumulated(loss_nats=loss_nats, num_tokens=num_tokens)


def _weights(layer: MoeLoraLayer) -> list[nn.Parameter]:
    return [getattr(layer, name)["default"] for name in _PARTS]


def _width(example: Example) -> int:
    """Positions of a row with its right answer."""
    return len(example.prompt_ids) + len(example.option_ids[example.answer])


def _balance_loss(layer: PackedLayer) -> Tensor:
    if layer.balance_loss_L is None:
        raise ValueError(f"{layer.module_name} has not run, so it has no load-balancing loss.")
    return layer.balance_loss_L
