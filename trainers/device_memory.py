"""How much memory packs of more lanes would take, from what those at hand take."""

from contextlib import suppress
from pathlib import Path

import psutil
import torch

LIMIT_FRAC = 0.9
"""Fraction of an accelerator, or of what a machine has free, that a pack may fill."""
_PROCESS = Path("/proc/self")


class DeviceMemory:
    """Watches the most memory in use: an accelerator's own, else this process's."""

    def __init__(self, device: torch.device, num_packs: int) -> None:
        """Begin to watch, with the base loaded and nothing on it.

        Args:
            device: where the pack trains.
            num_packs: packs that share the machine's memory; each accelerator is one pack's own.
        """
        self._device = device
        self._forget_peak()
        self._start_bytes = self._peak_bytes()
        self._lane_bytes = 0.0
        if device.type == "cuda":
            total = torch.cuda.get_device_properties(device).total_memory
            self._limit_bytes = LIMIT_FRAC * total
        else:
            free = psutil.virtual_memory().available
            self._limit_bytes = self._start_bytes + LIMIT_FRAC * free / num_packs

    def note(self, lanes: int) -> None:
        """Take down what was needed at the most since the last note, with so many lanes."""
        self._lane_bytes = (self._peak_bytes() - self._start_bytes) / lanes
        self._forget_peak()

    def expected_bytes(self, lanes: int) -> int:
        """Most memory in use with so many lanes, each as large as those noted last."""
        return int(self._start_bytes + lanes * self._lane_bytes)

    def has_room_for(self, lanes: int) -> bool:
        """Whether so many lanes stay below the limit."""
        return self.expected_bytes(lanes) <= self._limit_bytes

    def _peak_bytes(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        with suppress(OSError):
            for line in (_PROCESS / "status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return int(psutil.Process().memory_info().rss)

    def _forget_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            with suppress(
                OSError
            ):  # proc(5): 5 resets the peak; where it cannot be reset, it only overstates
                (_PROCESS / "clear_refs").write_text("5", encoding="utf-8")
