"""Whether a claims file and the study whose trials will decide it say the same."""

from typing import TYPE_CHECKING

from search_spaces.errors import SpecError, unknown
from study.claims.sections import DesignSection, OutcomeSection
from study.phases import Confirmation, Sensitivity
from study.spec_errors import shown

if TYPE_CHECKING:
    from study.claims.file import ClaimsFile
    from study.spec import StudySpec


def space_digests(file: "ClaimsFile", spec: "StudySpec") -> dict[str, str]:
    """SHA-256 of the search space of every family that a claim refers to, in order of name."""
    return {name: spec.space(name).digest for name in sorted(referred(file))}


def referred(file: "ClaimsFile") -> set[str]:
    """Families that some claim compares or takes its target loss from."""
    sides = {side for compare in file.comparisons.values() for side in (compare.a, compare.b)}
    taus = {part.tau.family for claim in file.claims for part in claim.parts if part.tau is not None}
    return {name for name in sides | taus if name}


def check_study(file: "ClaimsFile", spec: "StudySpec") -> None:
    """Refuse a study that will not do what the file says.

    Raises:
        SpecError: a family is not trained, or a size, a space or a rule differs.
    """
    if file.study and file.study != spec.name:
        raise SpecError(f"study is {file.study!r}, but this study is {spec.name!r}: correct one of them.")
    for name in sorted(referred(file)):
        if name not in spec.families:
            raise SpecError(
                f"claims refer to {name}: {unknown(f'family of study {spec.name}', name, spec.families)}"
            )
    _check_spaces(file, spec)
    _check_sensitivity(file.design, spec.phases.sensitivity)
    _check_confirmation(file.design, spec.phases.confirmation)
    if file.outcome is not None:
        _check_outcome(file.outcome, spec.training.divergence_factor)
    declared = (
        {one.name for one in spec.phases.confirmation.perturbations} if spec.phases.confirmation else set()
    )
    for claim in file.claims:
        for part in claim.parts:
            if part.perturbation is not None and part.perturbation not in declared:
                error = unknown("perturbation of this study", part.perturbation, declared)
                raise SpecError(f"claim {claim.id}: {error}")


def _check_spaces(file: "ClaimsFile", spec: "StudySpec") -> None:
    registered = file.registered.spaces if file.registered else {}
    for name in sorted(referred(file)):
        space, section = spec.space(name), file.families.get(name)
        if section is not None and section.space not in {None, f"{space.name}@{space.version}"}:
            raise SpecError(
                f"family {name}: space is {section.space!r}, but the study has "
                f"'{space.name}@{space.version}': correct one of them."
            )
        if name in registered and registered[name] != space.digest:
            raise SpecError(
                f"the search space of {name} is not the one with which the file was locked: restore it in the study."
            )


def _check_sensitivity(design: DesignSection, planned: Sensitivity | None) -> None:
    ours = design.sensitivity
    if ours is None:
        return
    key, slice_key = "design.sensitivity", "design.sensitivity.lr_slice.step_decades"
    _same(f"{key}.replicates", ours.replicates, planned.replicates if planned else None)
    _same(f"{key}.points", ours.points, planned.points if planned else None)
    lr_slice = planned.lr_slice if planned else None
    step = ours.lr_slice.step_decades if ours.lr_slice else None
    _same(slice_key, step, lr_slice.step_decades if lr_slice else None)
    lacking = [factor for factor in ours.factor_slices if planned and factor not in planned.factor_slices]
    if lacking:
        raise SpecError(f"{key}.factor_slices has {lacking[0]}, but the study's has not: add it there.")


def _check_confirmation(design: DesignSection, planned: Confirmation | None) -> None:
    ours = design.confirmation
    if ours is None:
        return
    _same("design.confirmation.seeds_max", ours.num_seeds, planned.seeds if planned else None)
    looks = list(planned.looks) if planned else None
    _same("design.confirmation.looks", list(ours.looks) or None, looks)


def _check_outcome(outcome: OutcomeSection, factor: float) -> None:
    diverged = outcome.diverged
    if diverged is None:
        return
    if diverged.loss_ge is not None or diverged.for_evals is not None:
        raise SpecError(
            "outcome.diverged tells divergence by evaluations at or above the initial loss, but the study does by "
            f"training.divergence_factor: write {{nan: true, factor: {factor:g}}}."
        )
    _same("outcome.diverged.factor", diverged.factor, factor)


def _same(key: str, ours: object, theirs: object) -> None:
    """What the file says, where it says it, is what the study does."""
    if ours is not None and ours != theirs:
        does = "nothing of the kind" if theirs is None else shown(theirs)
        raise SpecError(f"{key} is {shown(ours)}, but the study has {does}: correct one of them.")
