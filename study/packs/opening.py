"""What a pack's thread does with plain data from the driver: it loads the base and builds trials. Loads torch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.errors import SpecError
from study.node_probe import identity
from trainers.calibration import calibrate
from trainers.device import prepare_device
from trainers.perturbation_kinds import perturbation_from_json
from trainers.places import folder_at
from trainers.trial_setup import TrialSetup
from trainers.workbench import Workbench, open_workbench
from trainers.workload import Variant, Workload


def open_bench(study: Mapping[str, Any], num_threads: int) -> Workbench:
    """Load the base and the encoded text, once in a process.

    Args:
        study: as `study.packs.actor.PackActor` is given it.
        num_threads: how many of torch's threads run one operation.

    Raises:
        SpecError: the base or the text is not what the study says.
        RetryableError: a part could not be fetched.
    """
    _require_the_drivers_code(study.get("expects"))
    prepare_device(study["device"], num_threads)
    workload = Workload.model_validate(study["workload"])
    return open_workbench(workload, Path(study["parts_dir"]), Path(study["cache_dir"]), study["device"])


def _require_the_drivers_code(expected: Mapping[str, str] | None) -> None:
    """Refuse a node that came after the launch had looked at all of them, and is not like the driver's machine."""
    here = identity() if expected else {}
    for name, version in (expected or {}).items():
        if here[name] != version:
            raise SpecError(
                f"This node has {name} {here[name][:12]}, but the driver's machine has {version[:12]}: "
                "install the same on every node."
            )


def trial_setup(study: Mapping[str, Any], planned: Mapping[str, Any]) -> TrialSetup:
    """A trial as a pack takes it.

    Args:
        study: as `study.packs.actor.PackActor` is given it.
        planned: `key`, `family`, `params`, `seed`, `steps` and `keep_adapter`.
    """
    keeps_adapter = planned["keep_adapter"]
    written = study["variants"].get(planned["family"])
    variant = None if written is None else Variant.model_validate(written)
    return TrialSetup(
        key=planned["key"],
        family=planned["family"] if variant is None else variant.of,
        params=planned["params"],
        seed=planned["seed"],
        steps=planned["steps"],
        checkpoint_dir=folder_at(study["checkpoints_dir"]) / planned["key"],
        adapter_dir=folder_at(study["adapters_dir"]) / planned["key"] if keeps_adapter else None,
        variant=variant,
        perturbations=tuple(perturbation_from_json(one) for one in study["perturbations"] if keeps_adapter),
    )


def calibrate_bench(
    bench: Workbench,
    study: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    *,
    most_lanes: int,
    num_packs: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """What `trainers.calibration.calibrate` finds, as JSON; arguments as for it and for `PackActor.calibrate`."""
    setups = [trial_setup(study, planned) for planned in trials]
    return calibrate(bench, setups, most_lanes=most_lanes, num_packs=num_packs, say=say).to_json()
