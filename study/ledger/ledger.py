"""The ledger: the one record of every study, behind one transaction a call.

A call's effect is on disk when it returns. Calls may come from several threads. Only the driver that holds a
study's claim writes to its trials; its tracker writes only what it has shipped. Both write through `held_by`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine

from search_spaces.errors import SpecError
from study.ledger import access, activity, claims, measurements, standings, studies, tracked, trials
from study.ledger.engine import open_engine, shown, transaction
from study.ledger.rows import (
    Attempt,
    Claim,
    Event,
    RunKind,
    Scope,
    StudyRecord,
    StudyStanding,
    StudyState,
    Token,
    TrackedRun,
    TrialActivity,
    TrialTally,
)
from study.records import Ending, Measurement, Phase, PlannedTrial, RungRecord, TrialRecord


class Ledger:
    """Studies, trials, measurements, rungs, events and what was shipped of them.

    Every method that takes a study's name raises SpecError for one that is not there, RetryableError when the
    database went away or stays locked, and LedgerError when the record would contradict itself.
    """

    def __init__(
        self, engine: Engine, clock: Callable[[], float] = time.time, owner: str | None = None
    ) -> None:
        """Wrap an engine whose schema is current; `Ledger.open` is the usual door."""
        self._engine = engine
        self._clock = clock
        self._activity = activity.Activity()
        self._owner = owner

    @classmethod
    def open(cls, url: str, *, clock: Callable[[], float] = time.time) -> Self:
        """Open a ledger, created or migrated as needed.

        Args:
            url: `sqlite:///<file>` or `postgresql://<user>:<password>@<host>/<database>`.
            clock: gives the Unix time in seconds.

        Raises:
            SpecError: the address is wrong, or the database cannot be read or written.
            LedgerError: a newer version of the program wrote the ledger.
        """
        return cls(open_engine(url), clock)

    def held_by(self, owner: str) -> Self:
        """This ledger for a driver, whose writes to a study happen while it holds the study's claim, and else not.

        Each such write raises ClaimLostError, and changes nothing, once another driver has the claim or none has. The
        claim is looked at within the write's own transaction. The connections are shared: close one of the two.

        Args:
            owner: the name under which the driver claims, or has claimed, its study.
        """
        return type(self)(self._engine, self._clock, owner)

    @property
    def address(self) -> str:
        """The database's URL without its password."""
        return shown(self._engine.url)

    def close(self) -> None:
        """Close the connections; nothing is pending."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        """Close at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, whatever happened."""
        self.close()

    def _reading(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, writes=False)

    def _writing(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, writes=True)

    @contextmanager
    def _writing_to(self, study: str) -> Iterator[tuple[Connection, int]]:
        """A transaction that holds a study's row, and that row's number; a driver must hold the claim, too."""
        with self._writing() as connection:
            study_id = studies.find(connection, study)
            if self._owner is not None:
                claims.require(connection, study_id, study, self._owner)
            yield connection, study_id

    # Studies

    def create_study(
        self, name: str, spec: Mapping[str, Any], spec_digest: str, manifest: Mapping[str, Any]
    ) -> StudyRecord:
        """Add a planned study; the same name with the same digest gives the study that is there.

        Raises:
            SpecError: the study is there with another spec.
        """
        study = studies.fresh(
            name=name, spec=spec, spec_digest=spec_digest, manifest=manifest, now=self._clock()
        )
        with self._writing() as connection:
            return studies.create(connection, study)

    def study(self, name: str) -> StudyRecord:
        """One study by name."""
        with self._reading() as connection:
            return studies.get(connection, name)

    def studies(self) -> list[StudyRecord]:
        """All studies, the oldest first."""
        with self._reading() as connection:
            return list(studies.listed(connection).values())

    def standings(self) -> list[StudyStanding]:
        """All studies with where they stand, the oldest first."""
        with self._reading() as connection:
            return standings.listed(connection, self._clock())

    def set_study_state(self, name: str, state: StudyState) -> None:
        """Say where a study stands; leaving `running` ends its open attempts."""
        with self._writing_to(name) as (connection, study_id):
            studies.set_fields(connection, study_id, state=StudyState(state).value, changed_at=self._clock())
            if state != StudyState.RUNNING:
                trials.close_all_attempts(connection, study_id, self._clock())

    def delete_study(self, name: str, owner: str = "") -> None:
        """Forget a study with all its trials and measurements.

        Args:
            name: of the study.
            owner: the name under which the caller holds it, if it does.

        Raises:
            SpecError: a driver that lives holds it.
        """
        now = self._clock()
        with self._writing() as connection:
            held = claims.holder(connection, studies.find(connection, name))
            if held is not None and held.owner != owner and claims.is_alive(held, now=now):
                raise SpecError(
                    f"Study {name!r} is being run by process {held.pid} on {held.host}: stop it before it is deleted."
                )
            studies.remove(connection, name)

    def save_spec(self, name: str, spec: Mapping[str, Any]) -> None:
        """Keep a study's spec as it is written now: what its digest leaves out may change."""
        with self._writing_to(name) as (connection, study_id):
            studies.set_fields(connection, study_id, spec=dict(spec))

    def save_plan(self, name: str, plan: Mapping[str, Any]) -> None:
        """Keep the costed plan of a study, in place of an earlier one."""
        with self._writing_to(name) as (connection, study_id):
            studies.set_fields(connection, study_id, plan=dict(plan))

    def save_manifest(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Keep what a study runs on, in place of what was kept before."""
        with self._writing_to(name) as (connection, study_id):
            studies.set_fields(connection, study_id, manifest=dict(manifest))

    def record_event(self, study: str, kind: str, detail: Mapping[str, Any]) -> None:
        """Append something that happened and is no measurement."""
        with self._writing_to(study) as (connection, study_id):
            studies.add_event(connection, study_id, kind, detail, self._clock())

    def events(self, study: str) -> list[Event]:
        """All events in the order in which they happened."""
        with self._reading() as connection:
            return studies.events(connection, study)

    # Trials

    def plan_trials(self, study: str, planned: Sequence[PlannedTrial]) -> int:
        """Add the trials whose keys are new, in the given order; how many were added.

        Raises:
            LedgerError: a key is there with other content.
        """
        with self._writing_to(study) as (connection, study_id):
            return trials.plan(connection, study_id, planned)

    def trials(
        self, study: str, *, phase: Phase | None = None, family: str | None = None
    ) -> list[TrialRecord]:
        """The trials in the order in which they were planned."""
        with self._reading() as connection:
            return trials.listed(connection, studies.find(connection, study), phase=phase, family=family)

    def trial(self, study: str, key: str) -> TrialRecord:
        """One trial by key."""
        with self._reading() as connection:
            return trials.get(connection, studies.find(connection, study), key)

    def running_trials(self, study: str) -> list[str]:
        """Keys of the trials that were started by the present driver and have not ended."""
        with self._reading() as connection:
            return trials.running(connection, studies.find(connection, study))

    def trial_activity(self, study: str) -> list[TrialActivity]:
        """Every trial in planned order, with what a view of it must know."""
        with self._reading() as connection:
            return self._activity.listed(connection, studies.find(connection, study))

    def attempts(self, study: str, key: str) -> list[Attempt]:
        """Every start of one trial, the first one first."""
        with self._reading() as connection:
            return trials.attempts(connection, studies.find(connection, study), key)

    def trial_tallies(self, study: str) -> list[TrialTally]:
        """A study's trials counted by phase, family and outcome, by the first of each in planned order."""
        with self._reading() as connection:
            study_id = studies.find(connection, study)
            return trials.tallies(connection, study_id).get(study_id, [])

    def start_attempt(self, study: str, key: str) -> int:
        """Note that a trial starts; the number of the attempt, 1 for the first.

        Raises:
            LedgerError: the trial has ended already.
        """
        with self._writing_to(study) as (connection, study_id):
            return trials.start(connection, study_id, key, self._clock())

    def place_attempt(self, study: str, key: str, *, pack: int, node: str) -> None:
        """Note in which pack, and on which node, the open attempt of a trial trains."""
        with self._writing_to(study) as (connection, study_id):
            trials.place(connection, study_id, key, pack, node)

    def end_trial(self, study: str, key: str, ending: Ending) -> bool:
        """Keep a trial's ending, once; False where the same one is there.

        Raises:
            LedgerError: the trial has ended in another way.
            TrialFailedError: a figure of the ending is not finite.
        """
        with self._writing_to(study) as (connection, study_id):
            return trials.end(connection, study_id, key, ending, self._clock())

    def reopen_trial(self, study: str, key: str, reason: str) -> None:
        """Let a trial that was lost or cancelled run again; its ending goes to the events.

        Raises:
            LedgerError: the trial has not ended, or ended with a result.
        """
        with self._writing_to(study) as (connection, study_id):
            ending = trials.reopen(connection, study_id, key)
            detail = {"trial": key, "why": reason, **asdict(ending)}
            studies.add_event(connection, study_id, "trial_reopened", detail, self._clock())

    # Measurements and rungs

    def record_measurement(self, study: str, measurement: Measurement) -> bool:
        """Keep a measurement; False where that step is there already, which is never changed.

        Raises:
            TrialFailedError: a metric is NaN or infinite.
        """
        with self._writing_to(study) as (connection, study_id):
            return measurements.add(connection, study_id, measurement)

    def measurements(self, study: str, trial: str | None = None) -> list[Measurement]:
        """Measurements of one trial, or of all in planned order, by step."""
        with self._reading() as connection:
            return measurements.listed(connection, studies.find(connection, study), trial)

    def measurements_at(self, numbers: Sequence[int]) -> list[Measurement]:
        """The measurements with some row numbers, in no order."""
        with self._reading() as connection:
            return measurements.at(connection, numbers)

    def newer_measurements(
        self, study: str, trial: str, *, after: int, limit: int
    ) -> list[tuple[int, Measurement]]:
        """The next measurements of a trial in the order of their arrival, each with its row number."""
        with self._reading() as connection:
            return measurements.newer(connection, studies.find(connection, study), trial, after, limit)

    def record_rung(self, study: str, rung: RungRecord) -> bool:
        """Keep a decision of ASHA; False where this very decision is there.

        Raises:
            LedgerError: the trial was decided at this rung in another way.
        """
        with self._writing_to(study) as (connection, study_id):
            return measurements.add_rung(connection, study_id, rung)

    def rungs(self, study: str, family: str | None = None) -> list[RungRecord]:
        """Decisions of one family, or of all, in the order in which they were made."""
        with self._reading() as connection:
            return measurements.rungs(connection, studies.find(connection, study), family)

    # The driver's claim

    def claim_study(self, study: str, owner: str) -> Claim:
        """Become the study's only driver, and end the attempts that a dead one left open.

        Args:
            study: its name.
            owner: a name for this driver, different at every launch.

        Raises:
            SpecError: another driver that lives holds it; says which.
        """
        now = self._clock()
        claim = claims.mine(owner, now)
        with self._writing() as connection:
            study_id = studies.find(connection, study)
            claims.take(connection, study_id, study, claim)
            trials.close_all_attempts(connection, study_id, now)
        return claim

    def heartbeat(self, study: str, owner: str) -> None:
        """Give a sign of life, at least every 20 s.

        Raises:
            LedgerError: another driver took the study over; this one must stop.
        """
        with self._writing() as connection:
            claims.beat(connection, studies.find(connection, study), study, owner, self._clock())

    def release_study(self, study: str, owner: str) -> bool:
        """End the claim and the attempts it left open; False where this driver had none."""
        with self._writing() as connection:
            study_id = studies.find(connection, study)
            released = claims.give_up(connection, study_id, owner)
            if released:
                trials.close_all_attempts(connection, study_id, self._clock())
            return released

    def holder(self, study: str) -> Claim | None:
        """The living driver of a study; absent where there is none."""
        with self._reading() as connection:
            held = claims.holder(connection, studies.find(connection, study))
        return held if held is not None and claims.is_alive(held, now=self._clock()) else None

    def num_drivers_on(self, cluster: str) -> int:
        """How many running studies have a living driver that uses a Ray cluster, by its session's name."""
        with self._reading() as connection:
            held = claims.running_on(connection, cluster)
        return sum(claims.is_alive(one, now=self._clock()) for one in held)

    # The tracker's book

    def tracked_runs(self, study: str, store: str) -> list[TrackedRun]:
        """What has arrived in one tracking store, or was about to."""
        with self._reading() as connection:
            return tracked.listed(connection, studies.find(connection, study), store)

    def intend_run(self, study: str, store: str, kind: RunKind, key: str) -> bool:
        """Note that a run is about to be created; False where that was noted before."""
        with self._writing_to(study) as (connection, study_id):
            return tracked.intend(connection, study_id, store, kind, key)

    def save_tracked_run(self, study: str, store: str, run: TrackedRun) -> None:
        """Keep what has arrived of a run that was noted."""
        with self._writing_to(study) as (connection, study_id):
            tracked.save(connection, study_id, store, run)

    def forget_tracked_run(self, study: str, store: str, kind: RunKind | None, key: str = "") -> None:
        """Drop what was noted of one run, or of all runs in the store where `kind` is None."""
        with self._writing_to(study) as (connection, study_id):
            tracked.forget(connection, study_id, store, kind, key)

    # The service's tokens and requests

    def add_token(self, name: str, scope: Scope, digest: str, *, expires_at: float | None) -> None:
        """Keep a new token by the SHA-256, in hex, of its secret.

        Raises:
            SpecError: the name is taken, by a revoked token too.
        """
        with self._writing() as connection:
            access.add_token(connection, name, scope, digest, expires_at=expires_at, now=self._clock())

    def tokens(self) -> list[Token]:
        """All tokens, the oldest first."""
        with self._reading() as connection:
            return access.tokens(connection)

    def token(self, digest: str) -> Token | None:
        """The token of a secret's SHA-256, valid or not; absent where there is none."""
        with self._reading() as connection:
            return access.token(connection, digest)

    def revoke_token(self, name: str) -> None:
        """Have a token refused from now on.

        Raises:
            SpecError: there is no such token.
        """
        with self._writing() as connection:
            access.revoke(connection, name, self._clock())

    def claim_request(self, key: str, digest: str, study: str) -> str:
        """Note a request by its idempotency key; the study that the first request with this key made.

        Raises:
            SpecError: the key was used with other content.
        """
        with self._writing() as connection:
            return access.claim_request(connection, key, digest, study, self._clock())
