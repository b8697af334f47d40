"""Which mode a study's float32 products are done in: measured by its first pack, and then the same for all."""

import time
from collections.abc import Callable
from typing import Any

import ray

from search_spaces.errors import RetryableError
from study.ledger import Ledger
from study.packs.desk import PackDesk
from study.packs.failures import in_a_line
from study.packs.hardware import note_precision
from study.records import PRECISION
from study.spec import StudySpec

EXACT = "highest"
"""Plain float32."""
_LOOK_EVERY_S = 0.1


def choose_precision(spec: StudySpec, desk: PackDesk, ledger: Ledger, *, is_over: Callable[[], bool]) -> str:
    """The mode, once a pack is ready: as recorded by an earlier launch, else as a pack measures it now.

    The manifest keeps it, too.

    Args:
        spec: the study.
        desk: has the packs.
        ledger: holds the study.
        is_over: whether the run is to end, upon which the answer no longer matters.

    Raises:
        RetryableError: it cannot be measured.
    """
    if spec.base.matmul_tolerance == 0:
        note_precision(ledger, spec.name, {"mode": EXACT, "tolerance": 0.0})
        return EXACT
    for event in ledger.events(spec.name):
        if event.kind == PRECISION:
            note_precision(ledger, spec.name, event.detail)
            return str(event.detail["mode"])
    asked: list[Any] = []
    while not is_over():
        desk.look()
        if not asked and desk.num_ready:
            asked = [desk.probe()]
        if not asked:
            time.sleep(_LOOK_EVERY_S)
            continue
        answered, asked = ray.wait(asked, timeout=_LOOK_EVERY_S)
        try:
            for probe in ray.get(answered):
                ledger.record_event(spec.name, PRECISION, probe)
                note_precision(ledger, spec.name, probe)
                return str(probe["mode"])
        except ray.exceptions.RayActorError:  # the pack went away; Ray starts it again
            time.sleep(_LOOK_EVERY_S)
        except ray.exceptions.RayTaskError as error:
            raise RetryableError(
                f"How exact matrix products are here could not be measured ({in_a_line(error.cause or error)}): "
                "mend the cause, or write base.matmul_tolerance 0."
            ) from error
    return EXACT
