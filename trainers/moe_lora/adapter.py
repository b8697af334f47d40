"""The trainable weights of one adapter, as optimizers want them.

Dimensions: E experts, R rank, I input features, O output features.
"""

from dataclasses import dataclass

from peft.utils.other import ModulesToSaveWrapper
from torch import nn
from torch.nn import Parameter

from trainers.moe_lora.routing import moe_lora_layers


@dataclass(frozen=True, kw_only=True)
class ExpertPair:
    """The two factors of all experts of one layer."""

    name: str
    """The layer's name within the base model."""
    A: Parameter
    """Shape (E, R, I)."""
    B: Parameter
    """Shape (E, O, R)."""
    scale: float
    """alpha / r."""


@dataclass(frozen=True, kw_only=True)
class AdapterParameters:
    """Everything that trains with one adapter."""

    experts: tuple[ExpertPair, ...]
    """One pair per adapted layer, in module order."""
    routers: tuple[Parameter, ...]
    """Shape (E, I) each, in the order of `experts`."""
    head: tuple[Parameter, ...]
    """Weights of the modules to save, such as an encoder's classifier; often empty."""


def adapter_parameters(model: nn.Module, adapter: str = "default") -> AdapterParameters:
    """Collect the weights that belong to an adapter, whether or not they require gradients now.

    Args:
        model: a model with MoE-LoRA layers, wrapped by PEFT or not.
        adapter: name of the adapter.

    Raises:
        ValueError: when the model has no such adapter.
    """
    layers = [layer for layer in moe_lora_layers(model) if adapter in layer.moe_lora_A]
    if not layers:
        raise ValueError(f"The model has no MoE-LoRA adapter named {adapter!r}.")
    wrappers = [module for module in model.modules() if isinstance(module, ModulesToSaveWrapper)]
    return AdapterParameters(
        experts=tuple(
            ExpertPair(
                name=layer.module_name,
                A=layer.moe_lora_A[adapter],
                B=layer.moe_lora_B[adapter],
                scale=layer.moe_lora_settings[adapter].scale,
            )
            for layer in layers
        ),
        routers=tuple(layer.moe_lora_router[adapter] for layer in layers),
        head=tuple(
            parameter
            for wrapper in wrappers
            if adapter in wrapper.modules_to_save
            for parameter in wrapper.modules_to_save[adapter].parameters()
        ),
    )
