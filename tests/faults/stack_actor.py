"""The real pack's actor; only what would load a base and train is replaced, within the worker's own process."""

import os
import sys
from types import ModuleType
from typing import Any

from study.packs.actor import PackActor


class SimulatedActor(PackActor):
    """Has `tests.faults.trainable` for its trainers."""

    def __init__(self, study: dict[str, Any], num_threads: int) -> None:
        from tests.faults import trainable

        os.environ.update(study.pop("faults"))
        opening, pack = ModuleType("study.packs.opening"), ModuleType("trainers.pack")
        vars(opening).update(open_bench=trainable.open_bench, trial_setup=trainable.trial_setup)
        vars(pack).update(Pack=trainable.SimulatedPack)
        sys.modules.update({"study.packs.opening": opening, "trainers.pack": pack})
        super().__init__(study, num_threads)
