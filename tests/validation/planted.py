"""Planted truths for studies that are really run: losses that a simulated trainable reports instead of training.

`life` is what `tests.study.simulation.World` and a stand-in for the trial worker both take: every report of a trial, a
function of its family, hyperparameters and seed alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from search_spaces import FAMILIES, LogFloat, Param, derived_seed
from study.records import PlannedTrial
from tests.validation.surface import INIT, STEPS, Surface, draw_noise
from trainers.reports import Report, TrialEnding

BASELINE = Surface(name="adamw")
"""What the others are compared with; the centres are moved to the middle of each family's own space."""
WIDER = replace(BASELINE, width=3.2, diverge_above=2.4)
"""Supported: a wider basin of the same depth."""
SHIFTED = replace(BASELINE, center=BASELINE.center + 0.4)
"""Equivalent in width: the same basin at another learning rate."""
WORSE = replace(BASELINE, floor=1.4)
"""Refuted: the same basin, less deep."""
NOISY = replace(BASELINE, floor=0.97, noise=0.6)
"""Inconclusive: hardly better, and too noisy to tell."""
UNSTABLE = replace(BASELINE, diverge_above=0.5)
"""Diverges soon above its best learning rate, with NaN."""
PLANTED: Mapping[str, Surface] = MappingProxyType(
    {
        "baseline": BASELINE,
        "wider": WIDER,
        "shifted": SHIFTED,
        "worse": WORSE,
        "noisy": NOISY,
        "unstable": UNSTABLE,
    }
)


@dataclass(frozen=True, kw_only=True)
class Planted:
    """What one trial comes to. Losses in nats."""

    loss: float
    """On the report split; NaN where it diverged."""
    select_loss: float
    """On the select split; NaN where it diverged."""
    diverged: bool


def at_home(surface: Surface, family: str) -> Surface:
    """The surface under a real family's name, its centre in the middle of that family's learning rates."""
    lr = FAMILIES[family].space.dimensions["lr"]
    if not isinstance(lr, LogFloat):
        raise TypeError(f"Family {family} has no range of learning rates.")
    middle = (math.log10(lr.low) + math.log10(lr.high)) / 2
    return replace(surface, name=family, center=middle + surface.center - BASELINE.center)


def planted_loss(surface: Surface, params: Mapping[str, Param], seed: int) -> Planted:
    """A trial's end: the same for the same arguments, and its shared noise the same for every family of a seed."""
    own = np.random.default_rng(derived_seed("planted", surface.name, seed, f"{params['lr']:.10g}"))
    shared = np.random.default_rng(derived_seed("planted", "shared", seed)).standard_normal()
    decade = np.asarray(math.log10(float(params["lr"])))
    others = {name: np.asarray(float(params[name])) for name in surface.slopes if name in params}
    draws = draw_noise(surface.noise_kind, (1,), own)[0], own.standard_normal(), own.random()
    loss = float(surface.expected(decade, others)) + surface.noise * draws[0] + surface.shared_noise * shared
    if draws[2] < float(surface.divergence(decade)):
        return Planted(loss=math.nan, select_loss=math.nan, diverged=True)
    return Planted(loss=loss, select_loss=loss + surface.select_noise * draws[1], diverged=False)


def life(surfaces: Mapping[str, Surface], trial: PlannedTrial, *, eval_every: int) -> list[Report]:
    """Every report of a trial of one of `surfaces` (by family): a diverged one ends at the middle of its steps."""
    surface = surfaces[trial.family]
    end = planted_loss(surface, trial.params, trial.seed)
    final = INIT if end.diverged else min(end.select_loss, 2 * INIT)
    reports = []
    for step in (*range(0, trial.steps, eval_every), trial.steps):
        done = float(surface.progress(STEPS * step / trial.steps))
        metrics: dict[str, Any] = {"select_loss_nats": INIT - (INIT - final) * done, "device_s": 0.01 * step}
        if step == 0:
            metrics["init_loss_nats"] = INIT
        if end.diverged and 2 * step >= trial.steps:
            return [*reports, Report(step=step, metrics={"device_s": 0.01 * step}, ending=_diverged())]
        ending = _finished(end) if step == trial.steps else None
        reports.append(Report(step=step, metrics=metrics, ending=ending))
    return reports


def _finished(end: Planted) -> TrialEnding:
    return TrialEnding(
        outcome="finished",
        reason="",
        value=end.loss,
        select_value=end.select_loss,
        init_value=INIT,
        metrics={"report_accuracy": math.exp(-end.loss)},
    )


def _diverged() -> TrialEnding:
    return TrialEnding(
        outcome="diverged",
        reason="The loss is not finite.",
        value=None,
        select_value=None,
        init_value=INIT,
        metrics={},
    )
