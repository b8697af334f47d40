"""The float32 matrix products of a training step by their shapes: the base's layers and adapters of any size.

Dimensions: L lanes, T tokens, I input features, O output features.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from peft.tuners.tuners_utils import _get_in_out_features
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from trainers.model_folder import matches
from trainers.workbench import Workbench

FEW_TOKENS = 8
"""Kernels may be others for few tokens, so each layer is met with few as well."""
MOST_TOKENS = 512
"""Longer inputs are worked off in the same blocks."""
ADAPTER_WIDTHS = (4, 40, 128)
"""Ranks times experts that adapters are met with: the smallest, the paper's and a large one."""
NUM_LANES = 2


@dataclass(frozen=True, kw_only=True)
class Product:
    """What a layer multiplies."""

    num_tokens: int
    num_inputs: int
    num_outputs: int
    num_lanes: int | None = None
    """Lanes with weights of their own, multiplied in one batch; None: a layer without a lane axis."""
    trained: bool = False
    """Whether its weights have a gradient, which is a product as well."""
    count: float = 1.0
    """How many layers of a model have it; 0: its error counts, its time does not."""

    def operands(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Factors of the forward product, of the gradient to the inputs, and of that to the weights if trained.

        Args:
            generator: draws standard normal values on its device.
        """
        lanes = () if self.num_lanes is None else (self.num_lanes,)
        x_TI, weights_OI, dy_TO = (
            torch.randn(*lanes, *shape, generator=generator, device=generator.device)
            for shape in (
                (self.num_tokens, self.num_inputs),
                (self.num_outputs, self.num_inputs),
                (self.num_tokens, self.num_outputs),
            )
        )
        yield x_TI, weights_OI.mT
        yield dy_TO, weights_OI
        if self.trained:
            yield dy_TO.mT, x_TI


def products_of(workbench: Workbench) -> tuple[Product, ...]:
    """The float32 products of a training step; a bfloat16 base has them in its adapters alone.

    Args:
        workbench: base and text, without adapters.
    """
    workload, model = workbench.workload, workbench.foundation.model
    num_rows = workload.training.micro_batch or workload.training.batch
    num_tokens = min(num_rows * workload.task.max_tokens, MOST_TOKENS)
    head = model.get_output_embeddings()  # sees the positions of the answers alone
    layers, targets = Counter[tuple[int, int, int]](), Counter[tuple[int, int]]()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            num_inputs, num_outputs = _get_in_out_features(module)
            if module.weight.dtype == torch.float32:
                layers[FEW_TOKENS if module is head else num_tokens, num_inputs, num_outputs] += 1
            if any(matches(name, target) for target in workload.adapter.target_modules):
                targets[num_inputs, num_outputs] += 1
    return (*_base_products(layers), *_adapter_products(targets, num_tokens))


def _base_products(layers: Counter[tuple[int, int, int]]) -> Iterator[Product]:
    for (num_tokens, num_inputs, num_outputs), count in layers.items():
        usual = Product(num_tokens=num_tokens, num_inputs=num_inputs, num_outputs=num_outputs, count=count)
        yield usual
        if num_tokens > FEW_TOKENS:
            yield replace(usual, num_tokens=FEW_TOKENS, count=0)


def _adapter_products(targets: Counter[tuple[int, int]], num_tokens: int) -> Iterator[Product]:
    """Both factors of the experts at every width, their times as if all widths were as frequent."""
    for (num_inputs, num_outputs), count in targets.items():
        for width in ADAPTER_WIDTHS:
            for inputs, outputs in ((num_inputs, width), (width, num_outputs)):
                yield Product(
                    num_tokens=num_tokens,
                    num_inputs=inputs,
                    num_outputs=outputs,
                    num_lanes=NUM_LANES,
                    trained=True,
                    count=count / len(ADAPTER_WIDTHS) / NUM_LANES,
                )
