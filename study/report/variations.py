"""Tuned configurations beside their neighbours: defaults, a shifted learning rate, perturbations at inference.

Everything here describes; a claim may test some of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.records import Outcome, Param, Phase
from study.report.estimates import Estimate, mean_estimate
from study.report.snapshot import TrialRow
from study.report.tuned import confirmation_trials

TUNED = "tuned"
VARIANTS = {
    TUNED: "tuned",
    "default": "defaults",
    "lr_up": "tuned, learning rate raised",
    "lr_down": "tuned, learning rate lowered",
}
"""Slice of the confirmation → what it is."""


@dataclass(frozen=True, kw_only=True)
class Variation:
    """One family at one configuration beside its tuned one, on fresh seeds."""

    family: str
    kind: str
    """Key of `VARIANTS`."""
    params: Mapping[str, Param]
    loss: Estimate | None
    """Capped report loss in nats over seeds, with Student's t-interval."""
    num_diverged: int
    workload: str = ""


@dataclass(frozen=True, kw_only=True)
class Perturbed:
    """One family's tuned trials under one perturbation at inference."""

    family: str
    name: str
    loss: Estimate | None
    """Report loss in nats when perturbed, over seeds."""
    drop: Estimate | None
    """Perturbed minus unperturbed report loss in nats, seed by seed."""
    accuracy_drop: Estimate | None
    """Unperturbed minus perturbed report accuracy, seed by seed, as a fraction."""
    workload: str = ""


def variations(family: str, rows: Sequence[TrialRow], workload: str = "") -> tuple[Variation, ...]:
    """A family's tuned configuration and what was confirmed beside it; empty where nothing was beside it."""
    groups = {
        kind: [r for r in rows if r.phase is Phase.CONFIRMATION and r.slice == kind] for kind in VARIANTS
    }
    if not any(groups.values()):
        return ()
    groups[TUNED] = confirmation_trials(rows)
    return tuple(
        Variation(
            family=family,
            kind=kind,
            params=mine[0].params,
            loss=mean_estimate([r.capped for r in mine if r.capped is not None], bounds=(0.0, math.inf)),
            num_diverged=sum(r.outcome is Outcome.DIVERGED for r in mine),
            workload=workload,
        )
        for kind, mine in groups.items()
        if mine
    )


def perturbations(family: str, rows: Sequence[TrialRow], workload: str = "") -> tuple[Perturbed, ...]:
    """A family's tuned trials under every perturbation that was tried."""
    tuned = confirmation_trials(rows)
    names = list(dict.fromkeys(name for r in tuned for name in r.perturbed))
    return tuple(
        Perturbed(
            family=family,
            name=name,
            loss=mean_estimate(
                [r.perturbed[name]["loss"] for r in tuned if "loss" in r.perturbed.get(name, {})]
            ),
            drop=mean_estimate(
                [
                    r.perturbed[name]["loss"] - r.value
                    for r in tuned
                    if r.value is not None and "loss" in r.perturbed.get(name, {})
                ]
            ),
            accuracy_drop=mean_estimate(
                [
                    r.report_accuracy - r.perturbed[name]["accuracy"]
                    for r in tuned
                    if r.report_accuracy is not None and "accuracy" in r.perturbed.get(name, {})
                ]
            ),
            workload=workload,
        )
        for name in names
    )
