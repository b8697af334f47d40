"""An adapter attached to the frozen base for one trial: its weights, its optimizer and its scores."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import PeftModel, TaskType, get_peft_model
from peft.utils import CONFIG_NAME
from safetensors import SafetensorError
from torch import Tensor, nn

from search_spaces.designs import derived_seed
from search_spaces.families import family as find_family
from trainers.moe_lora import (
    MoeLoraConfig,
    adapter_parameters,
    initialize,
    moe_lora_layers,
    routing_statistics,
)
from trainers.objective import Evaluation, evaluate
from trainers.optimizers import MoeLoraOptimizer, build_optimizer
from trainers.places import Folder, StoreFolder
from trainers.tasks import Example
from trainers.workbench import Workbench
from trainers.workload import Variant


class AttachedAdapter:
    """A trial's adapter on the shared base. `detach` gives the base back as it was."""

    def __init__(self, model: PeftModel, optimizer: MoeLoraOptimizer) -> None:
        """Take over a model that has just been given its adapter, and the optimizer over it."""
        self.model = model
        self.optimizer = optimizer
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._peak_lrs = [group["lr"] for group in optimizer.param_groups]

    @property
    def num_experts(self) -> int:
        """The most experts that a layer has."""
        layers = moe_lora_layers(self.model)
        return max(layer.moe_lora_settings["default"].num_experts for layer in layers)

    @property
    def lr(self) -> float:
        """The experts' learning rate now."""
        return float(self.optimizer.param_groups[0]["lr"])

    def set_lr_multiplier(self, multiplier: float) -> None:
        """Scale every group's learning rate to a fraction of its peak."""
        for group, peak_lr in zip(self.optimizer.param_groups, self._peak_lrs, strict=True):
            group["lr"] = peak_lr * multiplier

    def set_training(self, *, training: bool) -> None:
        """Switch the adapters' dropout; the base's own dropout was set to zero when it was loaded."""
        self.model.train(training)

    def evaluate(self, workbench: Workbench, examples: Sequence[Example]) -> Evaluation:
        """Loss and accuracy on some examples, without dropout."""
        self.set_training(training=False)
        return evaluate(self.model, examples, workbench.foundation, scoring=workbench.workload.task.scoring)

    def evaluate_with_routing(
        self, workbench: Workbench, examples: Sequence[Example]
    ) -> tuple[Evaluation, dict[str, float]]:
        """Scores, with the gates' mean entropy and the share of tokens that each expert received."""
        with routing_statistics(self.model) as routing:
            scores = self.evaluate(workbench, examples)
        return scores, routing.metrics(0, self.num_experts)

    def tensors(self) -> dict[str, Tensor]:
        """Trainable weights and optimizer moments by name."""
        weights = {f"weights/{name}": tensor for name, tensor in self._named_weights().items()}
        moments = {
            f"moments/{index}/{name}": torch.as_tensor(value)
            for index, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        return weights | moments

    def load_tensors(self, tensors: Mapping[str, Tensor], num_steps: int) -> None:
        """Put back what `tensors` gave after so many optimizer steps, in place."""
        with torch.no_grad():
            for name, parameter in self._named_weights().items():
                parameter.copy_(tensors[f"weights/{name}"])
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition("/")
            if kind == "moments":
                index, _, field = rest.partition("/")
                state.setdefault(int(index), {})[field] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.optimizer.num_steps = num_steps

    def save(self, folder: Folder) -> None:
        """Write the adapter in PEFT's own format (safetensors).

        Raises:
            OSError: the disk is full or cannot be written.
            StoreAwayError: the object store did not take it.
        """
        if isinstance(folder, Path):
            self._save_at(folder)
            return
        with TemporaryDirectory() as scratch:
            self._save_at(Path(scratch))
            written = sorted(Path(scratch).iterdir(), key=lambda path: path.name == CONFIG_NAME)
            parent, _, name = folder.path.rpartition("/")
            StoreFolder(parent).write(name, {path.name: path.read_bytes() for path in written})

    def detach(self) -> None:
        """Take the adapter off the base."""
        self.model.unload()

    def _save_at(self, folder: Path) -> None:
        try:
            self.model.save_pretrained(folder, safe_serialization=True)
        except SafetensorError as error:
            found = re.search(r"\(os error (\d+)\)", str(error))  # how it tells of a full disk
            if found is None:
                raise
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(folder)) from None

    def _named_weights(self) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}


def attach_adapter(
    workbench: Workbench,
    *,
    family: str,
    params: Mapping[str, float | int | str],
    seed: int,
    variant: Variant | None = None,
) -> AttachedAdapter:
    """Give the base a fresh adapter and an optimizer of a family.

    Args:
        workbench: the base to adapt.
        family: one of the families of `search_spaces`.
        params: the configuration: lr, router_lr, num_experts, top_k, rank, and the family's own.
        seed: the trial's seed; initial weights derive from it and the modules' names alone.
        variant: what differs from the family and from the workload's own settings.

    Raises:
        SpecError: no module of the base matches the adapter's target modules.
    """
    traits = find_family(family)
    adapter, training = workbench.workload.adapter, workbench.workload.training
    fixed: dict[str, Any] = {} if variant is None else variant.settings
    is_encoder = workbench.foundation.kind == "encoder"
    config = MoeLoraConfig(
        task_type=TaskType.SEQ_CLS if is_encoder else TaskType.CAUSAL_LM,
        num_experts=int(params["num_experts"]),
        top_k=int(params["top_k"]),
        r=int(params["rank"]),
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.target_modules),
        gate_exponent=fixed.get("gate_exponent", traits.gate_exponent),
        input_gradient=fixed.get("input_gradient", adapter.input_gradient),
        load_balance_weight=adapter.load_balance_weight,
        modules_to_save=list(workbench.foundation.head_modules) or None,
    )
    model = get_peft_model(workbench.foundation.model, config)
    initialize(model, derived_seed(seed, "weights"))
    if is_encoder:
        _initialize_head(model, derived_seed(seed, "head"))
    optimizer = build_optimizer(
        model,
        family=family,
        lr=float(params["lr"]),
        router_lr=float(params["router_lr"]),
        damping=float(params.get("damping", traits.defaults.get("damping", 1e-6))),
        lr_ratio=float(params.get("lr_ratio", 1.0)),
        head_lr=training.head_lr if is_encoder else None,
        betas=training.betas,
        eps=training.eps,
        bias_correction=fixed.get("bias_correction", training.bias_correction),
        weight_decay=training.weight_decay,
        simultaneous=fixed.get("simultaneous", training.simultaneous),
        router_max_norm=training.router_max_norm,
        expert_max_norm=training.expert_max_norm,
    )
    return AttachedAdapter(model, optimizer)


def _initialize_head(model: PeftModel, seed: int) -> None:
    """Draw an encoder's new head as its architecture does: normal weights, biases at zero."""
    generator = torch.Generator().manual_seed(seed)
    spread = float(getattr(model.config, "initializer_range", 0.02))
    with torch.no_grad():
        for weight in adapter_parameters(model).head:
            if weight.ndim > 1:
                weight.copy_(torch.empty(weight.shape).normal_(0.0, spread, generator=generator))
            else:
                weight.zero_()
