"""What the coordinator asks of a ledger, in dictionaries: for simulations that would wait for a database."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from study.ledger import Event, StudyRecord, StudyState
from study.records import Ending, Measurement, PlannedTrial, RungRecord, TrialRecord


class MemoryLedger:
    """One study's record, gone with the process. Methods as in `study.ledger.Ledger`, whatever the study's name."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._trials: dict[str, TrialRecord] = {}
        self._measurements: dict[str, dict[int, Measurement]] = {}
        self._rungs: list[RungRecord] = []
        self._events: list[Event] = []

    def study(self, study: str) -> StudyRecord:
        """A study that began with the clock, and of which nothing else is known."""
        return StudyRecord(
            uid="0",
            name=study,
            spec_digest="",
            spec={},
            manifest={},
            plan=None,
            state=StudyState.RUNNING,
            created_at=0.0,
            changed_at=0.0,
        )

    def plan_trials(self, _study: str, planned: Sequence[PlannedTrial]) -> int:
        """Add the trials whose keys are new; how many were added."""
        before = len(self._trials)
        for trial in planned:
            self._trials.setdefault(trial.key, TrialRecord(planned=trial, attempts=0, ending=None))
        return len(self._trials) - before

    def trials(self, _study: str) -> list[TrialRecord]:
        """The trials in the order in which they were planned."""
        return list(self._trials.values())

    def trial(self, _study: str, key: str) -> TrialRecord:
        """One trial by key."""
        return self._trials[key]

    def start_attempt(self, _study: str, key: str) -> int:
        """Note that a trial starts; the number of the attempt."""
        record = self._trials[key]
        self._trials[key] = replace(record, attempts=record.attempts + 1)
        return record.attempts + 1

    def end_trial(self, _study: str, key: str, ending: Ending) -> bool:
        """Keep a trial's ending, once."""
        if self._trials[key].ending is not None:
            raise ValueError(f"Trial {key!r} ended twice.")
        self._trials[key] = replace(self._trials[key], ending=ending)
        return True

    def record_measurement(self, _study: str, measurement: Measurement) -> bool:
        """Keep a measurement; False where that step is there already."""
        mine = self._measurements.setdefault(measurement.trial, {})
        return mine.setdefault(measurement.step, measurement) is measurement

    def measurements(self, _study: str, trial: str | None = None) -> list[Measurement]:
        """Measurements of one trial, or of all, by step."""
        trials = self._measurements.values() if trial is None else [self._measurements.get(trial, {})]
        return [mine[step] for mine in trials for step in sorted(mine)]

    def record_rung(self, _study: str, rung: RungRecord) -> bool:
        """Keep a decision."""
        self._rungs.append(rung)
        return True

    def rungs(self, _study: str, family: str | None = None) -> list[RungRecord]:
        """Decisions of one family, or of all, in the order in which they were made."""
        return [rung for rung in self._rungs if family is None or rung.family == family]

    def record_event(self, _study: str, kind: str, detail: Mapping[str, Any]) -> None:
        """Append something that happened."""
        self._events.append(Event(kind=kind, detail=detail, recorded_at=0.0))

    def events(self, _study: str) -> list[Event]:
        """All events in order."""
        return list(self._events)
