"""Would the verdicts stand if one choice of the analysis were another?

Each claim is judged anew, alone and at the level at which it stands in the analysis, so that only the choice varies.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from study.records import Outcome, Phase
from study.statistics.claims import Claim, ClaimSet, Design, Part, Tau
from study.statistics.metrics import METRICS
from study.statistics.results import Analysis, ClaimResult, Stability, Verdict
from study.statistics.trials import Trials

TAU_SHARE = 0.5
"""By how much a target loss moves, as a share of its distance above the reference."""
CAP_FACTOR = 1.5
NARROWER_DECADES = 0.5
"""By how much a window of learning rates is narrowed on each side."""
_ROUNDING = 1e-6
"""Decades by which a learning rate, written with ten digits, may miss its place in the grid."""
CAP = f"cap \u00d7 {CAP_FACTOR:g}"
WINDOW = "window \u00bd decade narrower at each end"
DROP_ONE = "each unit left out in turn"

Analyse = Callable[[Trials, ClaimSet], Analysis]

_SLICES = (Phase.LR_SLICE.value, Phase.FACTOR_SLICE.value)
_BEST_FIRST = (
    Verdict.SUPPORTED,
    Verdict.EQUIVALENT,
    Verdict.INCONCLUSIVE,
    Verdict.NOT_EVALUABLE,
    Verdict.REFUTED,
)


@dataclass(frozen=True, kw_only=True)
class _Variant:
    """One claim under one other choice."""

    choice: str
    trials: Trials
    claim_set: ClaimSet
    """The claim alone, at its level."""


def stability(
    trials: Trials,
    claim_set: ClaimSet,
    analyse: Analyse,
    on_claim: Callable[[int], None] = lambda _: None,
) -> tuple[Stability, ...]:
    """Judge every claim again under other choices.

    The choices: target losses half as far again above their reference, and half as far; the cap at 1.5 times the loss
    at initialisation; learning-rate slices half a decade narrower at each end; each replicate and each seed left
    out in turn, in one row with the worst verdict among those that change; each workload left out, where there are
    two. A choice that a claim does not have, such as a target loss, gives no row; a target loss in nats has no
    reference and is left alone. Where no loss is at the cap, the verdict is the same without judging again.

    Args:
        trials: a checked table.
        claim_set: what is claimed.
        analyse: the analysis to repeat; it must not call this function.
        on_claim: told how many claims have been judged again, before each.

    Returns:
        Rows by claim in the file's order, then by choice.
    """
    rows: list[Stability] = []
    judged = zip(claim_set.claims, analyse(trials, claim_set).claims, strict=True)
    for number, (claim, result) in enumerate(judged):
        on_claim(number)
        workloads = claim_set.workloads or trials.workloads
        alone = replace(claim_set, claims=(claim,), alpha=_level(result), workloads=workloads)
        mine = _concerning(trials, claim)
        if not _cap_binds(trials, claim):
            rows.append(Stability(claim=claim.id, choice=CAP, verdict=result.verdict, changed=False))
        rows += [_judged(variant, result, analyse) for variant in _variants(mine, alone)]
        rows += _drop_one(mine, alone, result, analyse)
    return tuple(rows)


def _concerning(trials: Trials, claim: Claim) -> Trials:
    """The trials that can bear on a claim, so that judging it many times is quick."""
    families = {claim.comparison.a, claim.comparison.b, *(part.tau.ref for part in claim.parts if part.tau)}
    phases = _phases(claim) | {Phase.CONFIRMATION.value}
    bears = trials.frame["family"].isin(families) & trials.frame["phase"].isin(phases)
    return trials if bears.all() else replace(trials, frame=trials.frame[bears])


def _level(result: ClaimResult) -> float:
    """The level that, given to the claim alone, makes its intervals stand where they stand among the others."""
    shared = len({part.workload for part in result.parts}) if result.workloads == "any" else 1
    return result.alpha * max(shared, 1)


def _judged(variant: _Variant, result: ClaimResult, analyse: Analyse) -> Stability:
    verdict = analyse(variant.trials, variant.claim_set).claims[0].verdict
    return Stability(
        claim=result.id, choice=variant.choice, verdict=verdict, changed=verdict is not result.verdict
    )


def _variants(trials: Trials, alone: ClaimSet) -> Iterator[_Variant]:
    """Every other choice that touches the claim, dropped units aside."""
    claim = alone.claims[0]
    for sign, factor in (("+", 1.0 + TAU_SHARE), ("\u2212", 1.0 - TAU_SHARE)):
        moved = replace(claim, parts=tuple(_with_tau(claim, part, factor) for part in claim.parts))
        if moved != claim:
            yield _Variant(
                choice=f"tau {sign}{100 * TAU_SHARE:g} %",
                trials=trials,
                claim_set=replace(alone, claims=(moved,)),
            )
    if _cap_binds(trials, claim):
        yield _Variant(choice=CAP, trials=_capped_higher(trials), claim_set=alone)
    if Phase.LR_SLICE in _phases(claim) and "param.lr" in trials.frame.columns:
        yield _Variant(choice=WINDOW, trials=_narrower(trials), claim_set=alone)
    workloads = alone.workloads or trials.workloads
    for workload in workloads if len(workloads) > 1 else ():
        rest = replace(trials, frame=trials.frame[trials.frame["workload"] != workload])
        others = tuple(name for name in workloads if name != workload)
        yield _Variant(choice=f"without {workload}", trials=rest, claim_set=replace(alone, workloads=others))


def _phases(claim: Claim) -> frozenset[str]:
    """The phases whose trials a claim's endpoints read."""
    return frozenset(part.phase or str(METRICS[part.metric].phase) for part in claim.parts)


def _with_tau(claim: Claim, part: Part, factor: float) -> Part:
    """The part with its target loss moved away from the reference, or as it is where it has no such target."""
    if "tau" not in METRICS[part.metric].needs:
        return part
    tau = part.tau or Tau(ref=claim.comparison.b or claim.comparison.a)
    if tau.value is not None:
        return part
    return replace(part, tau=replace(tau, within=tau.within * factor))


def _cap_binds(trials: Trials, claim: Claim) -> bool:
    """Whether any loss that the claim reads is at the cap, the confirmed losses that targets refer to included."""
    frame = trials.frame
    read = frame["phase"].isin(_phases(claim) | {Phase.CONFIRMATION.value})
    above = (frame["outcome"] == Outcome.DIVERGED) | (frame["value"] > frame["init_value"])
    return bool((read & above & frame["capped"].notna()).any())


def _capped_higher(trials: Trials) -> Trials:
    """The table with a higher cap; the loss at initialisation itself, which scales and targets use, stays."""
    frame = trials.frame
    cap = frame["init_value"] + (CAP_FACTOR - 1.0) * frame["init_value"].abs()
    finished = frame["value"].clip(upper=cap.fillna(np.inf)).where(frame["outcome"] == Outcome.FINISHED)
    capped = finished.where(frame["outcome"] != Outcome.DIVERGED, cap)
    return replace(trials, frame=frame.assign(capped=capped))


def _narrower(trials: Trials) -> Trials:
    """The table with every learning-rate slice narrowed, by the same number of points in every replicate."""
    frame = trials.frame
    inside = frame["phase"] == Phase.LR_SLICE
    lr = pd.to_numeric(frame.loc[inside, "param.lr"], errors="coerce")
    decades = np.log10(lr.where(lr > 0.0))
    groups = decades.groupby(
        [frame.loc[inside, name] for name in ("workload", "slice", "family", "replicate")]
    )
    from_edge = np.minimum(decades - groups.transform("min"), groups.transform("max") - decades)
    outside = from_edge < NARROWER_DECADES - _ROUNDING
    return replace(trials, frame=frame.drop(index=outside.index[outside]))


def _drop_one(trials: Trials, alone: ClaimSet, result: ClaimResult, analyse: Analyse) -> list[Stability]:
    """One row for all units left out in turn; none where the claim's family has no units."""
    verdicts = [
        analyse(variant.trials, variant.claim_set).claims[0].verdict for variant in _dropped(trials, alone)
    ]
    if not verdicts:
        return []
    changed = [verdict for verdict in verdicts if verdict is not result.verdict]
    worst = max(changed, key=_BEST_FIRST.index) if changed else result.verdict
    return [
        Stability(
            claim=result.id,
            choice=DROP_ONE,
            verdict=worst,
            changed=bool(changed),
            detail=f"{len(changed)} of {len(verdicts)} change the verdict",
        )
    ]


def _dropped(trials: Trials, alone: ClaimSet) -> Iterator[_Variant]:
    """The claim without its first replicate, without its second and so on, then without each of its seeds."""
    phases, design = _phases(alone.claims[0]), alone.design
    for unit, read, smaller in (
        ("replicate", phases - {Phase.CONFIRMATION.value}, _with_fewer_replicates(design)),
        ("seed", phases & {Phase.CONFIRMATION.value}, _with_fewer_seeds(design)),
    ):
        places = _places(trials, alone.claims[0], unit, read)
        for place in range(int(places.max()) + 1 if len(places) else 0):
            kept = trials.frame.drop(index=places.index[places == place])
            yield _Variant(
                choice=DROP_ONE, trials=replace(trials, frame=kept), claim_set=replace(alone, design=smaller)
            )


def _places(trials: Trials, claim: Claim, unit: str, phases: frozenset[str]) -> pd.Series:
    """For every row of `phases` in a unit of the claimed family: the unit's place in its workload, from 0.

    Workloads lose a unit together, since the registered number of units is one for all of them.
    """
    frame = trials.frame[trials.frame["phase"].isin(phases)]
    mine = frame[
        (frame["family"] == claim.comparison.a) & ((frame["slice"] == "") | frame["phase"].isin(_SLICES))
    ]
    places = pd.Series(-1, index=frame.index)
    for workload, rows in mine.groupby("workload"):
        there = frame["workload"] == workload
        place = pd.Index(np.unique(rows[unit])).get_indexer(pd.Index(frame.loc[there, unit]))
        places[there] = place
    return places[places >= 0]


def _with_fewer_replicates(design: Design) -> Design:
    return replace(design, replicates=None if design.replicates is None else design.replicates - 1)


def _with_fewer_seeds(design: Design) -> Design:
    """The design without one seed: every look comes one seed earlier, so that the last one is still planned."""
    return replace(
        design,
        seeds_max=None if design.seeds_max is None else design.seeds_max - 1,
        looks=tuple(look - 1 for look in design.looks if look > 2),  # noqa: PLR2004 - a look needs two units
    )
