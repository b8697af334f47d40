"""A worker that reports planted losses instead of training."""

import time
from dataclasses import replace
from typing import Any

from ray import tune

from study.records import Phase, PlannedTrial
from tests.validation.planted import BASELINE, NOISY, SHIFTED, UNSTABLE, WIDER, WORSE, at_home, life

EVAL_EVERY = 4
SURFACES = {
    "adamw": at_home(BASELINE, "adamw"),
    "radamw": at_home(replace(WIDER, width=1.2 * WIDER.width), "radamw"),
    "gradamw": at_home(SHIFTED, "gradamw"),
    "rsgd": at_home(WORSE, "rsgd"),
    "sgd": at_home(NOISY, "sgd"),
    "grsgd": at_home(UNSTABLE, "grsgd"),
}
"""Each of the paper's families with a truth of its own."""


class PlantedWorker(tune.Trainable):
    """Speaks to Ray Tune as `study.trial_worker.TrialWorker` does."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take up a trial."""
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """Report the next evaluation."""
        first = self._num_sent
        self._num_sent = min(first + 1, len(self._reports))
        fresh = self._reports[first : self._num_sent]
        return {
            "first_report": first,
            "reports": [report.to_json() for report in fresh],
            "done": self._num_sent == len(self._reports),
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        planned = config["trial"]
        trial = PlannedTrial(
            key=planned["key"],
            phase=Phase(planned["key"].split("/")[0]),
            slice="",
            family=planned["family"],
            replicate=0,
            point=0,
            seed=planned["seed"],
            params=planned["params"],
            steps=planned["steps"],
        )
        self._reports = life(SURFACES, trial, eval_every=EVAL_EVERY)
        self._num_sent = 0
        time.sleep(0.005)
