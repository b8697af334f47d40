"""What a study will cost, from its counts and from a few steps timed on this machine.

Every family is timed at its default configuration, so the prediction is for trials of that size; a search costs
at most what is said, since stopping saves steps.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil

from search_spaces import FAMILIES
from study.cluster import fit_packs, this_machine
from study.halving import rung_steps
from study.home import Home
from study.preflight import preflight
from study.protocol import default_params, trial_counts
from study.records import Phase
from study.spec import StudySpec

if TYPE_CHECKING:
    from trainers.workbench import Workbench

NUM_TIMED_STEPS = 3
"""Steps timed per family, after one that warms up."""


def counted_plan(spec: StudySpec) -> dict[str, Any]:
    """How many trials each phase and family will have, as plain JSON."""
    counts = {phase: families for phase, families in trial_counts(spec).items() if any(families.values())}
    return {
        "trial_counts": {phase.value: dict(families) for phase, families in counts.items()},
        "steps_per_trial": spec.training.steps,
        "num_trials": sum(sum(families.values()) for families in counts.values()),
        "device_seconds_per_step": None,
    }


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
    preflight(spec, home, tracking_uri=home.tracking_uri, address=None, say=say)
    plan = counted_plan(spec)
    return plan | _costs(spec, home, plan, say) if measure else plan


def plan_text(plan: dict[str, Any]) -> str:
    """The plan as lines for a terminal."""
    lines = [f"{plan['num_trials']} trials of {plan['steps_per_trial']} steps:"]
    for phase, families in plan["trial_counts"].items():
        shown = ", ".join(f"{family} {number}" for family, number in families.items())
        lines.append(f"  {phase:<13} {sum(families.values()):>5}  ({shown})")
    if plan["device_seconds_per_step"] is None:
        return "\n".join(lines)
    lines.append("Device-seconds, at the most:")
    for phase, families in plan["device_seconds"].items():
        shown = ", ".join(f"{family} {seconds:.0f}" for family, seconds in families.items())
        lines.append(f"  {phase:<13} {sum(families.values()):>7.0f}  ({shown})")
    here = f"{plan['packs_here']} packs on this machine at most {plan['hours_here']:.2f} hours"
    lines += [
        f"In all at most {plan['device_hours']:.2f} device-hours; with {here}.",
        f"Memory of a pack: {plan['pack_bytes'] / 2**30:.2f} GiB.",
        "Equal budgets: every family has the same trials and steps in every phase.",
    ]
    return "\n".join(lines)


def _costs(spec: StudySpec, home: Home, plan: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Device-seconds by phase and family, from timed steps."""
    say("Timing a few steps of every family here.")
    speeds, evaluation_s, first_s, pack_bytes = _measure(spec, home, say)
    training = spec.training
    num_evaluations = -(-training.steps // training.eval_every)
    seconds: dict[str, dict[str, float]] = {}
    for phase, families in plan["trial_counts"].items():
        fraction = _search_fraction(spec) if phase == Phase.SEARCH.value else 1.0
        seconds[phase] = {
            family: number
            * fraction
            * (
                training.steps * speeds[family]
                + num_evaluations * evaluation_s["select"]
                + evaluation_s["report"]
            )
            for family, number in families.items()
        }
    total = sum(sum(families.values()) for families in seconds.values())
    packs = fit_packs(spec.resources, this_machine(count_gpus=True)).number
    return {
        "device_seconds_per_step": speeds,
        "device_seconds": seconds,
        "device_hours": total / 3600,
        "packs_here": packs,
        "hours_here": (total / packs + first_s) / 3600,
        "pack_bytes": pack_bytes,
    }


def _search_fraction(spec: StudySpec) -> float:
    """Mean share of the full budget that successive halving spends on a search trial, if one in `reduction` passes."""
    search, steps = spec.phases.search, spec.training.steps
    if search is None:
        return 1.0
    edges = (*rung_steps(search.grace_steps, search.reduction, steps), steps)
    spent, share, before = 0.0, 1.0, 0
    for edge in edges:
        spent += share * (edge - before)
        share, before = share / search.reduction, edge
    return spent / steps


def _measure(
    spec: StudySpec, home: Home, say: Callable[[str], None]
) -> tuple[dict[str, float], dict[str, float], float, int]:
    """Seconds a step by family, seconds an evaluation by split, seconds to load, bytes of a pack."""
    import torch

    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    from trainers.workbench import open_workbench

    torch.set_num_threads(spec.resources.cpus_per_pack)
    device = torch.device(fit_packs(spec.resources, this_machine(count_gpus=True)).device)
    before = time.perf_counter()
    bench = open_workbench(spec.workload, home.parts_dir, home.cache_dir, device)
    first_s = time.perf_counter() - before
    speeds = {}
    for family, params in default_params(spec).items():
        speeds[family] = _seconds_per_step(spec, bench, family, dict(params))
        say(f"{family}: {speeds[family]:.3f} s a step ({FAMILIES[family].summary}).")
    evaluation_s = {}
    for split in ("select", "report"):
        before = time.perf_counter()
        bench.score_base(split)
        evaluation_s[split] = time.perf_counter() - before
    used = torch.cuda.max_memory_allocated() if device.type == "cuda" else psutil.Process().memory_info().rss
    return speeds, evaluation_s, first_s, int(used)


def _seconds_per_step(spec: StudySpec, bench: "Workbench", family: str, params: dict[str, Any]) -> float:
    """Median seconds of an optimizer step at a configuration."""
    from trainers.trial import Trial, TrialSetup

    with TemporaryDirectory() as folder:
        setup = TrialSetup(
            key="timing",
            family=family,
            params=params,
            seed=0,
            steps=spec.training.steps,
            checkpoint_dir=Path(folder),
            adapter_dir=None,
        )
        trial = Trial(setup, bench)
        try:
            return trial.seconds_per_step(NUM_TIMED_STEPS)
        finally:
            trial.close()
