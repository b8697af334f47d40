"""What went wrong: attempts that broke off, packs that were lost, caps that were reached; the newest first."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.ledger import Event
from study.records import Outcome
from study.service.launcher import DRIVER_FAILED
from study.service.pages.reading import LOST, Reading

MOST_SHOWN = 20
TITLES = {
    "attempt_failed": "An attempt failed",
    "worker_lost": "A worker was lost",
    "pack_lost": "A pack was lost",
    "capped": "A cap was reached",
    DRIVER_FAILED: "The driver failed",
}
LOST_TITLES = {
    Outcome.OUT_OF_MEMORY: "A trial ran out of memory",
    Outcome.INFRA_FAILED: "A trial was lost to its host",
    Outcome.CANCELLED: "A trial was cancelled",
}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One thing that went wrong."""

    at: float
    """Unix time in seconds."""
    title: str
    trial: str | None
    pack: int | None
    reason: str
    log: str
    """The log's last lines; empty where none were kept."""


@dataclass(frozen=True, kw_only=True)
class Failures:
    """The newest failures of a study, and how many there are in all."""

    shown: tuple[Failure, ...]
    num_all: int


def failures(reading: Reading) -> Failures:
    """All that went wrong, from the events and from the trials that were lost."""
    found = told(reading.events)
    named = {failure.trial for failure in found}
    for one in reading.trials:
        ending, key = one.record.ending, one.record.planned.key
        if ending is not None and ending.outcome in LOST and key not in named:
            title = LOST_TITLES[ending.outcome]
            at = one.ended_at or reading.record.changed_at
            found.append(Failure(at=at, title=title, trial=key, pack=one.pack, reason=ending.reason, log=""))
    found.sort(key=lambda failure: -failure.at)
    return Failures(shown=tuple(found[:MOST_SHOWN]), num_all=len(found))


def told(events: Sequence[Event], trial: str | None = None) -> list[Failure]:
    """The failures among events, of all or of one trial; an attempt that is told with its log is not told twice."""
    logged = {
        (event.detail.get("trial"), event.detail.get("reason"))
        for event in events
        if event.kind == "attempt_failed"
    }
    found = []
    for event in events:
        detail = event.detail
        if event.kind not in TITLES or (trial is not None and detail.get("trial") != trial):
            continue
        if event.kind == "worker_lost" and (detail.get("trial"), detail.get("reason")) in logged:
            continue
        found.append(
            Failure(
                at=event.recorded_at,
                title=TITLES[event.kind],
                trial=detail.get("trial"),
                pack=detail.get("pack"),
                reason=_capped(event) if event.kind == "capped" else str(detail.get("reason", "")),
                log=str(detail.get("log") or ""),
            )
        )
    return found


def _capped(event: Event) -> str:
    cap, limit, used = (event.detail.get(name) for name in ("cap", "limit", "used"))
    figure = f"{used:.2f}" if isinstance(used, int | float) else str(used)
    told = f"{cap} is {limit}, and {figure} hours were used"
    return f"{told}: the study stopped in order and can be resumed with a higher cap."
