"""Which trial runs next, and what its reports mean: the ledger's only writer while a study runs.

It knows no Ray. The scheduler asks `next_trial` when a worker is free, hands over every report, and says
when a trial lost its worker. Reports past a rung that is not decided yet are held back, so that what the
ledger holds never depends on which worker was quicker.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from search_spaces.errors import RetryableError
from study.endings import lost_ending, reported_ending, stopped_ending, unusable
from study.halving import OrderedHalving
from study.history import read_history
from study.ledger import Ledger
from study.protocol import counted, trial_counts
from study.records import (
    ATTEMPT_FAILED,
    CHOICE,
    Ending,
    Measurement,
    Outcome,
    Phase,
    PlannedTrial,
    Progress,
    RungRecord,
    TrialRecord,
)
from study.spec import StudySpec
from study.stages import Choice, Stage, choose, stages
from trainers.reports import Report

MAX_ATTEMPTS = 3
"""How often one launch starts a trial that loses its workers."""
MAX_SILENT_FAILURES = 3
"""How many trials of a launch may fail for good before any has measured something: more would fail alike."""


class NoTrial(Enum):
    """Why there is no next trial now."""

    WAIT = "wait"
    """Running trials must end first."""
    DONE = "done"
    """Every trial of the study has ended."""


class Coordinator:
    """Runs the phases of one study over whatever workers there are."""

    def __init__(
        self,
        spec: StudySpec,
        ledger: Ledger,
        *,
        last_phase: Phase | None = None,
        given: Sequence[PlannedTrial] | None = None,
        on_change: Callable[[], None] = lambda: None,
        on_end: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Take up a study where its ledger says it stands.

        Args:
            spec: the study; its trials are planned stage by stage.
            ledger: holds the study already.
            last_phase: stop after this phase.
            given: run these trials alone, in place of all that the spec asks for.
            on_change: called after the ledger changed, to wake the tracker.
            on_end: called with a trial's key once its ending is recorded, to drop its checkpoints.
        """
        self._spec = spec
        self._ledger = ledger
        self._on_change = on_change
        self._on_end = on_end
        self._stages: deque[Stage] = deque(stages(spec, last_phase, given))
        self._stage: Stage | None = None
        self._planned: dict[str, PlannedTrial] = {}
        self._queue: deque[str] = deque()
        self._open: set[str] = set()
        self._running: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._num_losses: Counter[str] = Counter()
        self._num_silent_failures = 0
        self._first_loss: dict[str, float] = {}
        self._num_taken: dict[str, int] = {}
        self._held: dict[str, list[Report]] = {}
        self._waiting: dict[str, set[int]] = {}
        self._halvings: dict[str, OrderedHalving] = {}
        self._counts = trial_counts(spec) if given is None else counted(given)
        self._whole: frozenset[Phase] = frozenset()
        self._ended: dict[str, Outcome] = {}
        self._steps_done: dict[str, int] = {}
        before = read_history(ledger, spec.name)
        self._device_s = dict(before.device_s)
        self._total_device_s = sum(self._device_s.values())
        self._newest_at = before.newest_at

    @property
    def device_seconds(self) -> float:
        """Seconds of packs that all trials took, in this launch and before."""
        return self._total_device_s

    def next_trial(self) -> PlannedTrial | NoTrial:
        """The trial that a free worker should take, or why there is none."""
        while True:
            if self._queue:
                key = self._queue.popleft()
                if key not in self._open:  # stopped at a rung while it waited for another worker
                    continue
                self._running.add(key)
                self._attempts[key] = self._ledger.start_attempt(self._spec.name, key)
                self._on_change()
                return self._planned[key]
            if self._stage is not None:
                self._add(self._stage.more(self._records))
                if self._queue:
                    continue
                if self._open:
                    return NoTrial.WAIT
            if not self._stages:
                return NoTrial.DONE
            self._enter(self._stages.popleft())

    def place(self, key: str, *, pack: int, node: str) -> None:
        """Note where a trial trains that `next_trial` gave out."""
        self._ledger.place_attempt(self._spec.name, key, pack=pack, node=node)

    @property
    def num_waiting(self) -> int:
        """Trials that free lanes could take now, those that an adaptive sampler has still to suggest included."""
        queued = sum(key in self._open for key in self._queue)
        if self._stage is None or not self._stage.is_adaptive:
            return queued
        total = sum(self._counts[Phase.SEARCH].values())
        return queued + max(0, total - sum(one.phase is Phase.SEARCH for one in self._planned.values()))

    def receive(self, key: str, first: int, reports: Sequence[Report]) -> bool:
        """Take in a trial's reports; whether it should go on.

        Args:
            key: the trial.
            first: number of the first of `reports` in the trial's life; what was taken before is passed over.
            reports: in order; a restored trial sends all from the beginning.
        """
        if key not in self._open:
            self._on_end(key)  # it may have written one more checkpoint since
            return False
        for report in reports[max(0, self._num_taken.get(key, 0) - first) :]:
            if key in self._open and (problem := unusable(report)):
                self._give_up(key, problem)
            if key in self._open:
                self._take(key, report)
        self._settle()
        self._flush(key)
        self._on_change()
        return key in self._open

    def lose(self, key: str, reason: str, *, retry: bool, log: str = "", is_shared: bool = False) -> None:
        """A trial's worker failed: try again from the checkpoint, or record the trial as lost.

        Args:
            key: the trial.
            reason: what failed, in a line.
            retry: whether another attempt may do better.
            log: the last lines of what the worker said.
            is_shared: whether it is a cause that fails every trial, so that none is to be lost to it.

        Raises:
            RetryableError: the first trials of this launch all failed for good, or a trial failed too often to a cause
                that is not its own.
        """
        if key not in self._running:
            return
        self._running.discard(key)
        self._num_losses[key] += 1
        detail = {"trial": key, "reason": reason, "attempt": self._attempts[key], "log": log}
        self._ledger.record_event(self._spec.name, ATTEMPT_FAILED, detail)
        if retry and self._num_losses[key] < MAX_ATTEMPTS:
            self._queue.appendleft(key)
            return
        if is_shared:
            raise RetryableError(f"{reason.rstrip('.')} (trial {key!r}, {self._num_losses[key]} attempts).")
        if not retry:
            self._refuse_to_lose_all(reason)
        self._give_up(key, reason)

    def _give_up(self, key: str, reason: str) -> None:
        """Record a trial as lost; the others go on, and no rung waits for it."""
        measured = self._ledger.measurements(self._spec.name, key)
        halving = self._halving_of(key)
        if halving is not None:
            halving.withdraw(key)
        self._end(key, lost_ending(reason, measured, self._device_s.get(key, 0.0)))
        self._settle()
        self._on_change()

    def _refuse_to_lose_all(self, reason: str) -> None:
        """End the launch when nothing works, in place of losing every trial of the study to one cause."""
        if self._num_taken:
            return
        self._num_silent_failures += 1
        if self._num_silent_failures == MAX_SILENT_FAILURES:
            raise RetryableError(
                f"The first {MAX_SILENT_FAILURES} trials failed before they measured anything ({reason}): "
                f"mend the cause, then go on with trialwright resume {self._spec.name}."
            )

    @property
    def is_done(self) -> bool:
        """Whether every trial of every stage has ended, and no sampler would add one."""
        if self._open or self._stages:
            return False
        return self._stage is None or not self._stage.more(self._records)

    @property
    def num_left(self) -> int:
        """Trials that have not ended, with those that later stages may still plan."""
        return sum(self._num_planned().values()) - len(self._ended)

    def _num_planned(self) -> dict[Phase, int]:
        """Trials of each phase: at the most, or as many as they are where that is known."""
        planned = {
            phase: total for phase, families in self._counts.items() if (total := sum(families.values()))
        }
        known = Counter(trial.phase for trial in list(self._planned.values()))
        return planned | {phase: known[phase] for phase in self._whole}

    def progress(self) -> Progress:
        """How far the study is; safe from any thread."""
        planned = self._num_planned()
        outcomes: dict[Phase, Counter[Outcome]] = {phase: Counter() for phase in planned}
        for key, outcome in list(self._ended.items()):
            outcomes[self._planned[key].phase][outcome] += 1
        ended_steps = sum(list(self._steps_done.values()))
        left = sum(planned.values()) - len(self._ended)
        under_way = sum(self._steps_done.get(key, 0) for key in list(self._open))
        return Progress(
            phase=self._stage.phase if self._stage else None,
            planned=planned,
            outcomes=outcomes,
            running=tuple(sorted(self._running)),
            steps_done=ended_steps,
            steps_left=max(0, left * self._spec.training.steps - under_way),
        )

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        self._halvings = {halving.family: halving for halving in stage.halvings()}
        self._add(stage.plan(self._records(), self._chosen))
        self._whole |= stage.whole_phases
        for family, halving in self._halvings.items():
            halving.refill(self._ledger.rungs(self._spec.name, family))
        for record in self._records():
            self._remember(record)
        self._settle()

    def _chosen(self) -> Choice:
        """Each family's configuration for the stages after the search: chosen once, then kept in the ledger.

        A lost search trial that is tried again later changes no plan that was made without it.
        """
        for event in self._ledger.events(self._spec.name):
            if event.kind == CHOICE:
                return event.detail
        chosen = choose(self._spec, self._records())
        self._ledger.record_event(self._spec.name, CHOICE, chosen)
        return chosen

    def _add(self, planned: Iterable[PlannedTrial]) -> None:
        """Plan trials of the present stage; those that have no ending yet join the queue."""
        fresh = list(planned)
        if not fresh:
            return
        self._ledger.plan_trials(self._spec.name, fresh)
        endings = {record.planned.key: record.ending for record in self._records()}
        for trial in fresh:
            self._planned[trial.key] = trial
            if trial.family in self._halvings:
                self._halvings[trial.family].plan([trial.key])
            ending = endings[trial.key]
            if ending is not None:
                self._ended[trial.key] = ending.outcome
                self._steps_done[trial.key] = ending.steps
            else:
                self._open.add(trial.key)
                self._queue.append(trial.key)
        self._on_change()

    def _remember(self, record: TrialRecord) -> None:
        """Tell a family's rungs of a trial that ended in an earlier launch."""
        halving = self._halving_of(record.planned.key)
        if halving is None or record.ending is None:
            return
        if record.ending.outcome is Outcome.INFRA_FAILED:
            halving.withdraw(record.planned.key)
            return
        cap = None
        if record.ending.outcome is Outcome.DIVERGED:
            first = self._ledger.measurements(self._spec.name, record.planned.key)[0]
            cap = first.metrics.get("select_loss_nats")
        halving.end(record.planned.key, record.ending.steps, diverged_at_nats=cap)

    def _take(self, key: str, report: Report) -> None:
        self._num_taken[key] = self._num_taken.get(key, 0) + 1
        self._held.setdefault(key, []).append(report)
        self._steps_done[key] = report.step
        before = self._device_s.get(key, 0.0)
        self._device_s[key] = report.metrics.get("device_s", before)
        self._total_device_s += self._device_s[key] - before
        if report.step == 0 and "select_loss_nats" in report.metrics:
            self._first_loss[key] = report.metrics["select_loss_nats"]
        if report.ending is not None:
            self._running.discard(key)
        halving = self._halving_of(key)
        if halving is not None:
            self._take_to_rung(key, report, halving)

    def _take_to_rung(self, key: str, report: Report, halving: OrderedHalving) -> None:
        """Tell a trial's rungs of a report, and wait there for the decision or obey an earlier launch's."""
        cap = self._first_loss.get(key)
        if report.ending is not None:
            diverged = report.ending.outcome == "diverged"
            halving.end(key, report.step, diverged_at_nats=cap if diverged else None)
        elif report.step in halving.rungs and cap is not None:
            halving.arrive(key, report.step, min(cap, report.metrics["select_loss_nats"]))
            self._waiting.setdefault(key, set()).add(report.step)
            decision = halving.decision(key, report.step)
            if decision is not None:
                self._obey(decision)

    def _settle(self) -> None:
        """Record every decision that is due and act on it."""
        for halving in self._halvings.values():
            for decision in halving.decide():
                self._ledger.record_rung(self._spec.name, decision)
                self._obey(decision)

    def _obey(self, decision: RungRecord) -> None:
        waiting = self._waiting.get(decision.trial, set())
        if decision.rung not in waiting:
            return
        waiting.discard(decision.rung)
        if decision.action == "stop":
            self._stop(decision)
        else:
            self._flush(decision.trial)

    def _stop(self, decision: RungRecord) -> None:
        """End a trial at the rung that it did not pass, whatever it did while it waited."""
        key = decision.trial
        kept = [
            report for report in self._held[key] if report.step <= decision.rung and report.ending is None
        ]
        self._record(key, kept)
        measured = self._ledger.measurements(self._spec.name, key)
        self._end(key, stopped_ending(decision, measured, self._device_s.get(key, 0.0)))

    def _flush(self, key: str) -> None:
        """Record the reports that no undecided rung holds back, and the ending after them."""
        if key not in self._open:
            return
        limit = min(self._waiting.get(key, set()), default=None)
        held = self._held.get(key, [])
        due = [report for report in held if limit is None or (report.step <= limit and report.ending is None)]
        self._held[key] = held[len(due) :]
        self._record(key, due)
        if due and due[-1].ending is not None:
            self._end(key, reported_ending(key, due[-1], self._device_s.get(key, 0.0)))

    def _record(self, key: str, reports: Iterable[Report]) -> None:
        for report in reports:
            if report.ending is not None and report.ending.outcome == "out_of_memory":
                continue  # nothing was measured, and the step may be measured yet: such a trial can be resumed
            self._newest_at = max(self._newest_at, time.time())
            measurement = Measurement(
                trial=key, step=report.step, metrics=report.metrics, recorded_at=self._newest_at
            )
            self._ledger.record_measurement(self._spec.name, measurement)

    def _end(self, key: str, ending: Ending) -> None:
        self._ledger.end_trial(self._spec.name, key, ending)
        self._ended[key] = ending.outcome
        self._steps_done[key] = ending.steps
        self._open.discard(key)
        self._running.discard(key)
        self._held.pop(key, None)
        self._waiting.pop(key, None)
        self._on_end(key)

    def _halving_of(self, key: str) -> OrderedHalving | None:
        planned = self._planned.get(key)
        if planned is None or planned.phase is not Phase.SEARCH:
            return None
        return self._halvings.get(planned.family)

    def _records(self) -> list[TrialRecord]:
        return self._ledger.trials(self._spec.name)
