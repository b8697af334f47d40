"""What a calibration found: how many lanes pay, and what steps and evaluations cost; plain data, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Times of one pack on one device, of trials at their families' defaults."""

    lanes: int
    """Trials together at which trial-steps per second stop rising; 1 where no pack is faster than a lone trial."""
    step_s: Mapping[int, float]
    """Lanes tried, ascending from 1 → seconds of a joint step, one optimizer step of every lane."""
    evaluation_s: Mapping[str, float]
    """`select` and `report` → seconds of one evaluation of one trial on that split."""
    memory_bytes: int
    """Most memory of a pack of `lanes` while it trained, the base included."""
    device: str
    """Where it was measured, as torch names it."""
    load_s: float | None = None
    """Seconds to load base and text; None where nobody timed it."""

    def joint_step_s(self, lanes: float) -> float:
        """Seconds of a joint step with any number of lanes: as measured, on a line between, in proportion beyond.

        Args:
            lanes: 0 or more; a mean over time need not be whole.
        """
        measured = sorted(self.step_s)
        most = measured[-1]
        if lanes > most:
            return self.step_s[most] * lanes / most
        return float(np.interp(lanes, [0, *measured], [0.0, *(self.step_s[tried] for tried in measured)]))

    def steps_per_second(self, lanes: int) -> float:
        """Trial-steps per second with so many lanes, at least 1."""
        return lanes / self.joint_step_s(lanes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, from which `from_json` makes the same calibration."""
        return {
            "lanes": self.lanes,
            "step_s": {str(lanes): seconds for lanes, seconds in self.step_s.items()},
            "evaluation_s": dict(self.evaluation_s),
            "memory_bytes": self.memory_bytes,
            "device": self.device,
            "load_s": self.load_s,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Calibration":
        """The calibration that `to_json` described."""
        step_s = {int(lanes): float(seconds) for lanes, seconds in document["step_s"].items()}
        return cls(**{**document, "step_s": step_s})
