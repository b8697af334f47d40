"""The plain data that planner, ledger, runner, tracker and report exchange."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

Param = float | int | str
"""One sampled hyperparameter value."""

CALIBRATED = "calibrated"
"""Kind of the ledger's event that keeps how many lanes pay, and what a study was predicted to take."""
PRECISION = "precision"
"""Kind of the ledger's event that keeps how exact float32 products are, a `trainers.precision.Probe` as JSON."""
CHOICE = "configurations_chosen"
"""Kind of the ledger's event that keeps what each family was tuned to."""

ATTEMPT_FAILED = "attempt_failed"
"""Kind of the ledger's event that a trial's worker failed: `trial`, `reason`, `attempt`, and `log`, its last lines."""
PACK_READY = "pack_ready"
"""Kind of the ledger's event that a pack takes trials: `pack` (its number), `node` (an address) and `lanes`."""
PACKS_AWAITED = "packs_awaited"
"""Kind of the ledger's event that no pack of a launch has started for a while: `told`, a sentence on why."""
PACK_RELEASED = "pack_released"
"""Kind of the ledger's event that a pack was given back: `pack` and `reason`, which is idle, share or ended."""
PACK_LOST = "pack_lost"
"""Kind of the ledger's event that a pack's process ended or cannot get ready: `pack` and `reason`."""
CONNECTED = "connected"
"""Kind of the ledger's event that a launch uses a Ray cluster: `cluster`, the name of that cluster's session."""
STORED = "stored"
"""Kind of the ledger's event that a study keeps files in an object store: `store`, its URL."""
CAPPED = "capped"
"""Kind of the ledger's event that a study reached a limit of its resources: `cap`, `limit` and `used`, in hours."""


class Phase(StrEnum):
    """The phases of a study's protocol, named as in the trial table, in the order in which they run."""

    SEARCH = "search"
    SENSITIVITY = "sensitivity"
    LR_SLICE = "lr_slice"
    FACTOR_SLICE = "factor_slice"
    CONFIRMATION = "confirmation"


class Outcome(StrEnum):
    """How a trial ended. The first three enter the analysis."""

    FINISHED = "finished"
    STOPPED = "stopped"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    INFRA_FAILED = "infra_failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One configuration with one seed, to be trained once."""

    key: str
    """Name within the study, such as `sensitivity/rsgd/r02/p05`; also its folder."""
    phase: Phase
    slice: str
    """Empty, `lr`, the factor that a factor slice varies, the claim whose pairs these are, or, in the confirmation,
    `default`, `lr_up` or `lr_down`."""
    family: str
    replicate: int
    point: int
    seed: int
    """Where everything random in the trial derives from; equal for all families of a pair."""
    params: Mapping[str, Param]
    """Sampled hyperparameters: lr, router_lr, num_experts, top_k, rank, and the family's own."""
    steps: int
    """Optimizer steps at full budget."""

    @cached_property
    def configuration(self) -> str:
        """Short name of (family, params), the same for every seed of a configuration."""
        canonical = json.dumps(dict(self.params), sort_keys=True)
        return hashlib.sha256(f"{self.family}:{canonical}".encode()).hexdigest()[:10]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a trial reported at one step."""

    trial: str
    """Key of the trial."""
    step: int
    """Optimizer steps done; 0 is the adapter as initialised."""
    metrics: Mapping[str, float]
    """Named figures, units in their names; never NaN or infinite."""
    recorded_at: float
    """Unix time in seconds at which the driver received it."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial ended, with its final scores."""

    outcome: Outcome
    steps: int
    """Optimizer steps done."""
    reason: str = ""
    """One sentence, empty for a finished trial."""
    value: float | None = None
    """Loss in nats on the report split; absent when diverged, stopped or lost."""
    select_value: float | None = None
    """Loss in nats on the select split at the last step done."""
    init_value: float | None = None
    """Loss in nats on the report split at initialisation, the cap of the analysis."""
    device_seconds: float = 0.0
    metrics: Mapping[str, float] | None = None
    """Further final figures, such as `report_accuracy`."""


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """A planned trial as the ledger holds it."""

    planned: PlannedTrial
    attempts: int
    """How often it was started."""
    ending: Ending | None
    """Absent while the trial is planned or running."""


@dataclass(frozen=True, kw_only=True)
class RungRecord:
    """One decision of ASHA, kept so that a resumed study decides on the same ground."""

    family: str
    trial: str
    rung: int
    """Optimizer steps of the rung."""
    value: float
    """The finite, capped loss that was compared."""
    cutoff: float | None
    """What it was compared with; absent for the first arrivals."""
    num_recorded: int
    """Trials at the rung when it was decided, this one included."""
    action: str
    """`continue` or `stop`."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a study is."""

    phase: Phase | None
    """The stage that runs; absent before the first."""
    planned: Mapping[Phase, int]
    """Trials of each phase: as planned, or as counted beforehand where a phase has not begun."""
    outcomes: Mapping[Phase, Mapping[Outcome, int]]
    """Trials that have ended, by phase and outcome."""
    running: tuple[str, ...]
    """Keys of the trials that workers hold."""
    steps_done: int
    """Optimizer steps that trials have done, in this launch and before."""
    steps_left: int
    """Optimizer steps that are left at the most: stopping saves some."""
