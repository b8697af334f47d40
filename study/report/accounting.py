"""Every trial of the study counted once: by phase, family and outcome, and what is still missing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.records import Outcome, Phase
from study.report.estimates import Estimate, rate_estimate
from study.report.snapshot import LOST, TrialRow


@dataclass(frozen=True, kw_only=True)
class OutcomeCounts:
    """The trials of one family in one phase."""

    phase: Phase
    family: str
    planned: int
    """Trials of the table, and in a phase that has not begun those of the plan."""
    by_outcome: Mapping[str, int]
    """Outcome → trials, all six outcomes present."""
    open: int
    """Planned or running: without an outcome yet."""
    divergence: Estimate | None
    """Diverged trials among those of the design that enter the analysis, with Wilson's interval."""

    @property
    def ended(self) -> int:
        """Trials that have one of the six outcomes."""
        return sum(self.by_outcome.values())


@dataclass(frozen=True, kw_only=True)
class LostGroup:
    """Trials that the machine, memory or the user ended, for one reason."""

    outcome: Outcome
    reason: str
    families: tuple[str, ...]
    trials: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """Where all trials are."""

    counts: tuple[OutcomeCounts, ...]
    """By phase, then family; phases and families of the study that have no trial are left out."""
    totals: Mapping[str, int]
    """Outcome → trials of the whole study, plus `open` and `planned`."""
    lost: tuple[LostGroup, ...]
    missing: tuple[str, ...]
    """One sentence for each thing that a finished study would have and this one has not."""
    num_retried: int
    """Trials that were started more than once."""
    beside: tuple[str, ...] = ()
    """One sentence for each group of trials that stands beside the design."""


def account(
    rows: Sequence[TrialRow],
    *,
    families: Sequence[str],
    spec: Mapping[str, Any],
    plan: Mapping[str, Any] | None,
    state: str,
) -> Accounting:
    """Count the trials of a study.

    Args:
        rows: every row of the trial table.
        families: the study's families, in its order.
        spec: the study file, for the phases that it asks for.
        plan: its `trial_counts` add the trials that no table lists yet.
        state: the study's state.
    """
    planned = _planned(plan)
    cells = [(phase, family) for phase in Phase for family in families]
    counts = [_count(p, f, rows, planned.get((p.value, f), 0), ended=state == "finished") for p, f in cells]
    totals = {o.value: sum(c.by_outcome[o.value] for c in counts) for o in Outcome}
    totals |= {"open": sum(c.open for c in counts), "planned": sum(c.planned for c in counts)}
    return Accounting(
        counts=tuple(c for c in counts if c.planned),
        totals=totals,
        lost=_lost(rows),
        missing=_missing(counts, spec, state),
        num_retried=sum(r.attempts > 1 for r in rows),
        beside=_beside(rows),
    )


def _planned(plan: Mapping[str, Any] | None) -> dict[tuple[str, str], int]:
    counts = (plan or {}).get("trial_counts") or {}
    return {
        (str(phase), str(family)): int(number)
        for phase, families in counts.items()
        for family, number in families.items()
    }


def _count(
    phase: Phase, family: str, rows: Sequence[TrialRow], expected: int, *, ended: bool
) -> OutcomeCounts:
    """Count one cell; `expected` is the plan's number, an upper bound until the phase has begun."""
    mine = [r for r in rows if r.phase is phase and r.family == family]
    found = Counter(r.outcome for r in mine)
    begun = bool(mine) and phase is not Phase.SEARCH
    planned = len(mine) if ended or begun else max(expected, len(mine))
    by_outcome = {o.value: found[o] for o in Outcome}
    designed = [r for r in mine if r.analysed and not r.extra]
    diverged = sum(r.outcome is Outcome.DIVERGED for r in designed)
    return OutcomeCounts(
        phase=phase,
        family=family,
        planned=planned,
        by_outcome=by_outcome,
        open=planned - sum(by_outcome.values()),
        divergence=rate_estimate(hits=diverged, num_trials=len(designed)),
    )


def _lost(rows: Sequence[TrialRow]) -> tuple[LostGroup, ...]:
    groups: dict[tuple[Outcome, str], list[TrialRow]] = {}
    for row in rows:
        if row.lost and row.outcome is not None:
            groups.setdefault((row.outcome, row.reason or "no reason recorded"), []).append(row)
    return tuple(
        LostGroup(
            outcome=outcome,
            reason=reason,
            families=tuple(dict.fromkeys(r.family for r in members)),
            trials=tuple(r.trial for r in members),
        )
        for (outcome, reason), members in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    )


SLICE_WORDS = {
    "default": "at the family's default hyperparameters",
    "lr_up": "at the tuned configuration with a raised learning rate",
    "lr_down": "at the tuned configuration with a lowered learning rate",
}
"""What a slice of the confirmation beside the tuned configuration is; any other is a claim's id."""


def _beside(rows: Sequence[TrialRow]) -> tuple[str, ...]:
    found = Counter((r.phase, r.slice, r.family) for r in rows if r.extra)
    return tuple(
        f"{PHASE_TITLES[phase]}: {number} {'trial' if number == 1 else 'trials'} of {family} "
        f"{SLICE_WORDS.get(name, f'laid out for claim {name}')}."
        for (phase, name, family), number in found.items()
    )


def _missing(counts: Sequence[OutcomeCounts], spec: Mapping[str, Any], state: str) -> tuple[str, ...]:
    found: list[str] = []
    if state != "finished":
        found.append(f"The study is {state}: every number here is of this moment.")
    for phase in Phase:
        mine = [c for c in counts if c.phase is phase]
        if any(c.planned for c in mine) or _asked_for(phase, spec):
            found += [f"{PHASE_TITLES[phase]}: {what}." for what in _missing_in(mine)]
    return tuple(found)


def _missing_in(counts: Sequence[OutcomeCounts]) -> list[str]:
    """What one phase lacks."""
    planned, still_open = sum(c.planned for c in counts), sum(c.open for c in counts)
    lost = sum(c.by_outcome[outcome.value] for c in counts for outcome in LOST)
    without = [c.family for c in counts if not c.planned]
    if not planned:
        return ["no trial"]
    found = [f"no trial of {', '.join(without)}"] if without else []
    if still_open:
        found.append(f"{still_open:,} of {planned:,} trials have not ended")
    if lost:
        found.append(f"{lost:,} {'trial was' if lost == 1 else 'trials were'} lost")
    return found


PHASE_TITLES: dict[Phase, str] = {
    Phase.SEARCH: "Search",
    Phase.SENSITIVITY: "Sensitivity",
    Phase.LR_SLICE: "Learning-rate slice",
    Phase.FACTOR_SLICE: "Factor slices",
    Phase.CONFIRMATION: "Confirmation",
}
"""How each phase is called in headings and sentences."""


def _asked_for(phase: Phase, spec: Mapping[str, Any]) -> bool:
    phases = spec.get("phases") or {}
    sensitivity = phases.get("sensitivity") or {}
    asked = {
        Phase.SEARCH: phases.get("search"),
        Phase.SENSITIVITY: sensitivity,
        Phase.LR_SLICE: sensitivity.get("lr_slice"),
        Phase.FACTOR_SLICE: sensitivity.get("factor_slices"),
        Phase.CONFIRMATION: phases.get("confirmation"),
    }
    return bool(asked[phase])
