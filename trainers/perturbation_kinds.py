"""What may be disturbed when a trained adapter is scored once more, as a study file declares it.

Plain data that loads no torch; `trainers.perturbations` applies it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.errors import SpecError, unknown


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much of a perturbation there may be."""

    low: float
    high: float
    whole: bool = False
    meaning: str
    """What the number is, for people."""


KINDS: Mapping[str, Amount | None] = {
    "expert_dropped": None,
    "top_k_minus_1": None,
    "top_k_plus_1": None,
    "router_noise": Amount(low=0.0, high=math.inf, meaning="standard deviation of the noise on the logits"),
    "router_temperature": Amount(low=1e-6, high=math.inf, meaning="what the logits are divided by"),
    "weights_bits": Amount(low=2, high=16, whole=True, meaning="bits of each weight"),
    "words_dropped": Amount(low=0.0, high=1.0, meaning="probability of each input word"),
}
"""Every perturbation by name; None: it has no amount."""


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """One perturbation at inference, checked when it is made."""

    kind: str
    """A name of `KINDS`."""
    amount: float | None = None
    """As `KINDS` says; absent where the kind has none."""

    def __post_init__(self) -> None:
        """Refuse an unknown kind, and an amount that is missing, superfluous or out of range.

        Raises:
            SpecError: one sentence.
        """
        if self.kind not in KINDS:
            raise unknown("perturbation", self.kind, KINDS)
        limits = KINDS[self.kind]
        if limits is None:
            if self.amount is not None:
                raise SpecError(
                    f"{self.kind} has no amount, but {self.amount} is written: write its name alone."
                )
            return
        if self.amount is None:
            raise SpecError(f"{self.kind} needs its {limits.meaning}: write {{{self.kind}: <number>}}.")
        if not limits.low <= self.amount <= limits.high or (limits.whole and self.amount != int(self.amount)):
            number = "a whole number" if limits.whole else "a number"
            most = f" to {limits.high:g}" if math.isfinite(limits.high) else " upwards"
            raise SpecError(
                f"{self.kind} is {self.amount:g}, but its {limits.meaning} is {number} from {limits.low:g}{most}: "
                "correct it."
            )

    @property
    def name(self) -> str:
        """As the trial table and the claims write it, such as `expert_dropped` or `router_noise_0.5`."""
        if self.amount is None:
            return self.kind
        return (
            f"weights_{self.amount:g}bit" if self.kind == "weights_bits" else f"{self.kind}_{self.amount:g}"
        )

    def to_json(self) -> str | dict[str, float]:
        """As a study file writes it; `perturbation_from_json` reads it back."""
        return self.kind if self.amount is None else {self.kind: self.amount}


def perturbation_from_json(written: Any) -> Perturbation:
    """Read the written form of a perturbation: its name, or {name: amount}.

    Raises:
        SpecError: the form is neither, or the perturbation is not what it may be.
    """
    if isinstance(written, str):
        return Perturbation(kind=written)
    if isinstance(written, Mapping) and len(written) == 1:
        ((kind, amount),) = written.items()
        if isinstance(amount, int | float) and not isinstance(amount, bool):
            return Perturbation(kind=str(kind), amount=amount)
    raise SpecError(f"{written!r} is no perturbation: write a name, or {{name: amount}} with a number.")
