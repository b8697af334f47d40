"""The Ray actor that trains trials, one after the other, on one copy of the base.

Loaded by Ray in every worker process; torch is imported there and not in the driver.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

if TYPE_CHECKING:
    from trainers.trial import Trial
    from trainers.workbench import Workbench

_WORKBENCHES: dict[str, "Workbench"] = {}
"""The bases that this process has loaded, by their workload; in practice one."""


class TrialWorker(tune.Trainable):
    """A Tune trainable whose every step trains to the next report of a trial."""

    def setup(self, config: dict[str, Any]) -> None:
        """Load the base, unless this process has it, and take up the trial.

        Args:
            config: `trial` (key, family, params, seed, steps, keep_adapter), `workload`, `variants` by name,
                `perturbations` of the adapters that are kept, `device`, and the folders `parts_dir`, `cache_dir`,
                `checkpoints_dir` and `adapters_dir`.
        """
        self._trial: Trial | None = None
        self._num_sent = 0
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """Report what is new: everything so far after a restoration, else one more evaluation."""
        trial = self._trial
        if trial is None:
            raise RuntimeError("This worker was asked to train before it was given a trial.")
        if len(trial.reports) == self._num_sent:
            trial.advance()
        fresh = trial.reports[self._num_sent :]
        first, self._num_sent = self._num_sent, len(trial.reports)
        return {
            "first_report": first,
            "reports": [report.to_json() for report in fresh],
            "done": trial.is_over,
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take up another trial in the same process."""
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """Take the adapter off the base."""
        self._leave()

    def _begin(self, config: dict[str, Any]) -> None:
        from trainers.perturbation_kinds import perturbation_from_json
        from trainers.trial import Trial, TrialSetup
        from trainers.workload import Variant

        self._leave()
        planned = config["trial"]
        keeps_adapter = planned["keep_adapter"]
        written = config["variants"].get(planned["family"])
        variant = None if written is None else Variant.model_validate(written)
        setup = TrialSetup(
            key=planned["key"],
            family=planned["family"] if variant is None else variant.of,
            params=planned["params"],
            seed=planned["seed"],
            steps=planned["steps"],
            checkpoint_dir=Path(config["checkpoints_dir"]) / planned["key"],
            adapter_dir=Path(config["adapters_dir"]) / planned["key"] if keeps_adapter else None,
            variant=variant,
            perturbations=tuple(
                perturbation_from_json(one) for one in config["perturbations"] if keeps_adapter
            ),
        )
        self._trial = Trial(setup, _workbench(config))
        self._num_sent = 0

    def _leave(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None


def _workbench(config: dict[str, Any]) -> "Workbench":
    import torch

    from trainers.workbench import open_workbench
    from trainers.workload import Workload

    workload = Workload.model_validate(config["workload"])
    name = workload.model_dump_json()
    if name not in _WORKBENCHES:
        _WORKBENCHES.clear()
        torch.use_deterministic_algorithms(True, warn_only=True)
        _WORKBENCHES[name] = open_workbench(
            workload, Path(config["parts_dir"]), Path(config["cache_dir"]), config["device"]
        )
    return _WORKBENCHES[name]
