"""How the search thinned out each family's trials: ASHA's decisions, rung by rung."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from study.records import Outcome, Phase
from study.report.snapshot import TrialRow


@dataclass(frozen=True, kw_only=True)
class RungSummary:
    """One rung of one family's scheduler."""

    rung: int
    """Optimizer steps of the rung."""
    arrived: int
    """Trials that were compared here."""
    continued: int
    stopped: int
    last_cutoff: float | None
    """Select loss in nats that the last arrival was compared with; absent for a first arrival."""


@dataclass(frozen=True, kw_only=True)
class Survival:
    """One family's search trials over optimizer steps."""

    family: str
    num_trials: int
    """Search trials with an outcome of the method: finished, stopped or diverged."""
    steps: tuple[int, ...]
    """Where the number of trials in training falls, from 0 to the full budget."""
    alive: tuple[int, ...]
    """Trials that trained beyond each of `steps`; at the last one, those that reached the full budget."""
    rungs: tuple[RungSummary, ...]
    workload: str = ""
    """Task and base model."""


def survival(family: str, rows: Sequence[TrialRow], rungs: pd.DataFrame) -> Survival:
    """How long one family's search trials lived, and what ASHA decided.

    Args:
        family: the family.
        rows: the family's trials.
        rungs: ASHA's decisions of all families.
    """
    mine = [r for r in rows if r.phase is Phase.SEARCH and r.analysed]
    budget = max((r.steps for r in mine), default=0)
    ends = sorted({0, budget, *(r.steps for r in mine if r.outcome is not Outcome.FINISHED)})
    alive = tuple(sum(r.outcome is Outcome.FINISHED or r.steps > step for r in mine) for step in ends)
    return Survival(
        family=family,
        num_trials=len(mine),
        steps=tuple(ends) if mine else (),
        alive=alive if mine else (),
        rungs=_rungs({r.trial for r in rows if r.phase is Phase.SEARCH}, rungs),
    )


def _rungs(trials: Collection[str], rungs: pd.DataFrame) -> tuple[RungSummary, ...]:
    if rungs.empty:
        return ()
    mine = rungs[rungs["trial"].isin(list(trials))]
    found: list[RungSummary] = []
    for rung in sorted({int(step) for step in mine["rung"]}):
        here = mine[mine["rung"] == rung].sort_values("num_recorded", kind="stable")
        actions = here["action"].tolist()
        cutoffs = [float(c) for c in here["cutoff"].tolist() if c is not None and math.isfinite(c)]
        found.append(
            RungSummary(
                rung=rung,
                arrived=len(actions),
                continued=actions.count("continue"),
                stopped=actions.count("stop"),
                last_cutoff=cutoffs[-1] if cutoffs else None,
            )
        )
    return tuple(found)
