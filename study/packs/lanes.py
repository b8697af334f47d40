"""How many trials a pack trains together: as written, or as a calibration on the very packs finds useful."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import ray

from study.cluster import Packs
from study.ledger import Ledger
from study.packs.desk import PackDesk
from study.prediction import launch_prediction, most_lanes, quickest_lanes
from study.records import CALIBRATED
from study.spec import StudySpec
from trainers.calibrated import Calibration

PATIENCE_S = 60.0
"""How long a calibration waits for further packs once one is ready: a cluster may be slow to give them room."""
_TELL_AFTER_S = 15.0
_LOOK_EVERY_S, _TELL_EVERY_S = 0.1, 1.0


def useful_lanes(spec: StudySpec, packs: Packs) -> int:
    """The most lanes that a pack may get: as written, or enough for the largest stage."""
    return most_lanes(spec, packs.number) if spec.resources.lanes == "auto" else spec.resources.lanes


def wait_for_packs(
    desk: PackDesk,
    is_over: Callable[[], bool],
    *,
    for_all: bool = False,
    on_wait: Callable[[], object] = lambda: None,
) -> bool:
    """Wait until a pack is ready; False when the run was over before.

    Args:
        desk: has the packs.
        is_over: whether the run is to end.
        for_all: wait for as many packs as fit and are not given up, not just for one.
        on_wait: called once when no pack has started for a while.

    Raises:
        RetryableError: every pack was given up.
    """
    tell_at = time.monotonic() + _TELL_AFTER_S
    while not is_over():
        desk.look()
        if desk.num_ready and not (for_all and desk.is_undecided):
            return True
        if time.monotonic() > tell_at and not desk.has_a_place:
            on_wait()
            tell_at = float("inf")
        time.sleep(_LOOK_EVERY_S)
    return False


def choose_lanes(
    spec: StudySpec,
    packs: Packs,
    desk: PackDesk,
    ledger: Ledger,
    *,
    matmul_mode: str,
    is_over: Callable[[], bool],
    say: Callable[[str], None],
) -> int:
    """Decide how many lanes each pack gets, once a pack is ready.

    A calibration is kept in the ledger, and read from there by later launches on as many packs of the same size.
    Packs calibrate at the same time, since they share a machine's memory and its bandwidth; the smallest number of
    lanes that one of them found counts for all.

    Args:
        spec: the study.
        packs: how many packs there are, and what each has.
        desk: holds them.
        ledger: holds the study.
        matmul_mode: in which float32 products are done.
        is_over: whether the run is to end, upon which the answer no longer matters.
        say: told of a calibration, which takes a while.
    """
    most = useful_lanes(spec, packs)
    if spec.resources.lanes != "auto" or most == 1:
        return most
    where = {"packs": packs.number, "cpus": packs.cpus, "gpus": packs.gpus}
    for event in reversed(ledger.events(spec.name)):
        if event.kind == CALIBRATED and where.items() <= event.detail.items():
            return min(int(event.detail["lanes"]), most)
    give_up_at = time.monotonic() + PATIENCE_S
    wait_for_packs(desk, lambda: is_over() or time.monotonic() > give_up_at, for_all=True)
    if is_over():
        return 1
    say("Finding out how many trials a worker should train together.")
    found = _calibrations(desk, spec, most, matmul_mode, is_over=is_over, say=say)
    if not found:
        if not is_over():
            say("That could not be measured: each worker trains one trial at a time.")
        return 1
    slowest = min(found, key=lambda one: one.lanes)
    lanes = quickest_lanes(spec, slowest, packs=packs.number, cpus=packs.cpus)
    detail = {
        **where,
        "lanes": lanes,
        "calibration": slowest.to_json(),
        "prediction": launch_prediction(spec, slowest, packs.number, lanes),
    }
    ledger.record_event(spec.name, CALIBRATED, detail)
    return lanes


def _calibrations(
    desk: PackDesk,
    spec: StudySpec,
    most: int,
    matmul_mode: str,
    *,
    is_over: Callable[[], bool],
    say: Callable[[str], None],
) -> list[Calibration]:
    """What the ready packs found; nothing where the run was over before, or where one of them could not."""
    waiting = desk.calibrations([_typical(spec, family) for family in spec.families], most, matmul_mode)
    found = []
    num_told = 0
    while waiting and not is_over():
        done, waiting = ray.wait(waiting, timeout=_TELL_EVERY_S)
        try:
            found += [Calibration.from_json(document) for document in ray.get(done)]
            told = ray.get(desk.told())
        except ray.exceptions.RayError:
            return []
        for sentence in told[num_told:]:
            say(sentence)
        num_told = len(told)
    return [] if waiting else found


def _typical(spec: StudySpec, family: str) -> Mapping[str, Any]:
    """A trial at its family's defaults, as `PackActor.seat` takes it."""
    return {
        "key": f"calibration/{family}",
        "family": family,
        "params": spec.defaults(family),
        "seed": spec.seed,
        "steps": spec.training.steps,
        "keep_adapter": False,
    }
