"""What a study does not show, said as plainly as what it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.statistics.claims import Role
from study.statistics.results import Analysis, ClaimResult, Verdict


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One thing that a reader must not conclude."""

    title: str
    text: str


def limits(
    analysis: Analysis | None,
    *,
    spec: Mapping[str, Any],
    workloads: Sequence[str],
    families: Sequence[str],
) -> tuple[Limit, ...]:
    """What was left open, what was never asked, and how far the setting reaches.

    Args:
        analysis: the verdicts; None where no claim was registered.
        spec: the study file, for the scale of the trials; may be empty.
        workloads: where trials ran.
        families: what was compared.
    """
    claims = analysis.claims if analysis else ()
    found = [
        *_open([claim for claim in claims if claim.verdict is Verdict.INCONCLUSIVE]),
        *(
            Limit(title=f"{claim.id}: not evaluable", text=claim.reason or "A rule of integrity is broken.")
            for claim in claims
            if claim.verdict is Verdict.NOT_EVALUABLE
        ),
        *_fragile([claim.id for claim in claims if any(part.fragile for part in claim.parts)]),
        *_exploratory(claims),
        *_unregistered(analysis),
        _pairs(claims, families),
        *_setting(workloads),
        *_scale(spec),
    ]
    return tuple(found)


def _open(claims: Sequence[ClaimResult]) -> list[Limit]:
    if not claims:
        return []
    text = "The data neither support nor refute what is left open, which is not evidence that families are alike."
    return [Limit(title="Left open", text=" ".join([text, *(_wanted(claim) for claim in claims)]))]


def _wanted(claim: ClaimResult) -> str:
    """What would decide an open claim."""
    part = next((one for one in claim.parts if one.extra == claim.extra), claim.parts[0])
    found = []
    if claim.extra:
        found.append(f"about {claim.extra:,} further {part.n_unit}s would give the planned power")
    if part.half_sesoi_n:
        found.append(
            f"with the observed spread the interval's half-width is half the smallest effect of interest at "
            f"{part.half_sesoi_n:,} {part.n_unit}s"
        )
    return f"{claim.id}: {'; '.join(found) or 'more data are needed'}."


def _fragile(names: Sequence[str]) -> list[Limit]:
    if not names:
        return []
    whose = (
        "this claim's level, so its verdict leans"
        if len(names) == 1
        else "their levels, so the verdicts lean"
    )
    text = f"{', '.join(names)}: Student's t and the sign-flip test disagree at {whose} on normality."
    return [Limit(title="Fragile", text=text)]


def _exploratory(claims: Sequence[ClaimResult]) -> list[Limit]:
    found = [claim for claim in claims if claim.role is Role.EXPLORATORY]
    told = [
        f"{claim.id} was amended after data were seen ({claim.amended.rstrip('.')})."
        for claim in found
        if claim.amended
    ]
    if not found:
        return []
    names = ", ".join(claim.id for claim in found)
    text = f"{names}: not corrected for the other claims; a finding here is a question for another study."
    return [Limit(title="Exploratory", text=" ".join([text, *told]))]


def _unregistered(analysis: Analysis | None) -> list[Limit]:
    if analysis is None:
        text = "No claim was registered, so no test was made and no order of the families is asserted."
        return [Limit(title="Verdicts", text=text)]
    if not analysis.claim_set.registered:
        text = (
            "The claims file was never locked, so nothing shows that the claims were there before the data."
        )
        return [Limit(title="Not registered", text=text)]
    return []


def _pairs(claims: Sequence[ClaimResult], families: Sequence[str]) -> Limit:
    compared = {name for claim in claims for name in (claim.a, claim.b) if name}
    others = [name for name in families if name not in compared]
    text = "Nothing is asserted of pairs of families that no claim names."
    if others and claims:
        verb = "is in no claim" if len(others) == 1 else "are in no claim"
        text += f" {', '.join(others)} {verb}."
    return Limit(title="Other comparisons", text=text)


def _setting(workloads: Sequence[str]) -> list[Limit]:
    if not workloads:
        return []
    where = workloads[0] if len(workloads) == 1 else f"{', '.join(workloads[:-1])} and {workloads[-1]}"
    noun = "one workload" if len(workloads) == 1 else f"{len(workloads)} workloads"
    text = f"Trials ran on {noun}: {where}. Other tasks, data and base models are not covered."
    return [Limit(title="Workloads", text=text)]


def _scale(spec: Mapping[str, Any]) -> list[Limit]:
    training, base = spec.get("training") or {}, spec.get("base") or {}
    if "steps" not in training:
        return []
    batch = f" of {training['batch']} rows" if "batch" in training else ""
    model = f" on {base['model']}" if "model" in base else ""
    text = (
        f"A trial has {training['steps']:,} optimizer steps{batch}{model}. Longer training and larger models may "
        f"behave otherwise."
    )
    return [Limit(title="Scale", text=text)]
