"""How far a study is, read from its ledger by whoever asks."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from study.ledger import Claim, Event, Ledger, StudyState
from study.records import PACK_READY, PACKS_AWAITED, Outcome, Phase

REFRESH_S = 1.0
SILENCE_S = 60.0
LINES_S = 3600.0


def study_status(ledger: Ledger, study: str) -> tuple[dict[str, Any], str]:
    """A study's state as plain JSON, and as text for a terminal.

    Raises:
        SpecError: there is no such study.
    """
    record = ledger.study(study)
    tallies = ledger.trial_tallies(study)
    holder = ledger.holder(study)
    counted = (record.plan or {}).get("trial_counts", {})
    phases = {}
    for phase in Phase:
        mine = [one for one in tallies if one.phase is phase]
        planned = max(sum(one.number for one in mine), sum(counted.get(phase.value, {}).values()))
        if planned:
            outcomes: Counter[Outcome | None] = Counter()
            for one in mine:
                outcomes[one.outcome] += one.number
            phases[phase.value] = {
                "planned": planned,
                **{outcome.value: outcomes[outcome] for outcome in Outcome if outcomes[outcome]},
            }
    document = {
        "study": study,
        "state": record.state_under(holder).value,
        "driver": f"process {holder.pid} on {holder.host}" if holder else None,
        "phases": phases,
        "running": ledger.running_trials(study) if holder else [],
        "waiting": waits_for(ledger.events(study), holder) if holder else None,
        "device_seconds": sum(one.device_seconds for one in tallies),
    }
    return document, status_text(document)


def waits_for(events: Sequence[Event], holder: Claim) -> str | None:
    """What a study's present driver said that it waits for, until a pack is ready."""
    told = None
    for event in events:
        if event.recorded_at >= holder.claimed_at and event.kind in {PACKS_AWAITED, PACK_READY}:
            told = event.detail.get("told")
    return told


def watch_status(ledger: Ledger, study: str) -> None:
    """Show a study's status until it no longer runs."""
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            document, text = study_status(ledger, study)
            live.update(text, refresh=True)
            if document["state"] != StudyState.RUNNING.value:
                return
            time.sleep(REFRESH_S)


def status_lines(ledger: Ledger, study: str, *, for_s: float = LINES_S) -> Iterator[str]:
    """A study's status as JSON on one line, whenever it has changed and at least every minute.

    Args:
        ledger: the record.
        study: its name.
        for_s: seconds after which it ends although the study runs, since nobody may be reading any more.

    Raises:
        SpecError: there is no such study.
    """
    began = told_at = time.monotonic()
    told = ""
    while True:
        document, _ = study_status(ledger, study)
        line, now = json.dumps(document), time.monotonic()
        if line != told or now - told_at > SILENCE_S:
            yield line
            told, told_at = line, now
        if document["state"] != StudyState.RUNNING.value or now - began > for_s:
            return
        time.sleep(REFRESH_S)


def status_text(document: dict[str, Any]) -> str:
    """A status document as text for a terminal."""
    driver = f" ({document['driver']})" if document["driver"] else ""
    lines = [f"Study {document['study']} is {document['state']}{driver}."]
    for phase, numbers in document["phases"].items():
        ended = sum(number for name, number in numbers.items() if name != "planned")
        outcomes = ", ".join(f"{number} {name}" for name, number in numbers.items() if name != "planned")
        lines.append(f"  {phase:<13} {ended:>4} of {numbers['planned']:<4} {outcomes}")
    if document.get("waiting"):
        lines.append(f"  {document['waiting']}")
    if document["running"]:
        lines.append(f"  training now: {', '.join(document['running'])}")
    lines.append(f"  {document['device_seconds'] / 3600:.2f} device-hours in trials that have ended")
    return "\n".join(lines)
