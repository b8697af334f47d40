"""MoE-LoRA as a registered PEFT method: importing this package is what registers it.

`get_peft_model(base, MoeLoraConfig(num_experts=20, top_k=10, r=4))`, `save_pretrained`,
`PeftModel.from_pretrained` and `generate` then work as for any tuner of PEFT.
"""

from aenum import extend_enum
from peft import PeftType
from peft.utils import register_peft_method

if "MOE_LORA" not in PeftType.__members__:  # PEFT refuses methods that its enumeration does not know
    extend_enum(PeftType, "MOE_LORA", "MOE_LORA")

from trainers.moe_lora.adapter import AdapterParameters, ExpertPair, adapter_parameters
from trainers.moe_lora.config import MoeLoraConfig
from trainers.moe_lora.layer import MoeLoraLayer
from trainers.moe_lora.model import MoeLoraModel, initialize
from trainers.moe_lora.routing import (
    load_balancing_loss,
    moe_lora_layers,
    replaced_gating,
    routing_ignored,
    routing_statistics,
    set_dropout_seed,
    set_token_mask,
)
from trainers.moe_lora.statistics import RoutingStatistics

register_peft_method(name="moe_lora", config_cls=MoeLoraConfig, model_cls=MoeLoraModel)

__all__ = [
    "AdapterParameters",
    "ExpertPair",
    "MoeLoraConfig",
    "MoeLoraLayer",
    "MoeLoraModel",
    "RoutingStatistics",
    "adapter_parameters",
    "initialize",
    "load_balancing_loss",
    "moe_lora_layers",
    "replaced_gating",
    "routing_ignored",
    "routing_statistics",
    "set_dropout_seed",
    "set_token_mask",
]
