"""The command `trialwright` whose engine is a loop in place of Ray: one pack, in the driver's own process.

Everything else is the real thing: coordinator, ledger, tracker, checkpoints, report. The pack is simulated, or the real
one where `REAL` is set.
"""

import os
from functools import partial
from typing import Any

from study import cli, runner
from study.cluster import Packs
from study.coordinator import Coordinator
from study.engine import Engine
from study.packs.failures import HOST_FAILURES, STORE_FAILURES, in_a_line
from study.records import PlannedTrial
from study.scheduling import told
from tests.faults import memory

REAL = "TRIALWRIGHT_FAULTS_REAL"
"""Variable that asks for the pack that trains."""
LANES = 2
"""Where the study file leaves them to calibration."""
FORMATS = ("csv", "json", "md")
"""Of the report: without the figures, which take seconds."""


def train_here(engine: Engine, coordinator: Coordinator) -> None:
    """What `Engine.run` does, without Ray."""
    lanes = engine.spec.resources.lanes
    pack, setup = _pack(
        engine._pack_constants(Packs(number=1, cpus=1, gpus=0)), LANES if lanes == "auto" else lanes
    )
    seated: dict[int, tuple[str, int]] = {}
    while not engine.is_over():
        while pack.free_lanes and isinstance(trial := coordinator.next_trial(), PlannedTrial):
            lane = pack.seat(setup(told(trial)))
            coordinator.place(trial.key, pack=0, node="here")
            before = pack.reports(lane)
            seated[lane] = (trial.key, len(before))
            if before and not coordinator.receive(trial.key, 0, before):
                pack.stop(lane)
                seated.pop(lane)
        if not seated:
            return
        for said in pack.advance():
            key, number = seated.pop(said.lane)
            if said.report is None:
                _lose(coordinator, key, said.failure)
                continue
            goes_on = coordinator.receive(key, number, [said.report])
            if goes_on and said.report.ending is None:
                seated[said.lane] = (key, number + 1)
            else:
                pack.stop(said.lane)


def _lose(coordinator: Coordinator, key: str, failure: Exception) -> None:
    line = in_a_line(failure)
    coordinator.lose(
        key,
        line,
        retry=HOST_FAILURES.search(line) is not None,
        is_shared=STORE_FAILURES.search(line) is not None,
    )


def _pack(study: dict[str, Any], lanes: int) -> tuple[Any, Any]:
    if REAL in os.environ:
        from study.packs.opening import open_bench, trial_setup
        from trainers.pack import Pack
        from trainers.precision import use_precision

        memory.plant()
        use_precision("highest")
        return Pack(open_bench(study, 1), lanes), partial(trial_setup, study)
    from tests.faults.trainable import SimulatedPack

    return SimulatedPack(study, lanes), dict


def main() -> None:
    """Run the command."""
    Engine.run = train_here
    runner.report_study.__defaults__ = (FORMATS,)
    cli.main()
