"""The command `trialwright` with `planted_worker` in place of the packs that train; all else is the real thing."""

import sys
from types import ModuleType
from typing import Any

from study.cli import main


class LateActor(ModuleType):
    """Stands for `study.packs.actor`: what it needs is imported when the desk asks for the actor, and no sooner."""

    def __getattr__(self, name: str) -> Any:
        """The actor, under the name that the desk knows."""
        if name != "PackActor":
            raise AttributeError(name)
        from tests.end_to_end.planted_worker import PlantedActor

        return PlantedActor


if __name__ == "__main__":
    sys.modules["study.packs.actor"] = LateActor("study.packs.actor")
    main()
