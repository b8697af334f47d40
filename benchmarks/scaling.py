"""How long does a study take on 1 to 1,000 GPUs, and is the simulation that says so right?

The simulation (`simulation.py`) has the real coordinator, rungs and phases. It is checked against real runs: real
Ray, real pack actors and real clients of Ray Tune, whose packs sleep a known time in place of training, on one node
and on two. What Ray Tune and the driver take is measured first, by packs that do nothing, as in `overheads.py`: work
from many clients, which keep the driver busy, and latency from as few as the real runs have. The headline is the larger
of predicted and actual makespan over the smaller. Then a study of the standard tier, and one ten times as large, are
simulated on stated GPUs with this machine's driver.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from frame import Benchmark, Countdown, Goal, Result, Setting, run
from planted import planted_life, planted_spec, short_spec
from real_run import driver_limits, run_really
from simulated_pack import Costs
from simulation import Simulation

from study.spec import StudySpec

EVAL_EVERY = 20
GPU = Costs(
    step_s={1: 0.05, 2: 0.06, 4: 0.085, 8: 0.14},
    evaluation_s=0.5,
    final_s=1.0,
    seat_s=0.2,
    latency_s=0.005,
)
"""Stated, not measured: a GPU on which eight lanes do 2.9 times the steps of one."""
FEW_CLIENTS, MANY_CLIENTS = 4, 32
LANES = 8
GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
GPUS_OF_TENFOLD = (1, 100, 300, 1000)
SLEEPING = Costs(
    step_s={1: 0.2, 2: 0.25, 4: 0.35}, evaluation_s=0.5, final_s=0.5, seat_s=0.1, latency_s=0.003
)
"""What the packs of the real runs sleep: a trial lasts several times as long as the start of a client's process."""
REAL_SHAPES = ((1, 2), (1, 4), (2, 2))
"""Packs and lanes of the real runs; two packs lie on two nodes."""


def measure(setting: Setting) -> Result:
    """Check the simulation against real runs, then draw the curves."""
    quick = setting.quick
    shapes = REAL_SHAPES[:1] if quick else REAL_SHAPES
    sizes = {1.0: GPUS, 10.0: GPUS_OF_TENFOLD} if not quick else {0.05: (1, 4)}
    progress = Countdown(setting, 2 + len(shapes) + sum(map(len, sizes.values())))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        limits = []
        for clients in (2, 2) if quick else (FEW_CLIENTS, MANY_CLIENTS):
            limits.append(driver_limits(place / f"limits-{len(limits)}", clients, quick=quick))
            progress.turn(f"{clients} clients: {1000 * limits[-1]['measurement_s']:.1f} ms a measurement")
        few, many = limits
        driver: dict[str, Any] = {name: many[name] for name in ("measurement_s", "trial_s")}
        driver["turnover_s"] = few["turnover_s"]
        checks = []
        for packs, lanes in shapes:
            spec = _checked_spec(3 if quick else 5)
            checks.append(_check(spec, place / f"{packs}-{lanes}", replace(SLEEPING, **driver), packs, lanes))
            progress.turn(
                f"{packs} packs of {lanes} lanes: predicted / actual {checks[-1]['predicted_over_actual']:.2f}"
            )
    table = []
    for scale, numbers in sizes.items():
        for number in numbers:
            table.append(_simulated(scale, number, replace(GPU, **driver)))
            progress.turn(f"{number} GPUs: {table[-1]['makespan_h']:.2f} h")
    return Result(
        ratios=[max(one["predicted_over_actual"], 1 / one["predicted_over_actual"]) for one in checks],
        table=table,
        more={"checks": checks, "driver": driver, "limits": limits},
    )


def _checked_spec(search: int) -> StudySpec:
    """Two families' searches, and a confirmation of one seed fewer."""
    return short_spec(
        search=search, seeds=search - 1, steps=2 * EVAL_EVERY, eval_every=EVAL_EVERY, name="checked"
    )


def _check(spec: StudySpec, place: Path, costs: Costs, packs: int, lanes: int) -> dict[str, Any]:
    """Predicted and actual seconds from the first measurement to the last trial's end."""
    predicted = _simulate(spec, costs, packs, lanes).makespan_s
    with _nodes(packs) as address:
        seen = run_really(spec, place, costs, packs=packs, lanes=lanes, address=address)
    return {
        "nodes": packs,
        "lanes": lanes,
        "trials": len(seen.started_s),
        "predicted_s": predicted,
        "actual_s": seen.makespan_s,
        "predicted_over_actual": predicted / seen.makespan_s,
    }


def _simulated(scale: float, gpus: int, costs: Costs) -> dict[str, Any]:
    spec = planted_spec(scale=scale, eval_every=EVAL_EVERY)
    result = _simulate(spec, costs, gpus, LANES)
    return {
        "scale": scale,
        "gpus": gpus,
        "trials": result.num_trials,
        "makespan_h": result.makespan_s / 3600,
        "busy_frac": result.busy_frac,
        "driver_frac": result.driver_frac,
        "forgotten_frac": result.forgotten_frac,
    }


def _simulate(spec: StudySpec, costs: Costs, packs: int, lanes: int) -> Any:
    every = spec.training.eval_every
    return Simulation(spec, lambda trial: planted_life(trial, every), costs, packs=packs, lanes=lanes).run()


@contextmanager
def _nodes(number: int) -> Iterator[str | None]:
    """A Ray cluster of so many nodes of one CPU; None for one node, which a launch brings itself."""
    if number == 1:
        yield None
        return
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(number - 1):
            cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


BENCHMARK = Benchmark(
    name="scaling",
    question="How far is the simulated makespan of a study from the real one, and what does it say of 1,000 GPUs?",
    goal=Goal(at_most=1.1),
    measure=measure,
)

if __name__ == "__main__":
    run(BENCHMARK)
