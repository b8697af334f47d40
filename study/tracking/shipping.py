"""One pass of shipping: compare the ledger with what has arrived, and send the difference.

What was sent is noted after each call, and sending a thing again changes nothing, so that a pass may break
off anywhere. A run's creation alone would not bear repeating: it is noted before, and looked for when in
doubt. A server is sent several runs at once, parents before their children: it answers one call so slowly that it would
be idle for most of the time between two of them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from study.ledger import Ledger, RunKind, StudyRecord, StudyState, TrackedRun, TrialActivity
from study.records import Measurement
from study.tracking.adapters import Chosen, chosen_adapters
from study.tracking.attachments import Scene, attachments
from study.tracking.findings import Findings, read_findings
from study.tracking.side_by_side import side_by_side
from study.tracking.store import (
    PARENT_TAG,
    RUN_TAG,
    STUDY_TAG,
    DeletedError,
    GoneError,
    RefusedError,
    TrackingStore,
)
from study.tracking.view import RunKey, RunView, views

MEASUREMENTS_PER_READ = 200
_LEFT_DELETED = "deleted"


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What has not arrived yet."""

    num_runs: int
    """Runs of which something is missing."""
    problem: str = ""
    """Why, in a line without secrets; empty when nothing went wrong."""

    @property
    def is_empty(self) -> bool:
        """Whether everything has arrived."""
        return self.num_runs == 0 and not self.problem


class Shipper:
    """Ships one study to one store."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        study: str,
        label: str,
        adapters_dir: Path | None = None,
        bring_adapter: Callable[[str], object] = lambda _: None,
        on_arrival: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Bind to a study.

        Args:
            ledger: the record.
            study: its name there.
            label: the store's address without its password, under which the ledger notes what arrived.
            adapters_dir: where confirmed trials leave their adapters; None: none are attached.
            bring_adapter: called with a trial's key before its adapter is looked for there; raises RetryableError where
                it cannot be had now.
            on_arrival: called whenever a run, or what hangs on one, has been brought up to date, with the number of
                runs that are still to be looked at.
        """
        self._ledger = ledger
        self._name = study
        self._label = label
        self._adapters_dir = adapters_dir
        self._bring_adapter = bring_adapter
        self._on_arrival = on_arrival
        self._tracked: dict[RunKey, TrackedRun] = {}
        self._trials: Sequence[TrialActivity] = ()
        self._found: Findings = {}
        self.look_s = 0.0
        """Processor seconds that the newest pass took to find out what there is to show: time that the study lacks."""

    def pending(self) -> int:
        """Number of runs of which something is missing; asks the ledger only."""
        self._read_book()
        _, wanted = self._wanted()
        return sum(self._lacks(view) for view in wanted)

    def ship(self, store: TrackingStore, *, verify: bool) -> Backlog:
        """Send what is missing.

        Args:
            store: where to.
            verify: look first whether the experiment is still there, and start anew if it is not.

        Raises:
            RetryableError: the store does not answer; what came before is noted.
        """
        self._read_book()
        study, wanted = self._wanted()
        problems: list[str] = []
        lacking: list[RunView] = []
        if wanted:
            experiment = self._experiment(store, study, verify=verify)
            for view, refused in self._send(store, wanted, study, experiment):
                lacking.append(view)
                problems += refused
            problems += self._attach(store, study, wanted, experiment)
            if study.state is not StudyState.RUNNING:
                self._delete_strays(store, study, experiment)
        return Backlog(num_runs=sum(map(self._lacks, lacking)), problem=problems[0] if problems else "")

    def _wanted(self) -> tuple[StudyRecord, list[RunView]]:
        before = time.thread_time()
        study = self._ledger.study(self._name)
        self._trials = self._ledger.trial_activity(self._name)
        folders = self._folders()
        self._found = read_findings(folders[-1]) if folders else {}
        wanted = views(study, self._trials, self._found)
        self.look_s = time.thread_time() - before
        return study, wanted

    def _folders(self) -> list[Path]:
        """Folders that were asked to be attached: their paths are absolute, which no other key is."""
        keys = [Path(run.key) for run in self._tracked.values() if run.kind is RunKind.ARTIFACTS]
        return [key for key in keys if key.is_absolute()]

    def _read_book(self) -> None:
        runs = self._ledger.tracked_runs(self._name, self._label)
        self._tracked = {(run.kind, run.key): run for run in runs}

    def _note(self, run: TrackedRun) -> None:
        self._ledger.save_tracked_run(self._name, self._label, run)
        self._tracked[run.kind, run.key] = run

    def _intend(self, kind: RunKind, key: str) -> bool:
        """Note an intent; whether it is the first, so that nothing can be there yet."""
        first = self._ledger.intend_run(self._name, self._label, kind, key)
        if (kind, key) not in self._tracked:
            self._tracked[kind, key] = TrackedRun(
                kind=kind, key=key, run_id=None, shipped_measurement=0, shipped_state=""
            )
        return first

    def _lacks(self, view: RunView) -> bool:
        run = self._tracked.get((view.kind, view.key))
        if run is None:
            return True
        if run.shipped_state == _LEFT_DELETED:
            return False
        return run.shipped_measurement < view.last_measurement or run.shipped_state != self._state(view)

    def _state(self, view: RunView) -> str:
        return f"{view.status}:{view.fingerprint(self._parent_run(view))}"

    def _parent_run(self, view: RunView) -> str | None:
        parent = self._tracked.get(view.parent) if view.parent is not None else None
        return parent.run_id if parent is not None else None

    def _experiment(self, store: TrackingStore, study: StudyRecord, *, verify: bool) -> str:
        known = self._tracked.get((RunKind.EXPERIMENT, ""))
        if known is not None and known.run_id is not None:
            if not verify or store.find_experiment(known.run_id, study.uid):
                return known.run_id
            self._forget_all()
        self._intend(RunKind.EXPERIMENT, "")
        found = store.experiment(study.name, study.uid)
        self._note(replace(self._tracked[RunKind.EXPERIMENT, ""], run_id=found))
        return found

    def _forget_all(self) -> None:
        """The experiment is gone: everything has to be shipped once more."""
        self._ledger.forget_tracked_run(self._name, self._label, None)
        self._read_book()
        for run in list(self._tracked.values()):
            self._note(replace(run, shipped_state=""))

    def _send(
        self, store: TrackingStore, wanted: Sequence[RunView], study: StudyRecord, experiment: str
    ) -> Iterator[tuple[RunView, list[str]]]:
        """Bring every run up to date that lacks something; each of these, and what the store refused of it.

        Runs of one kind go together once their parents have gone, so that none lacks anything after its turn.
        """
        left = len(wanted)
        for _, kind in groupby(wanted, key=lambda view: view.kind):
            views = list(kind)
            lacking = [view for view in views if self._lacks(view)]
            left -= len(views) - len(lacking)
            answers = side_by_side(
                lambda view: self._attempt(store, view, study, experiment), lacking, store.num_calls
            )
            for view, refused in zip(lacking, answers, strict=True):
                left -= 1
                if not refused:
                    self._on_arrival(left)
                yield view, refused

    def _attempt(self, store: TrackingStore, view: RunView, study: StudyRecord, experiment: str) -> list[str]:
        """Bring one run up to date; what the store refused of it."""
        try:
            self._bring_up_to_date(store, view, study, experiment)
        except DeletedError:
            self._note(replace(self._tracked[view.kind, view.key], shipped_state=_LEFT_DELETED))
        except GoneError as error:
            self._ledger.forget_tracked_run(self._name, self._label, view.kind, view.key)
            self._tracked.pop((view.kind, view.key), None)
            return [f"{view.kind} {view.name} has to be made anew: {error}"]
        except RefusedError as error:
            return [f"{view.kind} {view.name} was refused: {error}"]
        return []

    def _bring_up_to_date(
        self, store: TrackingStore, view: RunView, study: StudyRecord, experiment: str
    ) -> None:
        run, status = self._existing(store, view, study, experiment)
        run, measured = self._ship_measurements(store, view, run)
        state = self._state(view)
        if run.run_id is None or run.shipped_state == state:
            return
        store.describe(
            run.run_id,
            params=view.params,
            tags=self._run_tags(view, study),
            metrics=view.metrics,
            step=view.metrics_step,
            at=view.metrics_at,
            measurements=[measurement for _, measurement in measured],
        )
        if view.status != status or view.ended_at is not None:
            store.set_status(run.run_id, view.status, view.ended_at)
        newest = measured[-1][0] if measured else run.shipped_measurement
        self._note(replace(run, shipped_state=state, shipped_measurement=newest))

    def _existing(
        self, store: TrackingStore, view: RunView, study: StudyRecord, experiment: str
    ) -> tuple[TrackedRun, str]:
        """The run and the status it is known to have; made, or found again, if it has no id yet."""
        run = self._tracked.get((view.kind, view.key))
        if run is not None and run.run_id is not None:
            return run, run.shipped_state.partition(":")[0]
        tags = self._run_tags(view, study)
        found = None
        if not self._intend(view.kind, view.key):
            found = store.find_run(experiment, uid=study.uid, label=tags[RUN_TAG])
        run_id = found or store.create_run(experiment, name=view.name, started_at=view.started_at, tags=tags)
        run = replace(self._tracked[view.kind, view.key], run_id=run_id)
        self._note(run)
        return run, "" if found else "RUNNING"

    def _run_tags(self, view: RunView, study: StudyRecord) -> dict[str, str]:
        label = f"{view.kind}:{view.key}"
        tags = {**view.tags, STUDY_TAG: study.uid, RUN_TAG: label, "mlflow.source.name": "trialwright"}
        parent = self._parent_run(view)
        return tags if parent is None else tags | {PARENT_TAG: parent}

    def _ship_measurements(
        self, store: TrackingStore, view: RunView, run: TrackedRun
    ) -> tuple[TrackedRun, Sequence[tuple[int, Measurement]]]:
        """Send new measurements; the last of them are left to the call that describes the run, where there is one."""
        is_described = run.shipped_state == self._state(view)
        while run.run_id is not None and run.shipped_measurement < view.last_measurement:
            batch = self._ledger.newer_measurements(
                self._name, view.key, after=run.shipped_measurement, limit=MEASUREMENTS_PER_READ
            )
            if not is_described and batch[-1][0] >= view.last_measurement:
                return run, batch
            store.log_measurements(run.run_id, [measurement for _, measurement in batch])
            run = replace(run, shipped_measurement=batch[-1][0])
            self._note(run)
        return run, ()

    def _attach(
        self, store: TrackingStore, study: StudyRecord, wanted: Sequence[RunView], experiment: str
    ) -> Iterator[str]:
        """Send what hangs on the runs, where it has changed; what was refused or could not be had."""
        adapters, problems = self._chosen_adapters()
        yield from problems
        for one in attachments(self._scene(study, wanted, experiment, adapters)):
            if not one.state or self._tracked_state(one.key) == one.state:
                continue
            self._intend(RunKind.ARTIFACTS, one.key)
            try:
                one.send(store)
            except DeletedError:  # the user's wish, which holds until there is something new to hang there
                pass
            except (GoneError, RefusedError) as error:
                yield f"{one.key} of study {study.name} was refused: {error}"
                continue
            self._note(replace(self._tracked[RunKind.ARTIFACTS, one.key], shipped_state=one.state))
            self._on_arrival(0)

    def _chosen_adapters(self) -> tuple[list[Chosen], list[str]]:
        if self._adapters_dir is None:
            return [], []
        return chosen_adapters(self._trials, self._adapters_dir, bring=self._bring_adapter)

    def _delete_strays(self, store: TrackingStore, study: StudyRecord, experiment: str) -> None:
        """Remove runs that an earlier driver's last request has made, of which it could not take note any more."""
        known = {run.run_id for run in self._tracked.values()}
        for run_id in store.running_runs(experiment, uid=study.uid):
            if run_id not in known:
                store.delete_run(run_id)

    def _tracked_state(self, key: str) -> str:
        noted = self._tracked.get((RunKind.ARTIFACTS, key))
        return noted.shipped_state if noted is not None else ""

    def _scene(
        self, study: StudyRecord, wanted: Sequence[RunView], experiment: str, adapters: Sequence[Chosen]
    ) -> Scene:
        runs = {
            key: run.run_id
            for key, run in self._tracked.items()
            if run.run_id is not None and run.shipped_state != _LEFT_DELETED
        }
        families = [view for view in wanted if view.kind is RunKind.FAMILY]
        return Scene(
            study=study,
            trials=self._trials,
            family_metrics={view.key: view.metrics for view in families},
            found=self._found,
            experiment=experiment,
            study_run=runs.get((RunKind.STUDY, ""), ""),
            family_runs={
                view.key: run
                for view in families
                if (run := runs.get((RunKind.FAMILY, view.key))) is not None
            },
            folders=self._folders(),
            adapters=adapters,
        )
