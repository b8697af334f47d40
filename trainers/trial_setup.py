"""What a trial is: all that decides its measurements, as plain data."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from trainers.perturbation_kinds import Perturbation
from trainers.places import Folder
from trainers.workbench import Workbench
from trainers.workload import Variant


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """All that decides a trial's measurements, besides the workload."""

    key: str
    family: str
    """A family of `search_spaces`; a variant's is the one that it is of."""
    params: Mapping[str, float | int | str]
    """lr, router_lr, num_experts, top_k, rank, and the family's own."""
    seed: int
    steps: int
    """Optimizer steps at full budget."""
    checkpoint_dir: Folder
    """The trial's own folder for checkpoints."""
    adapter_dir: Folder | None
    """Where the finished adapter is saved in PEFT's format; None: not kept."""
    variant: Variant | None = None
    """What is fixed otherwise than in the family; None: nothing."""
    perturbations: tuple[Perturbation, ...] = ()
    """Under what the finished adapter is scored again."""

    def digest(self, workbench: Workbench) -> str:
        """SHA-256 over all that decides the measurements, so that no foreign checkpoint is continued."""
        workload = workbench.workload.model_dump(mode="json")
        del workload["training"]["max_evaluation_share"]  # refuses studies, and changes none
        workload["base"] = workbench.workload.base.decisive
        facts = {
            "family": self.family,
            "params": dict(self.params),
            "seed": self.seed,
            "steps": self.steps,
            "workload": workload,
            "base": workbench.foundation.digest,
            "data": workbench.data.digest,
        }
        if self.variant is not None:
            facts["variant"] = self.variant.settings
        if self.perturbations:
            facts["perturbations"] = [perturbation.name for perturbation in self.perturbations]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
