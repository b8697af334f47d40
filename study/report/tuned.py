"""The answer's numbers: each family's tuned configuration on fresh seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.records import Outcome, Param, Phase
from study.report.estimates import Estimate, mean_estimate
from study.report.snapshot import TrialRow


@dataclass(frozen=True, kw_only=True)
class TunedResult:
    """One family after its search."""

    family: str
    params: Mapping[str, Param]
    """The tuned configuration; empty while no search trial has finished."""
    source: str
    """`confirmation`, `search` or, with nothing finished, `none`."""
    loss: Estimate | None
    """Capped report loss in nats over the confirmation's seeds, with Student's t-interval."""
    seed_losses: tuple[float, ...]
    """What the estimate is the mean of, by replicate."""
    accuracy: Estimate | None
    """Report accuracy over the seeds that have one; a diverged trial has none."""
    init_loss: float | None
    """Mean report loss in nats at initialisation, the cap."""
    num_seeds: int
    """Confirmation trials of this configuration, ended or not."""
    num_diverged: int
    search_loss: float | None
    """Lowest select loss of the search: a minimum over trials, therefore too low."""
    num_search: int
    """Search trials that finished at full budget."""
    workload: str = ""
    """Task and base model."""


def tuned_results(rows: Sequence[TrialRow], families: Sequence[str]) -> tuple[TunedResult, ...]:
    """The tuned result of every family, in the order given."""
    return tuple(_result(family, [r for r in rows if r.family == family]) for family in families)


def best_search_trial(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The search trial with the lowest select loss at full budget; ties go to the lower key."""
    finished = [
        r
        for r in rows
        if r.phase is Phase.SEARCH and r.outcome is Outcome.FINISHED and r.select_value is not None
    ]
    return min(finished, key=lambda r: (r.select_value, r.trial), default=None)


def confirmation_trials(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """One family's confirmation trials of its tuned configuration: the one with the most seeds."""
    groups: dict[tuple[tuple[str, Param], ...], list[TrialRow]] = {}
    for row in rows:
        if row.phase is Phase.CONFIRMATION and not row.extra:
            groups.setdefault(tuple(sorted(row.params.items())), []).append(row)
    most = max(groups.values(), key=len) if groups else []
    return sorted(most, key=lambda r: r.replicate)


def _result(family: str, rows: Sequence[TrialRow]) -> TunedResult:
    best = best_search_trial(rows)
    seeds = confirmation_trials(rows)
    losses = tuple(r.capped for r in seeds if r.capped is not None)
    accuracies = [r.report_accuracy for r in seeds if r.report_accuracy is not None and r.analysed]
    inits = [r.init_value for r in seeds if r.init_value is not None and r.analysed]
    init = mean_estimate(inits)
    return TunedResult(
        family=family,
        params=seeds[0].params if seeds else best.params if best else {},
        source="confirmation" if seeds else "search" if best else "none",
        loss=mean_estimate(losses, bounds=(0.0, float("inf"))),
        seed_losses=losses,
        accuracy=mean_estimate(accuracies, bounds=(0.0, 1.0)),
        init_loss=init.mean if init else None,
        num_seeds=len(seeds),
        num_diverged=sum(r.outcome is Outcome.DIVERGED for r in seeds),
        search_loss=best.select_value if best else None,
        num_search=sum(r.phase is Phase.SEARCH and r.outcome is Outcome.FINISHED for r in rows),
    )
