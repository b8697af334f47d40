"""What the ledger holds besides the records that every part exchanges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from study.records import Outcome, Phase, TrialRecord


class StudyState(StrEnum):
    """Where a study stands."""

    PLANNED = "planned"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Its driver was told to end, or died; launching it again continues it."""
    STOPPED = "stopped"
    """The user stopped it; resuming continues it."""
    FINISHED = "finished"
    """Every trial ended and none was lost."""
    FAILED = "failed"
    """It ended with trials lost."""


class RunKind(StrEnum):
    """The levels of a study in the tracking server, from the outside in."""

    EXPERIMENT = "experiment"
    STUDY = "study"
    FAMILY = "family"
    CONFIGURATION = "configuration"
    TRIAL = "trial"
    ARTIFACTS = "artifacts"
    """A folder to attach; its key is the folder's path."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who drives a study."""

    owner: str
    """Name that the driver gave itself."""
    host: str
    machine: str
    """Name of the host's boot and process space: pids are comparable only where it is equal."""
    pid: int
    process_started_at: float
    """Unix time in seconds; tells a process from a later one with its pid."""
    claimed_at: float
    """Unix time in seconds."""
    heartbeat_at: float
    """Unix time in seconds of the last sign of life."""


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study as the ledger holds it."""

    uid: str
    """Random hexadecimal name: studies of different ledgers may share a name on one tracking server."""
    name: str
    spec_digest: str
    """SHA-256 of the canonical spec."""
    spec: Mapping[str, Any]
    manifest: Mapping[str, Any]
    plan: Mapping[str, Any] | None
    """Absent until it is planned."""
    state: StudyState
    created_at: float
    """Unix time in seconds."""
    changed_at: float
    """Unix time in seconds of the last change of state."""

    def state_under(self, holder: Claim | None) -> StudyState:
        """Where it stands under its living driver: if that has died it is interrupted, whatever was written last."""
        if self.state is StudyState.RUNNING and holder is None:
            return StudyState.INTERRUPTED
        return self.state


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a study and is no measurement."""

    kind: str
    detail: Mapping[str, Any]
    recorded_at: float
    """Unix time in seconds."""


@dataclass(frozen=True, kw_only=True)
class TrialActivity:
    """A trial with what a view of it must know."""

    record: TrialRecord
    running: bool
    """Whether an attempt is open: started by the present driver and not ended."""
    started_at: float | None
    """Unix time in seconds of its first attempt; absent before it."""
    ended_at: float | None
    """Unix time in seconds at which it ended or its last attempt broke off; absent until then."""
    last_measurement: int
    """Row number of its newest measurement; 0 before the first."""
    pack: int | None = None
    """Number of the pack that its last attempt trains in; absent before it has a place."""
    node: str | None = None
    """Address of that pack's node."""


@dataclass(frozen=True, kw_only=True)
class TrialTally:
    """How many trials of a phase and a family ended in one way."""

    phase: Phase
    family: str
    outcome: Outcome | None
    """Absent for those that have not ended."""
    number: int
    device_seconds: float
    """All of theirs together."""


@dataclass(frozen=True, kw_only=True)
class StudyStanding:
    """A study with what a list of studies must know of it."""

    record: StudyRecord
    holder: Claim | None
    """The living driver; absent where there is none."""
    tallies: Sequence[TrialTally]
    """By the first trial of each in planned order."""
    num_running: int
    """Trials that the driver has started and that have not ended."""

    @property
    def state(self) -> StudyState:
        """Where it stands."""
        return self.record.state_under(self.holder)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a trial, and where it trained."""

    number: int
    """1 for the first."""
    started_at: float
    """Unix time in seconds."""
    ended_at: float | None
    """Unix time in seconds; absent while it is open."""
    pack: int | None
    """Number of its pack; absent before it has a place."""
    node: str | None
    """Address of that pack's node."""


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """What was shipped of one run to one tracking store."""

    kind: RunKind
    key: str
    run_id: str | None
    """Absent between the intent to create the run and the word that it was created."""
    shipped_measurement: int
    """Row number of the newest measurement that has arrived there; 0 before the first."""
    shipped_state: str
    """What last arrived there, as the tracker words it."""


class Scope(StrEnum):
    """What a token allows."""

    READ = "read"
    """Look at everything."""
    RUN = "run"
    """Create, stop, resume and delete studies, too."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """Who may use the service; the secret itself is never kept."""

    name: str
    scope: Scope
    created_at: float
    """Unix time in seconds."""
    expires_at: float | None
    """Unix time in seconds; absent: never."""
    revoked_at: float | None
    """Unix time in seconds; absent: not revoked."""

    def is_valid(self, now: float) -> bool:
        """Whether it may be used at a Unix time in seconds."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)
