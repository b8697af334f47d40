"""What earlier launches of a study left in the ledger, as a launch that goes on needs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from study.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class History:
    """Of one study."""

    device_s: Mapping[str, float]
    """Seconds of packs that each trial took, as far as any were recorded."""
    newest_at: float
    """Unix time before which nothing more can be measured, whatever a clock that is set back says."""


def read_history(ledger: Ledger, study: str) -> History:
    """Read what was recorded; a study is launched after its claims were locked."""
    measured = ledger.measurements(study)
    last = {one.trial: one.metrics.get("device_s", 0.0) for one in measured}
    record = ledger.study(study)
    locked = (record.manifest.get("claims") or {}).get("locked_at")
    locked_at = datetime.fromisoformat(locked).timestamp() if locked else 0.0
    ended = {
        one.planned.key: one.ending.device_seconds for one in ledger.trials(study) if one.ending is not None
    }
    return History(
        device_s=last | ended,
        newest_at=max([record.created_at, locked_at, *(one.recorded_at for one in measured)]),
    )
