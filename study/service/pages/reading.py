"""What a page must know of a study, read from the ledger once and handed to the parts of the page."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from study.halving import rung_steps
from study.ledger import Claim, Event, Ledger, StudyRecord, StudyState, TrialActivity
from study.records import Measurement, Outcome, Phase, RungRecord
from study.service.views import driver_problem, is_starting

LOST = (Outcome.OUT_OF_MEMORY, Outcome.INFRA_FAILED, Outcome.CANCELLED)
"""Outcomes that say nothing of the method."""
SELECT_LOSS = "select_loss_nats"
"""The metric by which configurations are compared."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A study at one moment."""

    now: float
    """Unix time in seconds."""
    record: StudyRecord
    holder: Claim | None
    """The living driver; absent where there is none."""
    trials: Sequence[TrialActivity]
    """In planned order."""
    rungs: Sequence[RungRecord]
    events: Sequence[Event]
    starting: bool = False
    """Whether a driver was asked for that has not been heard of yet."""
    problem: str = ""
    """Why its last driver could not drive; empty where none failed."""
    newest: Mapping[str, Measurement]
    """Key of each running trial that has measured → its newest measurement."""

    @property
    def state(self) -> StudyState:
        """Where the study stands; one whose driver died is interrupted, whatever it wrote last."""
        return self.record.state_under(self.holder)

    @cached_property
    def families(self) -> tuple[str, ...]:
        """The study's families in its own order."""
        named = [str(name) for name in self.record.spec.get("families", ())]
        return tuple(dict.fromkeys([*named, *(one.record.planned.family for one in self.trials)]))

    @cached_property
    def counts(self) -> Mapping[Phase, Mapping[str, int]]:
        """Phase and family → planned trials, those included that are not laid out yet."""
        laid_out = Counter((one.record.planned.phase, one.record.planned.family) for one in self.trials)
        return planned_counts(self.record, laid_out)

    @cached_property
    def steps(self) -> int:
        """A trial's full budget in optimizer steps."""
        written = self.section("training").get("steps")
        return int(written) if written else max((one.record.planned.steps for one in self.trials), default=0)

    @cached_property
    def rung_steps(self) -> tuple[int, ...]:
        """Optimizer steps at which the search may stop a trial."""
        search = self.section("phases").get("search") or {}
        if not {"grace_steps", "reduction"} <= search.keys():
            return tuple(sorted({rung.rung for rung in self.rungs}))
        return rung_steps(int(search["grace_steps"]), int(search["reduction"]), self.steps)

    @cached_property
    def by_family(self) -> Mapping[str, Sequence[TrialActivity]]:
        """Family → its trials."""
        return self._grouped(lambda one: one.record.planned.family)

    @cached_property
    def by_phase(self) -> Mapping[str, Sequence[TrialActivity]]:
        """Phase → its trials."""
        return self._grouped(lambda one: one.record.planned.phase.value)

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the study file; empty where there is none."""
        return self.record.spec.get(name) or {}

    def kind(self, trial: TrialActivity) -> str:
        """How a trial stands: `waiting`, `running`, `finished`, `stopped`, `diverged` or `lost`."""
        ending = trial.record.ending
        if ending is not None:
            return "lost" if ending.outcome in LOST else ending.outcome.value
        return "running" if trial.running and self.holder is not None else "waiting"

    def steps_done(self, trial: TrialActivity) -> int:
        """Optimizer steps that a trial has done, as far as they have been measured."""
        if trial.record.ending is not None:
            return trial.record.ending.steps
        measured = self.newest.get(trial.record.planned.key)
        return measured.step if measured else 0

    def _grouped(self, name_of: Callable[[TrialActivity], str]) -> dict[str, list[TrialActivity]]:
        found: dict[str, list[TrialActivity]] = {}
        for one in self.trials:
            found.setdefault(name_of(one), []).append(one)
        return found


def planned_counts(
    record: StudyRecord, laid_out: Mapping[tuple[Phase, str], int]
) -> dict[Phase, dict[str, int]]:
    """Phase and family → planned trials, those included that are not laid out yet."""
    found: dict[Phase, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (phase, family), number in laid_out.items():
        found[phase][family] = number
    for name, families in (record.plan or {}).get("trial_counts", {}).items():
        for family, number in families.items():
            found[Phase(name)][family] = max(int(number), found[Phase(name)][family])
    return {phase: dict(found[phase]) for phase in Phase if phase in found}


def read(ledger: Ledger, study: str, *, now: float) -> Reading:
    """Read a study.

    Args:
        ledger: the record.
        study: its name.
        now: Unix time in seconds.

    Raises:
        SpecError: there is no such study.
    """
    record = ledger.study(study)
    holder = ledger.holder(study)
    trials = ledger.trial_activity(study)
    running = [one for one in trials if one.running and one.last_measurement] if holder else []
    newest = ledger.measurements_at([one.last_measurement for one in running])
    return Reading(
        now=now,
        record=record,
        holder=holder,
        trials=trials,
        rungs=ledger.rungs(study),
        events=ledger.events(study),
        newest={one.trial: one for one in newest},
        starting=holder is None and is_starting(ledger, study, now=now),
        problem="" if holder is not None else driver_problem(ledger, study),
    )
