"""What a study will cost, from its counts and from a few steps timed on this machine.

Every family is timed at its default configuration, so the prediction is for trials of that size.
"""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from study.cluster import Packs, fit_packs, this_machine
from study.home import Home
from study.prediction import most_lanes, predicted, quickest_lanes
from study.preflight import preflight, with_claims
from study.protocol import DEFAULT, LR_DOWN, LR_UP, slice_counts, trial_counts
from study.records import Phase
from study.spec import StudySpec

if TYPE_CHECKING:
    from trainers.calibrated import Calibration
    from trainers.trial_setup import TrialSetup
    from trainers.workbench import Workbench

NUM_TIMED_STEPS = 3
"""Steps timed per family, after one that warms up."""
ALPHA, POWER = 0.05, 0.8
"""At what two-sided level and with what power an effect counts as detectable."""
FEWEST_UNITS = 3
"""With fewer pairs only effects of many standard deviations are found."""
EFFECT_TOLERANCE_SD = 1e-4
EFFECTS_HEAD = "Smallest difference of pairs found with power 0.8 at 5 %, in their standard deviations:"


def counted_plan(spec: StudySpec) -> dict[str, Any]:
    """How many trials each phase and family will have, as plain JSON.

    `trial_counts` has every trial of a phase; `beside_counts` says which of these stand beside the phase proper: at a
    claim's transformed hyperparameters, at the defaults, or half a decade off the tuned learning rate.
    """
    counts = {phase: families for phase, families in trial_counts(spec).items() if any(families.values())}
    beside = {
        f"{phase.value}/{name}": dict(families)
        for (phase, name), families in slice_counts(spec).items()
        if phase in {Phase.SENSITIVITY, Phase.CONFIRMATION} and name and any(families.values())
    }
    return {
        "trial_counts": {phase.value: dict(families) for phase, families in counts.items()},
        "beside_counts": beside,
        "steps_per_trial": spec.training.steps,
        "num_trials": sum(sum(families.values()) for families in counts.values()),
        "device_seconds_per_step": None,
    }


def smallest_effects(spec: StudySpec) -> dict[str, dict[str, Any]]:
    """What each phase can show, as plain JSON.

    By phase its units and their number `n`; `effect_sd`, the smallest mean difference of pairs, in their standard
    deviations, that a paired t-test finds with power 0.8 at 5 % (null with fewer than three units); and
    `smallest_p`, the least p that a sign-flip test can give.
    """
    from study.statistics.power import smallest_p

    sensitivity, confirmation = spec.phases.sensitivity, spec.phases.confirmation
    units: dict[Phase, tuple[str, int]] = {}
    if sensitivity:
        read = {Phase.SENSITIVITY: True, Phase.LR_SLICE: sensitivity.lr_slice is not None}
        read[Phase.FACTOR_SLICE] = bool(sensitivity.factor_slices)
        units |= {phase: ("replicates", sensitivity.replicates) for phase, is_read in read.items() if is_read}
    if confirmation:
        units[Phase.CONFIRMATION] = ("seeds", confirmation.seeds)
    return {
        phase.value: {"unit": unit, "n": n, "effect_sd": _smallest_effect(n), "smallest_p": smallest_p(n)}
        for phase, (unit, n) in units.items()
    }


def _smallest_effect(n: int) -> float | None:
    from study.statistics.power import paired_power

    if n < FEWEST_UNITS:
        return None

    def is_found(effect_sd: float) -> bool:
        power = paired_power(effect_sd, 1.0, n, ALPHA)
        return power >= POWER or math.isnan(power)  # SciPy gives up where the power is all but 1

    low, high = 0.0, 1.0
    while not is_found(high):
        low, high = high, 2 * high
    while high - low > EFFECT_TOLERANCE_SD:
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def plan_study(
    spec: StudySpec, home: Home, *, say: Callable[[str], None], measure: bool = True
) -> dict[str, Any]:
    """A study's plan as plain JSON; see `plan_text` for what it holds.

    Args:
        spec: a loaded study.
        home: where packaged parts are kept.
        say: receives the progress of downloads and measurements.
        measure: time steps on this machine; otherwise count only.

    Raises:
        SpecError: something in the study or its surroundings is wrong.
    """
    spec = with_claims(spec)
    preflight(spec, home, tracking_uri=home.tracking_uri, address=None, say=say)
    plan = counted_plan(spec) | {"smallest_effects": smallest_effects(spec)}
    return plan | _costs(spec, home, say) if measure else plan


def plan_text(plan: dict[str, Any]) -> str:
    """The plan as lines for a terminal."""
    lines = [f"{plan['num_trials']} trials of {plan['steps_per_trial']} steps:"]
    for phase, families in plan["trial_counts"].items():
        lines.append(f"  {phase:<13} {sum(families.values()):>5}  ({_listed(families)})")
        beside = {
            place: numbers for place, numbers in plan["beside_counts"].items() if place.startswith(phase)
        }
        for place, numbers in beside.items():
            told = (
                f"{max(numbers.values())} of each family"
                if numbers.keys() == families.keys()
                else _listed(numbers)
            )
            lines.append(f"    of these {_beside(place.partition('/')[2])}: {told}")
    lines += _effect_lines(plan["smallest_effects"])
    if plan["device_seconds_per_step"] is None:
        return "\n".join(lines)
    lines += _speed_lines(plan)
    lines.append("Device-seconds, at the most:")
    for phase, families in plan["device_seconds"].items():
        lines.append(f"  {phase:<13} {sum(families.values()):>7.0f}  ({_listed(families)})")
    here = f"{_counted(plan['packs_here'], 'pack')} of {_counted(plan['lanes'], 'lane')} on this machine"
    paired = any(place.startswith(Phase.SENSITIVITY) for place in plan["beside_counts"])
    but = ", but for those that claims pair" if paired else ""
    lines += [
        f"In all at most {plan['device_hours']:.2f} device-hours; with {here} at most {plan['hours_here']:.2f} hours.",
        f"Memory of a pack: {plan['pack_bytes'] / 2**30:.2f} GiB.",
        f"Equal budgets: every family has the same trials and steps in every phase{but}.",
    ]
    return "\n".join(lines)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _speed_lines(plan: dict[str, Any]) -> list[str]:
    """Trial-steps per second at each number of lanes that was tried."""
    speeds = plan["steps_per_second"]
    lines = ["Trial-steps per second of a pack, by trials that share its base:"]
    lines += [f"  {_counted(int(lanes), 'lane'):<13} {speed:>7.2f}" for lanes, speed in speeds.items()]
    return lines


def _listed(figures: dict[str, float]) -> str:
    return ", ".join(f"{family} {figure:.0f}" for family, figure in figures.items())


def _beside(slice_name: str) -> str:
    """What the trials of a slice are, after `of these`."""
    moved = "with the tuned learning rate half a decade"
    known = {DEFAULT: "at the defaults", LR_UP: f"{moved} up", LR_DOWN: f"{moved} down"}
    return known.get(slice_name, f"at the hyperparameters that claim {slice_name} pairs")


def _effect_lines(effects: dict[str, dict[str, Any]]) -> list[str]:
    """What each phase can show."""
    lines = []
    for phase, found in effects.items():
        size = "none" if found["effect_sd"] is None else f"{found['effect_sd']:.2f}"
        cannot = f"; the least p is {found['smallest_p']:.2g}, so no test can reject" * (
            found["smallest_p"] > ALPHA
        )
        lines.append(f"  {phase:<13} {size:>5}  ({found['n']} {found['unit']}{cannot})")
    return [EFFECTS_HEAD, *lines] if lines else []


def _costs(spec: StudySpec, home: Home, say: Callable[[str], None]) -> dict[str, Any]:
    """Device-seconds by phase and family and the study's duration here, from timed steps."""
    packs = fit_packs(spec.resources, this_machine(count_gpus=True))
    speeds, calibration = _measure(spec, home, packs, say)
    lanes = spec.resources.lanes
    if lanes == "auto":
        lanes = quickest_lanes(spec, calibration, packs=packs.number, cpus=packs.cpus)
    expected = predicted(spec, calibration, packs=packs.number, lanes=lanes, solo_s=speeds)
    return {
        "device_seconds_per_step": speeds,
        "calibration": calibration.to_json(),
        "steps_per_second": {
            str(tried): calibration.steps_per_second(tried) for tried in sorted(calibration.step_s)
        },
        "lanes": lanes,
        "device_seconds": expected["device_seconds"],
        "device_hours": expected["device_hours"],
        "packs_here": packs.number,
        "seconds_here": expected["seconds"],
        "hours_here": expected["hours"],
        "pack_bytes": calibration.memory_bytes,
    }


def _measure(
    spec: StudySpec, home: Home, packs: Packs, say: Callable[[str], None]
) -> tuple[dict[str, float], "Calibration"]:
    """Seconds of a lone trial's step by family, and what lanes, evaluations and loading cost."""
    import torch

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    from trainers.calibration import calibrate
    from trainers.workbench import open_workbench

    torch.set_num_threads(spec.resources.cpus_per_pack)
    before = time.perf_counter()
    bench = open_workbench(spec.workload, home.parts_dir, home.cache_dir, torch.device(packs.device))
    load_s = time.perf_counter() - before
    say("Timing a few steps of every family here.")
    with TemporaryDirectory() as folder:
        trials = [_timed(spec, family, Path(folder)) for family in spec.families]
        speeds = {}
        for family, trial in zip(spec.families, trials, strict=True):
            speeds[family] = _seconds_per_step(trial, bench)
            say(f"{family}: {speeds[family]:.3f} s a step ({spec.summary(family)}).")
        asked = spec.resources.lanes
        most = most_lanes(spec, packs.number) if asked == "auto" else asked
        if most > 1:
            say("Timing steps of several trials that share the base.")
        calibration = calibrate(bench, trials, most_lanes=most, num_packs=packs.number, say=say)
    return speeds, replace(calibration, load_s=load_s)


def _seconds_per_step(setup: "TrialSetup", bench: "Workbench") -> float:
    """Median seconds of an optimizer step."""
    from trainers.trial import Trial

    trial = Trial(setup, bench)
    try:
        return trial.seconds_per_step(NUM_TIMED_STEPS)
    finally:
        trial.close()


def _timed(spec: StudySpec, family: str, folder: Path) -> "TrialSetup":
    """A trial of a family at its defaults that keeps nothing."""
    from trainers.trial_setup import TrialSetup

    variant = spec.variants.get(family)
    return TrialSetup(
        key="timing",
        family=family if variant is None else variant.of,
        params=spec.defaults(family),
        seed=0,
        steps=spec.training.steps,
        checkpoint_dir=folder / family,
        adapter_dir=None,
        variant=variant,
    )
