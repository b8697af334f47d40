"""MoE-LoRA as a PEFT tuner: puts `MoeLoraLayer`s in place of a model's linear layers."""

from typing import Any, NoReturn

from peft.tuners.tuners_utils import BaseTuner
from peft.utils import resolve_quantization_backend
from torch import nn
from transformers.pytorch_utils import Conv1D

from search_spaces.errors import SpecError
from trainers.moe_lora.config import MoeLoraConfig
from trainers.moe_lora.layer import NOT_MERGEABLE, MoeLoraLayer
from trainers.moe_lora.routing import moe_lora_layers

ATTENTION_PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("query_key_value",),
    ("query", "key", "value"),
    ("c_attn",),
)
"""What attention's linear layers are called; the first tuple found in a model is adapted by default."""


class MoeLoraModel(BaseTuner):  # type: ignore[misc]  # PEFT is untyped
    """The tuner behind `get_peft_model(base, MoeLoraConfig(...))`."""

    prefix = "moe_lora_"
    tuner_layer_cls = MoeLoraLayer

    def _prepare_adapter_config(self, peft_config: MoeLoraConfig, model_config: Any) -> MoeLoraConfig:  # noqa: ARG002
        """Choose the attention's projections when the user named no layers."""
        if peft_config.target_modules is None:
            present = {name.rpartition(".")[2] for name, _ in self.model.named_modules()}
            found = next((names for names in ATTENTION_PROJECTIONS if present.issuperset(names)), None)
            if found is None:
                raise SpecError(
                    f"target_modules is absent and {type(self.model).__name__} has no attention layers of a "
                    "known name; name the linear layers to adapt in target_modules."
                )
            peft_config.target_modules = sorted(found)
        return peft_config

    def _create_and_replace(  # noqa: PLR0917 - as PEFT declares it
        self,
        peft_config: MoeLoraConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,  # noqa: ARG002 - PEFT passes it by name
    ) -> None:
        if isinstance(target, MoeLoraLayer):
            target.update_layer(adapter_name, peft_config, inference_mode=peft_config.inference_mode)
            return
        if not isinstance(target, nn.Linear | Conv1D) and not _quantized_linear(target):
            raise SpecError(
                f"target_modules names {current_key!r}, a {type(target).__name__}, but MoE-LoRA adapts "
                "linear layers only; name linear layers."
            )
        layer = MoeLoraLayer(target, current_key)
        layer.set_adapter(adapter_name)
        layer.update_layer(adapter_name, peft_config, inference_mode=peft_config.inference_mode)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(requires_grad=False)
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> NoReturn:
        """Refuse every way of merging, before any layer is touched."""
        raise SpecError(NOT_MERGEABLE)


def initialize(model: nn.Module, seed: int, adapter: str = "default") -> None:
    """Draw an adapter's weights anew, in place, from (seed, module name).

    The same seed gives the same weights on every device, in any module order and under any optimizer family.

    Args:
        model: a model with MoE-LoRA layers, wrapped by PEFT or not.
        seed: any integer.
        adapter: name of the adapter.

    Raises:
        ValueError: when the model has no such adapter.
    """
    layers = [layer for layer in moe_lora_layers(model) if adapter in layer.moe_lora_A]
    if not layers:
        raise ValueError(f"The model has no MoE-LoRA adapter named {adapter!r}.")
    for layer in layers:
        layer.initialize(adapter, seed)


def _quantized_linear(module: nn.Module) -> bool:
    backend = resolve_quantization_backend(module)
    return backend is not None and backend.layer_type == "linear"
