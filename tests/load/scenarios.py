"""Two kinds of load, each with MLflow away for half of it: one study of many trials, and many studies at once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from study.ledger import Ledger
from tests.load import checker
from tests.load.figures import answers_table, memory_table
from tests.load.observing import Watch, asking, sampling
from tests.load.running import Drivers, Gauge, Tally
from tests.load.studies import Written, phases, write_study
from tests.load.world import Outage, World

Say = Callable[[str], None]
LOOK_EVERY_S, TELL_EVERY_S = 0.5, 15.0


@dataclass(frozen=True, kw_only=True)
class Large:
    """One study of 2 x (search + 64 x replicates + seeds) trials."""

    search: int
    replicates: int
    seeds: int
    lanes: int
    step_s: float
    """Seconds of a joint step of all lanes, beside what the driver takes."""


@dataclass(frozen=True, kw_only=True)
class Many:
    """Small studies at once, of 2 x (search + seeds) trials each."""

    studies: int
    search: int
    seeds: int
    step_s: float
    """Seconds of a joint step of two lanes."""


LARGE = Large(search=256, replicates=2, seeds=4616, lanes=256, step_s=0.5)
MANY = Many(studies=100, search=4, seeds=7, step_s=2.0)
SMALL_LARGE = Large(search=20, replicates=0, seeds=80, lanes=64, step_s=0.02)
SMALL_MANY = Many(studies=6, search=2, seeds=3, step_s=0.1)


def one_large(world: World, load: Large, say: Say) -> dict[str, Any]:
    """Run one large study under the eyes of the service's clients; what was found."""
    asks = phases(load.search, load.replicates, load.seeds)
    study = write_study(world.place, "large", seed=1, lanes=load.lanes, asks=asks)
    say(f"large: {study.num_trials:,} trials, {load.lanes} at once")
    return _run(world, [study], Outage(world, "killed"), step_s=load.step_s, say=say)


def many_at_once(world: World, load: Many, say: Say) -> dict[str, Any]:
    """Run many small studies at once under the eyes of the service's clients; what was found."""
    asks = phases(load.search, 0, load.seeds)
    studies = [
        write_study(world.place, f"small-{number:03d}", seed=number, lanes=2, asks=asks)
        for number in range(load.studies)
    ]
    say(f"many: {load.studies} studies of {studies[0].num_trials} trials")
    return _run(world, studies, Outage(world, "500"), step_s=load.step_s, say=say)


def _run(
    world: World, studies: Sequence[Written], outage: Outage, *, step_s: float, say: Say
) -> dict[str, Any]:
    say("working out what the studies must come to")
    expected = {study.name: checker.planted(study.spec, world.folder) for study in studies}
    watch, drivers = Watch(), Drivers(world, studies, step_s)
    names = drivers.names
    with Ledger.open(world.ledger_url) as ledger, Gauge(world.ledger_url, drivers) as gauge:
        with (
            sampling(watch, drivers.processes, every_s=2.0 if len(studies) == 1 else 0.1 * len(studies)),
            asking(watch, world.asked),
        ):
            tally = _follow(gauge, drivers, watch, outage, say)
        say("comparing ledger and MLflow with what was planted")
        tracked = checker.Tracked(world.mlflow.uri, world.mlflow.store)
        there = [study for study in studies if study.name in watch.studies]
        found = [line for s in there for line in checker.problems(ledger, s, expected[s.name], tracked)]
        num_measurements = sum(len(ledger.measurements(name)) for name in watch.studies)
        at_the_end = gauge.read()
        if at_the_end.drivers or at_the_end.running:
            found.append(f"{at_the_end.drivers} claims and {at_the_end.running} open attempts are left")
    found += [*drivers.problems(), *_wrong_answers(watch)]
    return {
        "held": not found,
        "problems": found,
        "studies": len(studies),
        "trials": drivers.num_trials,
        "measurements": num_measurements,
        "trained_s": tally.trained_s,
        "mlflow_away_s": outage.seconds,
        "all_in_mlflow_s": tally.shipped_s,
        "runs_in_mlflow": tally.runs,
        "launches": drivers.num_launches,
        "most_drivers_at_once": tally.drivers,
        "most_trials_at_once": tally.running,
        "most_connections": tally.connections,
        "cores_divided_by": world.containers.divided_by,
        "mean_load_average": round(tally.load / tally.looks, 1),
        "answers": answers_table(watch),
        "memory": memory_table(watch, names),
    }


def _follow(gauge: Gauge, drivers: Drivers, watch: Watch, outage: Outage, say: Say) -> Tally:
    """Launch all studies, one a look, and look on, with MLflow away and back on the way, until MLflow has everything.

    A study that has ended while MLflow lacks something is launched again, as its command says.
    """
    tally, told_at = Tally(), 0.0
    while drivers.are_busy():
        now = gauge.read()
        watch.studies = now.studies
        watch.share = now.ended / drivers.num_trials
        if len(now.studies) == len(drivers.names):  # a launch asks whether MLflow is there
            outage.follow(watch.share)
        tally = tally.with_(now, watch.at_s, is_trained=watch.share == 1.0)
        if watch.at_s > told_at + TELL_EVERY_S:
            told_at = watch.at_s
            say(gauge.line(now, watch.at_s))
        time.sleep(LOOK_EVERY_S)
    return tally.with_(gauge.read(), watch.at_s, is_trained=True)


def _wrong_answers(watch: Watch) -> list[str]:
    wrong = [(name, one) for name, answers in watch.answers.items() for one in answers if one.problem]
    return [f"{name}, after {one.at_s:.0f} s: {one.problem}" for name, one in wrong[:20]]
