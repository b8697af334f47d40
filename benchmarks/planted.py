"""A study of any size whose trials report planted losses: what the driver does can be timed without training."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search_spaces.designs import derived_seed
from study.records import PlannedTrial
from study.spec import StudySpec, parse_spec
from trainers.reports import Report, TrialEnding

FAMILIES = ("sgd", "rsgd", "grsgd", "adamw", "radamw", "gradamw")
INIT_NATS = 1.0
DIVERGED_FRAC = 0.05


def planted_spec(
    *, scale: float = 1.0, steps: int = 200, eval_every: int = 20, name: str = "planted"
) -> StudySpec:
    """A study of the standard tier over the paper's six families.

    Args:
        scale: by what its trials are multiplied; 1 has about 2,800 and 4 about 11,000.
        steps: optimizer steps of a trial.
        eval_every: steps between two measurements.
        name: the study's.
    """

    def scaled(number: int, least: int) -> int:
        return max(least, round(number * scale))

    phases = {
        "search": {"trials": scaled(32, 4)},
        "sensitivity": {"replicates": scaled(10, 1)},
        "confirmation": {
            "seeds": scaled(30, 2),
            "default_seeds": scaled(5, 0),
            "perturbed_seeds": scaled(5, 0),
        },
    }
    return _spec(name, FAMILIES, phases, steps, eval_every)


def short_spec(*, search: int, seeds: int, steps: int, eval_every: int, name: str) -> StudySpec:
    """A study of two families without a design, of 2 x (search + seeds) trials.

    Args:
        search: trials of each family's search; 0 for none.
        seeds: of each family's confirmation.
        steps: optimizer steps of a trial.
        eval_every: steps between two measurements.
        name: the study's.
    """
    phases = {
        "search": {"trials": search} if search else None,
        "sensitivity": None,
        "confirmation": {"seeds": seeds, "default_seeds": 0, "perturbed_seeds": 0},
    }
    return _spec(name, FAMILIES[:2], phases, steps, eval_every)


def planted_life(trial: PlannedTrial, eval_every: int) -> list[Report]:
    """Every report of a trial, as a function of its key: an exponential decay to a level of its own.

    One trial in twenty diverges at a measurement. Metrics are as many as a real trial reports.
    """
    level, rate, fate, when = (_number(trial.key, name) for name in ("level", "rate", "fate", "when"))
    diverges_at = trial.steps * when if fate < DIVERGED_FRAC else math.inf
    reports: list[Report] = []
    for step in _measured_steps(trial.steps, eval_every):
        fallen = 1 - math.exp(-(1 + 4 * rate) * step / trial.steps)
        loss = INIT_NATS - (0.1 + 0.7 * level) * fallen
        metrics = _metrics(loss, step)
        if step > diverges_at:
            return [*reports, Report(step=step, metrics=metrics, ending=_ending("diverged", None))]
        ending = _ending("finished", loss) if step == trial.steps else None
        reports.append(Report(step=step, metrics=metrics, ending=ending))
    return reports


def _spec(
    name: str, families: Sequence[str], phases: Mapping[str, Any], steps: int, eval_every: int
) -> StudySpec:
    document = {
        "name": name,
        "seed": 3,
        "base": {"model": "path:/models/none"},
        "task": {"name": "vader_movie"},
        "training": {"steps": steps, "batch": 8, "eval_every": eval_every, "max_evaluation_share": 1.0},
        "families": list(families),
        "tier": "standard",
        "phases": dict(phases),
    }
    return parse_spec(document, source="a planted study")


def _number(*parts: str) -> float:
    """A number in [0, 1) that depends on `parts` alone."""
    return derived_seed(*parts) / 2**63


def _measured_steps(steps: int, eval_every: int) -> Iterator[int]:
    yield from range(0, steps, eval_every)
    yield steps


def _metrics(loss: float, step: int) -> dict[str, float]:
    metrics = {
        "select_loss_nats": loss,
        "select_accuracy": 0.5,
        "train_loss_nats": loss,
        "gradient_norm": loss,
        "router_gradient_norm": 0.1 * loss,
        "clipped_frac": 0.0,
        "router_entropy_nats": 1.0,
        "dead_experts_frac": 0.0,
        "step_s": 0.25,
        "device_s": 0.25 * step,
    }
    return metrics | {"init_loss_nats": INIT_NATS} if step == 0 else metrics


def _ending(outcome: str, loss: float | None) -> TrialEnding:
    return TrialEnding(
        outcome="finished" if outcome == "finished" else "diverged",
        reason="" if outcome == "finished" else "The loss exploded.",
        value=loss,
        select_value=loss,
        init_value=INIT_NATS,
        metrics={"report_accuracy": 0.5, "select_accuracy": 0.5} if loss is not None else {},
    )
