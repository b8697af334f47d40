"""The limits of a study's resources: at one of them the study stops in order, and can be resumed."""

import time
from collections.abc import Callable

from study.interruption import Interruption
from study.ledger import Ledger, StudyState
from study.records import CAPPED
from study.spec import StudySpec


class Caps:
    """Watches over a launch's limits. Asked often, so it only compares."""

    def __init__(
        self,
        spec: StudySpec,
        ledger: Ledger,
        interruption: Interruption,
        device_seconds: Callable[[], float],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin; the launch begins now.

        Args:
            spec: the study, whose resources hold the limits.
            ledger: holds the study.
            interruption: is set once a limit is reached.
            device_seconds: says what all trials of the study took so far.
            clock: seconds that only grow.
        """
        self._spec = spec
        self._ledger = ledger
        self._interruption = interruption
        self._clock = clock
        self._began = clock()
        self._caps = (
            ("max_device_hours", spec.resources.max_device_hours, device_seconds, "device-hours"),
            ("max_hours", spec.resources.max_hours, lambda: clock() - self._began, "hours of this launch"),
        )

    def is_over(self) -> bool:
        """Whether the launch is to end, for this reason or another."""
        if not self._interruption:
            for cap, limit, seconds, unit in self._caps:
                if limit is not None and seconds() >= 3600 * limit:
                    self._stop(cap, limit, seconds() / 3600, unit)
                    break
        return bool(self._interruption)

    def _stop(self, cap: str, limit: float, used: float, unit: str) -> None:
        self._ledger.record_event(self._spec.name, CAPPED, {"cap": cap, "limit": limit, "used": used})
        way_on = (
            "launch the study file with a higher one"
            if cap == "max_device_hours"
            else "resume it for as long again, or launch the study file with a higher one"
        )
        self._interruption.set(
            f"resources.{cap} is {limit:g} and {used:.4g} {unit} were used: {way_on}", StudyState.STOPPED
        )
