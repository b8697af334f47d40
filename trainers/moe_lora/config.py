"""What a MoE-LoRA adapter is made of: a `PeftConfig` that is checked when it is made."""

from dataclasses import dataclass, field

from peft import PeftConfig, PeftType
from peft.utils.other import get_pattern_key

from search_spaces.errors import SpecError

INPUT_GRADIENTS = ("exact", "faithful")
"""The two gradients that the layers below may see, see `trainers.moe_lora.experts`."""


@dataclass
class MoeLoraConfig(PeftConfig):  # type: ignore[misc]  # PEFT is untyped
    """Settings of one MoE-LoRA adapter. The defaults are the method's own.

    Every mistake raises `SpecError`, so that `get_peft_model` never meets it.
    """

    num_experts: int = field(default=20, metadata={"help": "Experts per adapted layer (N)."})
    top_k: int = field(default=10, metadata={"help": "Experts that each token is routed to."})
    r: int = field(default=4, metadata={"help": "Rank of each expert."})
    lora_alpha: float = field(
        default=16.0, metadata={"help": "The experts' outputs are scaled by alpha / r."}
    )
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout on the experts' input."})
    target_modules: list[str] | str | None = field(
        default=None,
        metadata={
            "help": "Names of the linear layers to adapt, or a regular expression; none: the attention's."
        },
    )
    exclude_modules: list[str] | str | None = field(
        default=None, metadata={"help": "Names of layers to leave out, or a regular expression."}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "Modules to train in full and save with the adapter, such as a head."}
    )
    gate_exponent: float = field(
        default=1.0, metadata={"help": "The experts' parameters see gate**a: 1, 0.5 or 0 in the paper."}
    )
    input_gradient: str = field(
        default="exact", metadata={"help": "exact: the input sees the gate; faithful: gate**a, as released."}
    )
    load_balance_weight: float = field(
        default=0.0, metadata={"help": "Weight of the load-balancing loss; 0: none is computed."}
    )
    experts_per_layer: dict[str, int] | None = field(
        default=None,
        metadata={"help": "Experts of the layers whose name ends in a key (regular expressions allowed)."},
    )
    seed: int | None = field(
        default=None, metadata={"help": "Seed of the initial weights; none: torch's global stream."}
    )

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            SpecError: when a value is out of its range.
        """
        super().__post_init__()
        self.peft_type = PeftType.MOE_LORA
        self.target_modules = _sorted_names(self.target_modules)
        self.exclude_modules = _sorted_names(self.exclude_modules)
        for name in ("num_experts", "top_k", "r"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "be at least 1")
        for num_experts in (self.num_experts, *(self.experts_per_layer or {}).values()):
            _require(
                self.top_k <= num_experts,
                "top_k",
                self.top_k,
                f"be at most the number of experts, {num_experts}",
            )
        _require(self.lora_alpha > 0, "lora_alpha", self.lora_alpha, "be above 0")
        _require(0 <= self.lora_dropout < 1, "lora_dropout", self.lora_dropout, "lie in [0, 1)")
        _require(0 <= self.gate_exponent <= 1, "gate_exponent", self.gate_exponent, "lie in [0, 1]")
        _require(
            self.load_balance_weight >= 0, "load_balance_weight", self.load_balance_weight, "not be below 0"
        )
        _require(
            self.input_gradient in INPUT_GRADIENTS,
            "input_gradient",
            repr(self.input_gradient),
            f"be one of {', '.join(INPUT_GRADIENTS)}",
        )

    @property
    def scale(self) -> float:
        """Factor of the experts' outputs, alpha / r."""
        return self.lora_alpha / self.r

    def num_experts_of(self, module_name: str) -> int:
        """Number of experts of the layer of that name, after `experts_per_layer`."""
        special = self.experts_per_layer or {}
        return special.get(get_pattern_key(tuple(special), module_name), self.num_experts)


def _sorted_names(names: list[str] | set[str] | tuple[str, ...] | str | None) -> list[str] | str | None:
    """Names in one order, so that a saved configuration is the same file every time."""
    return names if names is None or isinstance(names, str) else sorted(names)


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise SpecError(f"{name} is {value} but must {rule}; change it in the adapter's configuration.")
