"""What a trial says while it trains, as plain data that loads no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class TrialEnding:
    """How a trial ended by itself."""

    outcome: Literal["finished", "diverged", "out_of_memory"]
    reason: str
    value: float | None
    """Loss in nats on the report split."""
    select_value: float | None
    """Loss in nats on the select split."""
    init_value: float | None
    """Loss in nats on the report split at initialisation."""
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a trial says at one step."""

    step: int
    metrics: Mapping[str, float]
    ending: TrialEnding | None

    def to_json(self) -> dict[str, Any]:
        """Plain data, to cross processes and to lie in a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Report":
        """The report that `to_json` described."""
        ending = TrialEnding(**document["ending"]) if document["ending"] else None
        return cls(step=document["step"], metrics=document["metrics"], ending=ending)
