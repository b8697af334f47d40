"""What a claims file asks of the study that names it: phases that must be there, and trials to lay out."""

import math
from collections.abc import Iterable

from search_spaces.errors import SpecError
from study.claims.file import load_claims
from study.claims.formula import Transform
from study.claims.studies import check_study
from study.matched import matched_design
from study.protocol import DEFAULT, LR_DOWN, LR_UP
from study.records import Phase
from study.sensitivity import most_levels
from study.spec import StudySpec
from study.spec_matched import Limits, Matched
from study.statistics.claims import Claim, ClaimSet, Part, Tau
from study.statistics.metrics import METRICS


def laid_out(spec: StudySpec) -> StudySpec:
    """The study with the trials that its claims ask for; without claims, the study as it is.

    Raises:
        SpecError: the claims file is wrong, or asks for something that the study does not do.
    """
    if spec.claims is None:
        return spec
    file = load_claims(spec.claims)
    claim_set = file.claim_set()
    try:
        check_study(file, spec)
        for claim in claim_set.claims:
            _check_claim(spec, claim)
        complete = spec.model_copy(update={"matched": _matched(claim_set)})
        for matched in complete.matched:
            matched_design(complete, matched)
    except SpecError as error:
        raise SpecError(f"{spec.claims}: {error}") from None
    return complete


def _matched(claim_set: ClaimSet) -> tuple[Matched, ...]:
    """The trials of family b that claims with a transform need, one entry for each claim and phase."""
    found = []
    for claim in claim_set.claims:
        transform = claim.comparison.at
        if not isinstance(transform, Transform):
            continue
        for phase in (Phase.SENSITIVITY, Phase.CONFIRMATION):
            mine = [part for part in claim.parts if phase_of(part) == phase]
            if mine:
                at = {formula.role: formula.text for formula in transform.formulas}
                families = {"a": claim.comparison.a, "b": claim.comparison.b}
                found.append(
                    Matched(claim=claim.id, phase=phase.value, at=at, where=_where(mine), **families)
                )
    return tuple(found)


def phase_of(part: Part) -> str:
    """Where a part of a claim looks."""
    return part.phase or METRICS[part.metric].phase


def _where(parts: Iterable[Part]) -> tuple[dict[str, Limits], ...]:
    """Which points some part looks at; empty where one looks at all of them."""
    entries: list[dict[str, Limits]] = []
    for part in parts:
        if not part.where:
            return ()
        entries.append({role: (_finite(r.low), _finite(r.high)) for role, r in part.where.items()})
    return tuple(entries)


def _finite(end: float) -> float | None:
    return end if math.isfinite(end) else None


def _check_claim(spec: StudySpec, claim: Claim) -> None:
    if claim.id in {DEFAULT, LR_UP, LR_DOWN}:
        raise SpecError(f"claim {claim.id} has the name of a slice of the confirmation: rename it.")
    comparison = claim.comparison
    if isinstance(comparison.at, Transform):
        for role in sorted(comparison.at.targets - set(spec.space(comparison.b).dimensions)):
            raise SpecError(
                f"claim {claim.id}: compare.at sets {role}, which {comparison.b} has not: remove that formula."
            )
    for part in claim.parts:
        try:
            _check_part(spec, claim, part)
        except SpecError as error:
            raise SpecError(f"claim {claim.id}: {error}") from None


def _check_part(spec: StudySpec, claim: Claim, part: Part) -> None:
    sensitivity, confirmation = spec.phases.sensitivity, spec.phases.confirmation
    phase, needs = phase_of(part), METRICS[part.metric].needs
    if phase != Phase.CONFIRMATION and sensitivity is None:
        raise _absent(part, "phases.sensitivity")
    if phase == Phase.LR_SLICE and (sensitivity is None or sensitivity.lr_slice is None):
        raise _absent(part, "phases.sensitivity.lr_slice")
    tau = part.tau or Tau(ref=claim.comparison.b or claim.comparison.a)
    is_confirmed = phase == Phase.CONFIRMATION or ("tau" in needs and tau.value is None)
    if is_confirmed and confirmation is None:
        raise _absent(part, "phases.confirmation")
    if part.factor:
        _check_factor(spec, claim, part)
    if part.k is not None and sensitivity is not None and part.k > sensitivity.points:
        raise SpecError(
            f"{part.metric} has k = {part.k}, but phases.sensitivity.points is {sensitivity.points}: lower k."
        )


def _check_factor(spec: StudySpec, claim: Claim, part: Part) -> None:
    """A factor must vary, for both families, and have its slice where the metric reads one."""
    sensitivity = spec.phases.sensitivity
    sliced = sensitivity.factor_slices if sensitivity else ()
    if phase_of(part) == Phase.FACTOR_SLICE and part.factor not in sliced:
        raise SpecError(
            f"{part.metric} reads the slice of {part.factor}, but phases.sensitivity.factor_slices has "
            f"{', '.join(sliced) or 'none'}: add it there."
        )
    for name in filter(None, (claim.comparison.a, claim.comparison.b)):
        if most_levels(spec, name, part.factor) < 2:  # noqa: PLR2004
            raise SpecError(
                f"{part.metric} looks along {part.factor}, which has one value in the space of {name}: widen it in "
                f"spaces.{name}, or choose another factor."
            )


def _absent(part: Part, section: str) -> SpecError:
    return SpecError(f"{part.metric} needs {section}, which the study has not: add it, or remove the claim.")
