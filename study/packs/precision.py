"""Which mode a study's float32 products are done in: measured by its first pack, and then the same for all."""

import time
from collections.abc import Callable

import ray

from study.ledger import Ledger
from study.packs.desk import PackDesk
from study.report.precision import KIND
from study.spec import StudySpec

EXACT = "highest"
"""Plain float32."""
_LOOK_EVERY_S = 0.1


def choose_precision(spec: StudySpec, desk: PackDesk, ledger: Ledger, *, is_over: Callable[[], bool]) -> str:
    """The mode, once a pack is ready: as recorded by an earlier launch, else as a pack measures it now.

    Args:
        spec: the study.
        desk: has the packs.
        ledger: holds the study.
        is_over: whether the run is to end, upon which the answer no longer matters.
    """
    if spec.base.matmul_tolerance == 0:
        return EXACT
    for event in ledger.events(spec.name):
        if event.kind == KIND:
            return str(event.detail["mode"])
    waiting = [desk.probe()]
    while waiting and not is_over():
        done, waiting = ray.wait(waiting, timeout=_LOOK_EVERY_S)
        try:
            for probe in ray.get(done):
                ledger.record_event(spec.name, KIND, probe)
                return str(probe["mode"])
        except ray.exceptions.RayError:  # the pack went away
            time.sleep(_LOOK_EVERY_S)
            desk.look()
            waiting = [desk.probe()] if desk.num_ready else []
    return EXACT
