"""What the study cost, and the evidence that the families had equal budgets and met on equal ground."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.records import Outcome, Phase
from study.report.accounting import PHASE_TITLES
from study.report.snapshot import TrialRow


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one family spent in one phase."""

    phase: Phase
    family: str
    trials: int
    """Trials that have started."""
    steps: int
    """Optimizer steps done."""
    device_seconds: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """One property of the design, looked up in the data."""

    name: str
    holds: bool | None
    """None: there is nothing to look at yet."""
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Compute and its fairness."""

    costs: tuple[Cost, ...]
    """By phase, then family, where anything was spent."""
    checks: tuple[Check, ...]


def budget(rows: Sequence[TrialRow], *, families: Sequence[str], spec: Mapping[str, Any]) -> Budget:
    """Sum up the cost and look up what must be equal between families."""
    groups = [(p, f, [r for r in rows if r.phase is p and r.family == f]) for p in Phase for f in families]
    costs = tuple(
        Cost(
            phase=phase,
            family=family,
            trials=sum(r.steps > 0 or r.outcome is not None for r in mine),
            steps=sum(r.steps for r in mine),
            device_seconds=sum(r.device_seconds for r in mine),
        )
        for phase, family, mine in groups
        if any(r.steps > 0 or r.device_seconds > 0 for r in mine)
    )
    checks = (
        _equal_search(rows, families),
        _equal_steps(rows, spec),
        _paired(rows, families, Phase.SENSITIVITY),
        _paired(rows, families, Phase.CONFIRMATION),
        _disjoint(rows),
    )
    return Budget(costs=costs, checks=checks)


def _equal_search(rows: Sequence[TrialRow], families: Sequence[str]) -> Check:
    name = "Every family searches with the same number of trials"
    counts = {f: sum(r.phase is Phase.SEARCH and r.family == f for r in rows) for f in families}
    if not any(counts.values()):
        return Check(name=name, holds=None, evidence="The search has no trial yet.")
    if len(set(counts.values())) == 1:
        return Check(name=name, holds=True, evidence=f"{next(iter(counts.values()))} trials each.")
    listed = ", ".join(f"{family} {number}" for family, number in counts.items())
    return Check(name=name, holds=False, evidence=f"Trials differ: {listed}.")


def _equal_steps(rows: Sequence[TrialRow], spec: Mapping[str, Any]) -> Check:
    name = "Every finished trial ran the same number of optimizer steps"
    steps = {r.steps for r in rows if r.outcome is Outcome.FINISHED}
    if not steps:
        return Check(name=name, holds=None, evidence="No trial has finished.")
    wanted = (spec.get("training") or {}).get("steps")
    asked = "" if wanted is None else f" The study asks for {wanted}."
    if len(steps) > 1:
        span = f"between {min(steps)} and {max(steps)} steps"
        return Check(name=name, holds=False, evidence=f"Finished trials ran {span}.{asked}")
    only = next(iter(steps))
    return Check(name=name, holds=wanted in (None, only), evidence=f"{only} steps each.{asked}")


def _paired(rows: Sequence[TrialRow], families: Sequence[str], phase: Phase) -> Check:
    title = PHASE_TITLES[phase]
    name = f"{title}: every seed is met by every family"
    seeds = {
        f: {
            (r.replicate, r.point, r.seed) for r in rows if r.phase is phase and r.family == f and not r.extra
        }
        for f in families
    }
    united = set().union(*seeds.values())
    if not united:
        return Check(name=name, holds=None, evidence="No trial yet.")
    shared = set.intersection(*seeds.values())
    evidence = f"{len(shared)} of {len(united)} seeds are shared by all {len(families)} families."
    return Check(name=name, holds=shared == united, evidence=evidence)


def _disjoint(rows: Sequence[TrialRow]) -> Check:
    name = "Confirmation uses seeds that no other phase has used"
    fresh = {r.seed for r in rows if r.phase is Phase.CONFIRMATION}
    if not fresh:
        return Check(name=name, holds=None, evidence="No confirmation trial yet.")
    used = {r.seed for r in rows if r.phase is not Phase.CONFIRMATION}
    evidence = f"{len(fresh & used)} of {len(fresh)} seeds appear in another phase."
    return Check(name=name, holds=not fresh & used, evidence=evidence)
