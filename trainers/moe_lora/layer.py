"""One adapted linear layer: the frozen base and, per adapter, stacked experts with their router.

Dimensions: L lanes (one here), T tokens, E experts, R rank, I input features, O output features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, _get_in_out_features
from peft.utils import resolve_quantization_backend
from torch import Tensor, nn

from search_spaces.designs import derived_seed
from search_spaces.errors import SpecError
from trainers.moe_lora.config import MoeLoraConfig
from trainers.moe_lora.dropout import keep_mask, keep_probability
from trainers.moe_lora.experts import Gating, Mixing, mix_experts
from trainers.moe_lora.gating import balance_loss, top_k_gates
from trainers.moe_lora.initial import fill_initial_weights
from trainers.moe_lora.statistics import RoutingStatistics

NOT_MERGEABLE = (
    "A MoE-LoRA adapter cannot be merged: its gates differ from token to token, so no single weight matrix "
    "equals it; keep the adapter loaded, or call unload() to have the base back."
)


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """What one adapter's forward pass in one layer needs to know."""

    num_experts: int
    r: int
    top_k: int
    scale: float
    """alpha / r."""
    dropout: float
    gate_exponent: float
    exact: bool
    """Whether the layer's input sees the plain gate, see `trainers.moe_lora.experts`."""
    balanced: bool
    """Whether training records the load-balancing loss."""

    def mixing(self, *, dropped: bool, gating: Gating) -> Mixing:
        """The settings of the mixture, with the dropout's factor when a mask is used."""
        return Mixing(
            top_k=self.top_k,
            scale=self.scale / keep_probability(self.dropout) if dropped else self.scale,
            gate_exponent=self.gate_exponent,
            exact=self.exact,
            gating=gating,
        )


class MoeLoraLayer(nn.Module, BaseTunerLayer):  # type: ignore[misc]  # PEFT is untyped
    """A linear layer (plain, quantised or `Conv1D`) with mixtures of low-rank experts added to its output.

    `moe_lora_A[adapter]` has shape (E, R, I), `moe_lora_B[adapter]` (E, O, R) and `moe_lora_router[adapter]`
    (E, I). They are float32 on the base's device, float64 over a float64 base.
    """

    adapter_layer_names = ("moe_lora_A", "moe_lora_B", "moe_lora_router")
    other_param_names = ("moe_lora_settings",)
    active_adapters: list[str]
    disable_adapters: bool
    get_base_layer: Callable[[], nn.Module]
    set_adapter: Callable[..., None]
    _get_base_layer_device_and_dtype: Callable[[nn.Module], tuple[torch.device | None, torch.dtype | None]]

    def __init__(self, base_layer: nn.Module, module_name: str) -> None:
        """Wrap `base_layer`, which is `module_name` in the base model; `update_layer` adds adapters."""
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = _get_in_out_features(self.get_base_layer())
        self.quantization_backend = resolve_quantization_backend(self.get_base_layer())
        self.moe_lora_A = nn.ParameterDict()
        self.moe_lora_B = nn.ParameterDict()
        self.moe_lora_router = nn.ParameterDict()
        self.moe_lora_settings: dict[str, AdapterSettings] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self.module_name = module_name
        self.dropout_seed: int | None = None
        self.token_mask: Tensor | None = None
        self.routing: RoutingStatistics | None = None
        self.gating: Gating = top_k_gates
        self.balance_losses: dict[str, Tensor] = {}

    def update_layer(self, adapter_name: str, config: MoeLoraConfig, *, inference_mode: bool = False) -> None:
        """Add (or replace) an adapter with initial weights."""
        num_experts = config.num_experts_of(self.module_name)
        self.moe_lora_settings[adapter_name] = AdapterSettings(
            num_experts=num_experts,
            r=config.r,
            top_k=config.top_k,
            scale=config.scale,
            dropout=config.lora_dropout,
            gate_exponent=config.gate_exponent,
            exact=config.input_gradient == "exact",
            balanced=config.load_balance_weight > 0,
        )
        device, dtype = self._get_base_layer_device_and_dtype(self.get_base_layer())
        dtype = torch.float64 if dtype == torch.float64 else torch.float32
        shapes = {
            "moe_lora_A": (num_experts, config.r, self.in_features),
            "moe_lora_B": (num_experts, self.out_features, config.r),
            "moe_lora_router": (num_experts, self.in_features),
        }
        for name, shape in shapes.items():
            getattr(self, name)[adapter_name] = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.initialize(adapter_name, config.seed)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def initialize(self, adapter_name: str, seed: int | None) -> None:
        """Draw an adapter's weights anew from (seed, module name)."""
        fill_initial_weights(
            self.moe_lora_A[adapter_name],
            self.moe_lora_B[adapter_name],
            self.moe_lora_router[adapter_name],
            seed=seed,
            module_name=self.module_name,
        )

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The base layer's output plus that of every active adapter, in the base's dtype."""
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name in self.moe_lora_A:
                output = self._expert_output(name, x)
                if self.quantization_backend is None:
                    result += output  # in place: adds in the wider dtype, rounds once, no copy
                else:
                    result = (result + output).to(result.dtype)
        return result

    def _expert_output(self, adapter_name: str, x: Tensor) -> Tensor:
        settings = self.moe_lora_settings[adapter_name]
        keep_LTI = self._dropout_mask(settings, x)
        output, logits_LTE, gates_LTE, selected_LTE = mix_experts(
            x,
            self.moe_lora_router[adapter_name],
            self.moe_lora_A[adapter_name],
            self.moe_lora_B[adapter_name],
            mixing=settings.mixing(dropped=keep_LTI is not None, gating=self.gating),
            keep_LTI=keep_LTI,
        )
        if self.routing is not None and self.routing.adapter == adapter_name:
            self.routing.add(self.module_name, gates_LTE, selected_LTE, self._token_weights(x))
        if settings.balanced and self.training:
            weight_LT = self._token_weights(x).to(logits_LTE.dtype)
            self.balance_losses[adapter_name] = balance_loss(logits_LTE, selected_LTE, weight_LT).sum()
        return output

    def _dropout_mask(self, settings: AdapterSettings, x: Tensor) -> Tensor | None:
        if not (self.training and settings.dropout > 0):
            return None
        if self.dropout_seed is None:
            seed = int(torch.randint(2**63 - 1, ()))
        else:
            seed = derived_seed(self.dropout_seed, self.module_name)
        num_tokens, num_features = x.shape[:-1].numel(), x.shape[-1]
        return keep_mask([seed], num_tokens, num_features, dropout=settings.dropout, device=x.device)

    def _token_weights(self, x: Tensor) -> Tensor:
        """Per token 1, or 0 for padding; shape (1, T)."""
        if self.token_mask is None:
            return torch.ones(1, x.shape[:-1].numel(), device=x.device)
        if self.token_mask.shape != x.shape[:-1]:
            raise ValueError(
                f"The token mask has shape {tuple(self.token_mask.shape)} but {self.module_name} reads "
                f"tokens of shape {tuple(x.shape[:-1])}; set another, or None, with set_token_mask."
            )
        return self.token_mask.reshape(1, -1).to(device=x.device, dtype=torch.float32)

    def merge(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse.

        Raises:
            SpecError: always, with the reason.
        """
        raise SpecError(NOT_MERGEABLE)

    def unmerge(self) -> NoReturn:
        """Refuse, since nothing can have been merged.

        Raises:
            SpecError: always, with the reason.
        """
        raise SpecError(NOT_MERGEABLE)

    def __repr__(self) -> str:
        """As PEFT's layers are shown, with this method's name in front."""
        return "moe_lora." + super().__repr__()
