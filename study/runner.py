"""Launch: bring a study from wherever its ledger says it stands to its end, or to an orderly stop.

Every launch is "restore or start". What ran before is never run again; what was interrupted continues from its
checkpoint; a study that has ended is left alone.
"""

import contextlib
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from search_spaces.errors import ClaimLostError, RetryableError, SpecError
from study.caps import Caps
from study.coordinator import Coordinator
from study.engine import Engine
from study.home import Home
from study.interruption import Interruption, signals_to, watching
from study.kept import KeptFiles, kept_files, note_store
from study.ledger import Ledger, StudyRecord, StudyState
from study.plan import counted_plan
from study.preflight import preflight, with_claims
from study.protocol import check_equal_budgets
from study.records import Outcome, Phase, Progress
from study.spec import StudySpec
from study.stages import stages
from study.tracking import Tracker

ENDED = (StudyState.FINISHED, StudyState.FAILED)
LOST = (Outcome.INFRA_FAILED, Outcome.OUT_OF_MEMORY)
FLUSH_S = 120.0
"""Longest wait in seconds at the end for the next thing to arrive at the tracking server; what is left ships at the
next launch."""


class View(Protocol):
    """Who is told what happens."""

    def say(self, sentence: str) -> None:
        """Something worth a line."""

    def show(self, progress: Callable[[], Progress]) -> contextlib.AbstractContextManager[None]:
        """Show live progress for the duration of a block."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a launch came to."""

    state: StudyState
    reason: str
    """Why it was interrupted; empty when it was not."""
    num_lost: int
    """Trials that were lost to their surroundings."""
    report_path: Path
    did_anything: bool
    """False when the study had ended before."""


def launch(
    spec: StudySpec,
    home: Home,
    *,
    tracking_uri: str,
    address: str | None,
    last_phase: Phase | None,
    view: View,
    retry_lost: bool = False,
) -> Launch:
    """Run a study until it ends or is interrupted.

    Args:
        spec: a loaded study.
        home: where its record, checkpoints and report go.
        tracking_uri: the MLflow store.
        address: a Ray cluster, or None to use this machine.
        last_phase: pause after this phase; None: run all.
        view: who is told.
        retry_lost: run the trials again that an ended study has lost.

    Raises:
        SpecError: something in the study or its surroundings is wrong; nothing was started.
        LedgerError: the record contradicts itself, or another driver took the study over.
    """
    spec = with_claims(spec)
    ended = _ended_before(spec, home)
    if ended and not (retry_lost and ended is StudyState.FAILED):
        facts = None
    else:
        facts = preflight(
            spec,
            home,
            tracking_uri=tracking_uri,
            address=address,
            say=view.say,
            gives_results=any(stage.phase is not Phase.SEARCH for stage in stages(spec, last_phase)),
        )
    with Ledger.open(home.ledger_url) as ledger:
        if facts is not None:
            record = ledger.create_study(spec.name, spec.canonical(), spec.digest, facts)
            _check_same_inputs(record.manifest or facts, facts, spec.name)
        with claimed(ledger, spec.name) as (owner, held):
            drive = _Drive(
                spec=spec,
                home=home,
                ledger=held,
                owner=owner,
                tracking_uri=tracking_uri,
                address=address,
                last_phase=last_phase,
                view=view,
            )
            if facts is None:
                return drive.repeat_result()
            _keep_inputs(held, spec, facts)
            if retry_lost:
                _reopen_lost(held, spec.name)
            note_store(home, held, spec.name)
            return drive.run()


@contextlib.contextmanager
def claimed(ledger: Ledger, study: str) -> Iterator[tuple[str, Ledger]]:
    """The study as this process's for the duration of a block: the claim's owner, and the ledger that it writes to.

    Raises:
        SpecError: another driver that lives holds it; says which.
    """
    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    ledger.claim_study(study, owner)
    try:
        yield owner, ledger.held_by(owner)
    finally:
        ledger.release_study(study, owner)


def _keep_inputs(ledger: Ledger, spec: StudySpec, facts: Mapping[str, Any]) -> None:
    """Note what a study runs on, and how it is written and registered now."""
    record = ledger.study(spec.name)
    if not record.manifest:  # the service planned it, which does not know what it will run on
        ledger.save_manifest(spec.name, facts)
        record = ledger.study(spec.name)
    _keep_registration(ledger, record, facts["claims"])
    if record.spec != spec.canonical():
        ledger.save_spec(spec.name, spec.canonical())
    if record.plan is None:
        ledger.save_plan(spec.name, counted_plan(spec))


def _ended_before(spec: StudySpec, home: Home) -> StudyState | None:
    """How this very study ended, if it has; looks without leaving anything behind."""
    if not home.has_ledger:
        return None
    with Ledger.open(home.ledger_url) as ledger:
        for record in ledger.studies():
            if record.name == spec.name and record.spec_digest == spec.digest and record.state in ENDED:
                return record.state
    return None


def _check_same_inputs(recorded: Mapping[str, Any], now: Mapping[str, Any], study: str) -> None:
    """Refuse to go on with other text or another model than the study began with."""
    for name, what in (("data_digest", "text"), ("base_digest", "base model")):
        if recorded.get(name) != now[name]:
            raise SpecError(
                f"Study {study!r} began with another {what} ({str(recorded.get(name))[:12]}…) than is there now "
                f"({str(now[name])[:12]}…): put the old one back, or give the study another name."
            )


def _keep_registration(ledger: Ledger, record: StudyRecord, registered: Mapping[str, Any] | None) -> None:
    """Note when a study's claims were locked or amended since its last launch."""
    if record.manifest.get("claims") != registered:
        ledger.save_manifest(record.name, {**record.manifest, "claims": registered})
        facts = {key: value for key, value in (registered or {}).items() if key != "written"}
        ledger.record_event(record.name, "claims_registered", facts)


def report_study(
    ledger: Ledger, study: str, home: Home, formats: tuple[str, ...] = ("html", "csv", "json", "md")
) -> Path:
    """Write the report of a study as it stands; the path of its page.

    Raises:
        SpecError: there is no such study.
    """
    # The figures need a second of imports, which a refusal can do without.
    from study.report import write_report
    from study.snapshot import take_snapshot

    folder = home.report_dir(study)
    write_report(take_snapshot(ledger, study), folder, formats=formats)
    return folder / "report.html"


def _reopen_lost(ledger: Ledger, study: str) -> None:
    """Let the trials that a study has lost run again."""
    ledger.set_study_state(study, StudyState.INTERRUPTED)
    for record in ledger.trials(study):
        if record.ending is not None and record.ending.outcome in LOST:
            ledger.reopen_trial(study, record.planned.key, "the study was resumed")


def request_stop(ledger: Ledger, study: str) -> str:
    """Ask the driver of a study to stop in order; one sentence on what will happen.

    Raises:
        SpecError: there is no such study, or nothing of it runs.
    """
    holder = ledger.holder(study)
    state = ledger.study(study).state
    if holder is None or state is not StudyState.RUNNING:
        raise SpecError(f"Study {study!r} does not run (it is {state.value}): there is nothing to stop.")
    ledger.set_study_state(study, StudyState.STOPPED)
    return f"Study {study} stops at its workers' next reports (process {holder.pid} on {holder.host})."


@dataclass(frozen=True, kw_only=True)
class _Drive:
    """One launch of one study that this process has claimed."""

    spec: StudySpec
    home: Home
    ledger: Ledger
    """Takes writes while this process holds the claim only."""
    owner: str
    """Of the claim."""
    tracking_uri: str
    address: str | None
    last_phase: Phase | None
    view: View
    interruption: Interruption = field(default_factory=Interruption)

    def run(self) -> Launch:
        """Run the trials that are missing, with the tracker and the watch beside."""
        name, tracker = self.spec.name, self._tracker()
        with watching(self.ledger, name, self.owner, self.interruption):
            self.ledger.set_study_state(name, StudyState.RUNNING)
            tracker.start()
            try:
                with signals_to(self.interruption):
                    state = self._run_trials(on_change=tracker.notify)
            except BaseException:
                self._conclude(StudyState.INTERRUPTED, tracker)
                raise
            return self._conclude(state, tracker)

    def repeat_result(self) -> Launch:
        """What an ended study came to, once MLflow has received what it still lacked."""
        tracker = self._tracker()
        with watching(self.ledger, self.spec.name, self.owner, self.interruption):
            self._bring_adapters()
            tracker.start()
            self._close(tracker)
            return self.result(self.ledger.study(self.spec.name).state, did_anything=False)

    def _conclude(self, state: StudyState, tracker: Tracker) -> Launch:
        """Write down how it ended, report, and let the tracker catch up; a driver that lost the study may not."""
        name = self.spec.name
        try:
            self.ledger.heartbeat(name, self.owner)
            if state in ENDED:  # before it is written down, after which no launch would look for any
                self._kept().drop_all_checkpoints()
            self.ledger.set_study_state(name, state)
            self._bring_adapters()
            self.view.say("Writing the report.")
            result = self.result(state, did_anything=True)
            tracker.attach_artifacts(result.report_path.parent)
        except ClaimLostError:
            tracker.close(0)  # MLflow is the other driver's to fill
            raise
        except BaseException:
            self._close(tracker)
            raise
        self._close(tracker)
        return result

    def _kept(self) -> KeptFiles:
        return kept_files(self.home, self.ledger.study(self.spec.name))

    def _bring_adapters(self) -> None:
        """Have the kept adapters here; what cannot be had now comes at the next launch."""
        try:
            self._kept().bring_adapters()
        except (RetryableError, OSError) as error:
            self.view.say(f"The kept adapters could not be brought here from the store: {error}")

    def _tracker(self) -> Tracker:
        return Tracker(
            ledger_url=self.home.ledger_url,
            study=self.spec.name,
            owner=self.owner,
            tracking_uri=self.tracking_uri,
            artifacts_dir=self.home.mlflow_artifacts_dir,
            adapters_dir=self.home.adapters_dir(self.spec.name),
            bring_adapter=self._kept().bring_adapter,
        )

    def _close(self, tracker: Tracker) -> None:
        self.view.say("Bringing MLflow up to date.")
        backlog = tracker.close(FLUSH_S, tell=self._tell_left)
        if not backlog.is_empty:
            lacks = backlog.problem or f"{backlog.num_runs} runs are still to come"
            self.view.say(
                f"MLflow has not received everything ({lacks}): launch the study again to send the rest."
            )

    def _tell_left(self, num_runs: int) -> None:
        if num_runs:
            self.view.say(f"MLflow: {num_runs:,} runs at the most are still to come.")
        else:
            self.view.say("MLflow left a call without an answer: looking in a minute whether it came late.")

    def result(self, state: StudyState, *, did_anything: bool) -> Launch:
        """What this launch came to, with a report that is up to date."""
        report_path = self.home.report_dir(self.spec.name) / "report.html"
        if did_anything or not report_path.exists():
            report_path = report_study(self.ledger, self.spec.name, self.home)
        return Launch(
            state=state,
            reason="" if state in ENDED else self.interruption.reason,
            num_lost=self._num_lost(),
            report_path=report_path,
            did_anything=did_anything,
        )

    def _run_trials(self, on_change: Callable[[], None]) -> StudyState:
        """Let Ray Tune run everything that is missing; the study's state after it."""
        kept = self._kept()
        coordinator = Coordinator(
            self.spec,
            self.ledger,
            last_phase=self.last_phase,
            on_change=on_change,
            on_end=kept.drop_checkpoints,
        )
        caps = Caps(self.spec, self.ledger, self.interruption, lambda: coordinator.device_seconds)
        engine = Engine(
            spec=self.spec,
            home=self.home,
            ledger=self.ledger,
            kept=kept,
            address=self.address,
            say=self.view.say,
            is_over=caps.is_over,
        )
        with kept, self.view.show(coordinator.progress):
            if not caps.is_over():
                engine.run(coordinator)
        whole = coordinator.is_done and len(stages(self.spec, self.last_phase)) == len(stages(self.spec))
        if not whole:
            return self.interruption.final_state
        check_equal_budgets(self.spec, (record.planned for record in self.ledger.trials(self.spec.name)))
        return StudyState.FAILED if self._num_lost() else StudyState.FINISHED

    def _num_lost(self) -> int:
        endings = (record.ending for record in self.ledger.trials(self.spec.name))
        return sum(ending is not None and ending.outcome in LOST for ending in endings)
