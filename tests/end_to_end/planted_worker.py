"""A pack that reports planted losses instead of training."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

from ray import get_runtime_context

from study.packs.training_thread import State
from study.records import Phase, PlannedTrial
from tests.validation.planted import BASELINE, NOISY, SHIFTED, UNSTABLE, WIDER, WORSE, at_home, life
from trainers.reports import Report

EVAL_EVERY = 4
SECONDS = "TRIALWRIGHT_TEST_SECONDS"
"""Variable that says how long a report takes; one of the last of the search takes ten times as long."""
SLOW = "search/adamw/p003"
SURFACES = {
    "adamw": at_home(BASELINE, "adamw"),
    "radamw": at_home(replace(WIDER, width=1.2 * WIDER.width), "radamw"),
    "gradamw": at_home(SHIFTED, "gradamw"),
    "rsgd": at_home(WORSE, "rsgd"),
    "sgd": at_home(NOISY, "sgd"),
    "grsgd": at_home(UNSTABLE, "grsgd"),
}
"""Each of the paper's families with a truth of its own."""


class PlantedActor:
    """Speaks to clients and to the desk as `study.packs.actor.PackActor` does."""

    def __init__(self, study: dict[str, Any], num_threads: int) -> None:  # noqa: ARG002
        """Begin; nothing is loaded."""
        self._instance = uuid4().hex
        self._reports: dict[str, list[Report]] = {}
        self._keys: dict[str, str] = {}

    def ping(self, *_: Any) -> dict[str, str]:
        """Always ready."""
        ready = {"instance": self._instance, "state": State.READY.value, "failure": ""}
        return ready | {
            "node": "127.0.0.1",
            "node_id": get_runtime_context().get_node_id(),
            "device": "planted",
        }

    def seat(self, ticket: str, planned: Mapping[str, Any], *_: Any) -> None:
        """Take up a trial."""
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
        self._keys[ticket] = trial.key
        self._reports[ticket] = life(SURFACES, trial, eval_every=EVAL_EVERY)
        time.sleep(0.005)

    def next(self, ticket: str, num_sent: int) -> dict[str, Any]:
        """Report the next evaluation."""
        reports = self._reports[ticket]
        time.sleep(float(os.environ.get(SECONDS, "0")) * (10 if self._keys[ticket] == SLOW else 1))
        fresh = reports[num_sent : num_sent + 1]
        return {
            "first_report": num_sent,
            "reports": [report.to_json() for report in fresh],
            "done": num_sent + 1 == len(reports),
        }

    def leave(self, ticket: str) -> None:
        """Forget a trial."""
        self._reports.pop(ticket, None)
