"""All claims of a file on one trial table: estimates, tests, corrections and verdicts."""

import math
from dataclasses import dataclass, replace

from study.records import Phase
from study.statistics.claims import Claim, ClaimSet, Part, Role, Tau
from study.statistics.contrast import Contrast, NotEvaluableError
from study.statistics.descriptive.aggregate import aggregate_contrasts
from study.statistics.endpoint import Endpoint, Plan, judge, p_value
from study.statistics.metrics import METRICS, Question
from study.statistics.multiplicity import benjamini_hochberg, holm_levels
from study.statistics.results import Analysis, ClaimResult, Grade, PartResult, Verdict
from study.statistics.trials import Trials, counts
from study.statistics.verdicts import all_of, any_of

AGGREGATE = "all workloads"
"""What stands for the workload in a part that averages over them."""


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """One part of a claim on one workload, before the correction for the other claims."""

    part: Part
    workload: str
    contrast: Contrast | None
    reason: str = ""
    """The broken rule, where there is no contrast."""
    p: float | None = None


def analyze(trials: Trials, claim_set: ClaimSet) -> Analysis:
    """Judge every claim.

    Primary claims are corrected by Holm's method over the whole file, refuted and not evaluable ones included;
    secondary ones by Benjamini and Hochberg's, their intervals at the level of Benjamini and Yekutieli (2005,
    false coverage); exploratory ones not at all. A claim's parts need no correction (intersection-union).

    Args:
        trials: a checked table.
        claim_set: what is claimed.

    Returns:
        One result per claim in the file's order. Nothing in the data raises: what cannot be decided is `not
        evaluable` with the broken rule.
    """
    workloads = claim_set.workloads or trials.workloads
    measured = [_measure(trials, claim_set, claim, workloads) for claim in claim_set.claims]
    claim_ps = [_claim_p(claim, found) for claim, found in zip(claim_set.claims, measured, strict=True)]
    levels = _levels(claim_set, claim_ps)
    results = tuple(
        _result(claim, found, claim_set, p, level)
        for claim, found, p, level in zip(claim_set.claims, measured, claim_ps, levels, strict=True)
    )
    return Analysis(
        claim_set=claim_set,
        claims=results,
        trial_counts=counts(trials),
        num_duplicates=trials.num_duplicates,
        notes=trials.notes,
    )


def target_loss(trials: Trials, tau: Tau, workload: str) -> float:
    """A target loss in nats on one workload.

    Raises:
        NotEvaluableError: the reference family was not confirmed there, or no trial tells the loss at initialisation.
    """
    if tau.value is not None:
        return tau.value
    rows = trials.rows(family=tau.ref, phase=Phase.CONFIRMATION, workload=workload)
    reference = float(rows["capped"].mean())
    init = float(rows["init_value"].mean())
    target = reference + tau.within * (init - reference)
    if not math.isfinite(target):
        raise NotEvaluableError(
            f"the target loss refers to the confirmed loss of family {tau.ref}, which has none on {workload}"
        )
    return target


def _measure(
    trials: Trials, claim_set: ClaimSet, claim: Claim, workloads: tuple[str, ...]
) -> list[_Measured]:
    """Every part of a claim on every workload."""
    found = []
    for part in claim.parts:
        per_workload = [_contrast(trials, claim, part, workload) for workload in workloads]
        if claim.workloads == "aggregate" and len(workloads) > 1:
            per_workload = [_aggregated(part, per_workload)]
        found += [_with_p(one, claim, claim_set) for one in per_workload]
    return found


def _contrast(trials: Trials, claim: Claim, part: Part, workload: str) -> _Measured:
    metric = METRICS[part.metric]
    comparison = claim.comparison
    try:
        tau = None
        if "tau" in metric.needs:
            tau = target_loss(trials, part.tau or Tau(ref=comparison.b or comparison.a), workload)
        question = Question(comparison=comparison, part=part, workload=workload, claim=claim.id, tau=tau)
        return _Measured(part=part, workload=workload, contrast=metric.contrast(trials, question))
    except NotEvaluableError as broken:
        return _Measured(part=part, workload=workload, contrast=None, reason=str(broken))


def _aggregated(part: Part, per_workload: list[_Measured]) -> _Measured:
    """The mean over workloads, which needs all of them."""
    broken = next((one for one in per_workload if one.contrast is None), None)
    if broken is not None:
        return replace(broken, reason=f"on {broken.workload}, {broken.reason}")
    contrasts = [one.contrast for one in per_workload if one.contrast is not None]
    try:
        return _Measured(part=part, workload=AGGREGATE, contrast=aggregate_contrasts(contrasts))
    except NotEvaluableError as error:
        return _Measured(part=part, workload=AGGREGATE, contrast=None, reason=str(error))


def _with_p(measured: _Measured, claim: Claim, claim_set: ClaimSet) -> _Measured:
    if measured.contrast is None:
        return measured
    try:
        return replace(measured, p=p_value(_endpoint(measured, claim, claim_set)))
    except NotEvaluableError as broken:
        return replace(measured, contrast=None, reason=str(broken))


def _endpoint(measured: _Measured, claim: Claim, claim_set: ClaimSet) -> Endpoint:
    if measured.contrast is None:
        raise NotEvaluableError(measured.reason)
    return Endpoint(
        contrast=measured.contrast,
        part=measured.part,
        may_be_skewed=METRICS[measured.part.metric].may_be_skewed,
        plan=Plan(
            looks=claim_set.design.looks if measured.contrast.unit == "seed" else (),
            num_planned=_planned(claim_set, measured.contrast.unit),
            spending=claim_set.design.spending,
            power=claim.power,
        ),
    )


def _planned(claim_set: ClaimSet, unit: str) -> int | None:
    design = claim_set.design
    return design.seeds_max if unit == "seed" else design.replicates


def _claim_p(claim: Claim, measured: list[_Measured]) -> float | None:
    """The largest p of the parts; over workloads of which one suffices, the smallest times their number."""
    if claim.workloads != "any":
        return _largest_p(measured)
    by_workload = [
        _largest_p([one for one in measured if one.workload == workload])
        for workload in dict.fromkeys(one.workload for one in measured)
    ]
    known = [p for p in by_workload if p is not None]
    return min(1.0, len(by_workload) * min(known)) if known else None


def _largest_p(measured: list[_Measured]) -> float | None:
    ps = [one.p for one in measured]
    known = [p for p in ps if p is not None]
    return max(known) if known and len(known) == len(ps) else None


@dataclass(frozen=True, kw_only=True)
class _Level:
    """At which level a claim's intervals stand, and its corrected p."""

    alpha: float
    adjusted_p: float | None


def _levels(claim_set: ClaimSet, ps: list[float | None]) -> list[_Level]:
    """Every claim's level; one amended after data still counts where it was registered, as never rejected."""
    levels = [_Level(alpha=claim_set.alpha, adjusted_p=p) for p in ps]
    for role in (Role.PRIMARY, Role.SECONDARY):
        places = [
            i for i, claim in enumerate(claim_set.claims) if role in {claim.role, claim.registered_role}
        ]
        mine = [ps[i] if claim_set.claims[i].role is role else None for i in places]
        for i, level in zip(places, _corrected(role, mine, claim_set.alpha), strict=True):
            if claim_set.claims[i].role is role:
                levels[i] = level
    return levels


def _corrected(role: Role, ps: list[float | None], alpha: float) -> list[_Level]:
    if not ps:
        return []
    if role is Role.PRIMARY:
        steps = holm_levels(ps, alpha)
        return [
            _Level(alpha=step.level, adjusted_p=None if p is None else step.adjusted_p)
            for step, p in zip(steps, ps, strict=True)
        ]
    adjusted = benjamini_hochberg(ps)
    num_rejected = sum(p is not None and q <= alpha for p, q in zip(ps, adjusted, strict=True))
    shared = alpha * max(num_rejected, 1) / len(ps)
    return [
        _Level(alpha=shared, adjusted_p=None if p is None else q) for p, q in zip(ps, adjusted, strict=True)
    ]


def _result(
    claim: Claim, measured: list[_Measured], claim_set: ClaimSet, p: float | None, level: _Level
) -> ClaimResult:
    num_workloads = len({one.workload for one in measured})
    alpha = level.alpha / num_workloads if claim.workloads == "any" else level.alpha
    parts = tuple(_part(claim, one, claim_set, alpha, level.adjusted_p) for one in measured)
    verdict, grade = _combined(claim, parts)
    decisive = [part for part in parts if part.verdict is verdict] or list(parts)
    extras = [part.extra for part in parts if part.extra is not None]
    return ClaimResult(
        id=claim.id,
        title=claim.title,
        role=claim.role,
        a=claim.comparison.a,
        b=claim.comparison.b,
        at=claim.comparison.at_text,
        workloads=claim.workloads,
        verdict=verdict,
        grade=grade,
        extra=max(extras) if extras and verdict is Verdict.INCONCLUSIVE else None,
        reason=" ".join(dict.fromkeys(part.reason for part in decisive)),
        p=p,
        p_adjusted=level.adjusted_p,
        alpha=alpha,
        parts=parts,
        amended=claim.amended,
    )


def _part(
    claim: Claim, measured: _Measured, claim_set: ClaimSet, alpha: float, adjusted_p: float | None
) -> PartResult:
    metric, part = METRICS[measured.part.metric], measured.part
    blank = PartResult(
        metric=metric.name,
        title=_title(metric.title, part),
        unit=metric.unit,
        direction=part.direction,
        factor=part.factor,
        workload=measured.workload,
        a=claim.comparison.a,
        b=claim.comparison.b,
        verdict=Verdict.NOT_EVALUABLE,
        reason=_sentence(measured.reason),
        p_adjusted=adjusted_p,
    )
    if measured.contrast is None:
        return blank
    try:
        return judge(_endpoint(measured, claim, claim_set), blank, alpha)
    except NotEvaluableError as broken:
        return replace(blank, reason=_sentence(str(broken)))


def _title(title: str, part: Part) -> str:
    """A metric's title with what this part sets."""
    words = {
        "over": part.factor,
        "of": f"{part.k} trials" if part.k is not None else "",
        "by": f"{part.decades:g} decades" if part.decades is not None else "",
        "under": f"{part.perturbation} ({part.of})" if part.perturbation else "",
    }
    return " ".join([title, *(f"{joint} {word}" for joint, word in words.items() if word)])


def _sentence(reason: str) -> str:
    return f"{reason[0].upper()}{reason[1:]}." if reason else ""


def _combined(claim: Claim, parts: tuple[PartResult, ...]) -> tuple[Verdict, Grade]:
    if claim.workloads != "any":
        return all_of([(part.verdict, part.grade) for part in parts])
    by_workload: dict[str, list[tuple[Verdict, Grade]]] = {}
    for part in parts:
        by_workload.setdefault(part.workload, []).append((part.verdict, part.grade))
    return any_of([all_of(found) for found in by_workload.values()])
