"""Trials of one family at hyperparameters that follow from another's, as claims with a transform ask for.

`at: {lr: "b.lr = a.lr * sqrt(top_k)"}` compares family a with family b where theory says that both do the same. So b
is trained once more for each trial of a, with a's seed, at the transformed values, which may lie outside b's space.
"""

from collections.abc import Mapping

from search_spaces import Param
from search_spaces.errors import SpecError
from study.pairing import planned_trial
from study.records import Phase, PlannedTrial
from study.sensitivity import space_design
from study.spec import StudySpec
from study.spec_matched import Matched


def matched_params(spec: StudySpec, matched: Matched, params: Mapping[str, Param]) -> dict[str, Param]:
    """Family b's configuration for one of a's: transformed, a's own where it is shared, else b's default.

    Raises:
        SpecError: the transform gives no value that the hyperparameter can take.
    """
    from study.claims.arithmetic import parse_transform

    transformed = parse_transform(matched.at, roles=None).apply(params)
    defaults = spec.defaults(matched.b)
    found = {role: transformed.get(role, default) for role, default in defaults.items()}
    if found["top_k"] > found["num_experts"]:  # type: ignore[operator] # whole numbers, by the transform's own check
        raise SpecError(
            f"Claim {matched.claim} pairs {matched.a} with {matched.b} at top_k = {found['top_k']} of "
            f"{found['num_experts']} experts, which is more than there are: correct its formulas."
        )
    return found


def matched_design(spec: StudySpec, matched: Matched) -> list[PlannedTrial]:
    """Family b's pair of each point of a's design over its space that the claim looks at.

    Raises:
        SpecError: the transform gives no value that the hyperparameter can take.
    """
    sensitivity = spec.phases.sensitivity
    if sensitivity is None or matched.phase != Phase.SENSITIVITY.value:
        return []
    return [
        planned_trial(
            spec,
            Phase.SENSITIVITY,
            f"{matched.b}/at-{matched.claim}/r{trial.replicate:02d}/p{trial.point:02d}",
            family_name=matched.b,
            replicate=trial.replicate,
            point=trial.point,
            params=matched_params(spec, matched, trial.params),
            slice_name=matched.claim,
        )
        for trial in space_design(spec, sensitivity, matched.a)
        if matched.covers(trial.params)
    ]


def matched_confirmation(
    spec: StudySpec, matched: Matched, tuned: Mapping[str, Mapping[str, Param]]
) -> list[PlannedTrial]:
    """Family b at a's tuned configuration, transformed, on every seed of the confirmation.

    None where a was not tuned, or to values at which b cannot be trained: then the claim cannot be evaluated.
    """
    confirmation = spec.phases.confirmation
    if confirmation is None or matched.phase != Phase.CONFIRMATION.value or matched.a not in tuned:
        return []
    try:
        params = matched_params(spec, matched, tuned[matched.a])
    except SpecError:
        return []
    return [
        planned_trial(
            spec,
            Phase.CONFIRMATION,
            f"{matched.b}/at-{matched.claim}/r{replicate:02d}",
            family_name=matched.b,
            replicate=replicate,
            params=params,
            slice_name=matched.claim,
        )
        for replicate in range(confirmation.seeds)
    ]
