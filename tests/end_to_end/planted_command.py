"""The command `trialwright` with `planted_worker` in place of the worker that trains; all else is the real thing."""

import sys
from types import ModuleType
from typing import Any

from study.cli import main


class LateWorker(ModuleType):
    """Stands for `study.trial_worker`: Ray is imported when the runner asks for the worker, and no sooner."""

    def __getattr__(self, name: str) -> Any:
        """The worker, under the name that the runner knows."""
        if name != "TrialWorker":
            raise AttributeError(name)
        from tests.end_to_end.planted_worker import PlantedWorker

        return PlantedWorker


if __name__ == "__main__":
    sys.modules["study.trial_worker"] = LateWorker("study.trial_worker")
    main()
