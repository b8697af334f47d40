"""What must hold between the sections of a study file; each check raises the first thing that is wrong."""

import math
import re
from typing import TYPE_CHECKING

from search_spaces import FAMILIES, fitting_dimension
from search_spaces.errors import SpecError, unknown

if TYPE_CHECKING:
    from study.spec import StudySpec

ALL_FAMILIES = "all"
"""Key of `spaces` whose overrides hold for every family that has the hyperparameter."""

PASSES_OF_STEP = 3
"""Token passes of a row that is trained on: a backward pass costs about two forward ones."""
MOST_TRIALS = 1_000_000
"""Of a phase; a study of the paper's size has some thousand."""
MOST_LEARNING_RATES = 1_000
"""Of a learning-rate slice, for each family and replicate."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a study or a variant may be called, since folders are."""


def check_variants(spec: "StudySpec") -> None:
    """Refuse a variant whose name or family will not do, or that says nothing.

    Raises:
        ValueError: the first mistake.
    """
    for name, variant in spec.variants.items():
        if name in FAMILIES or name == ALL_FAMILIES or not NAME.fullmatch(name):
            raise ValueError(
                f"variants holds {name!r}, but a variant has a name of its own, of 1 to 64 letters, digits, '.', '-' "
                "or '_', that is no family's: rename it"
            )
        if variant.of not in FAMILIES:
            raise ValueError(f"variants.{name}.of: {unknown('family', variant.of, FAMILIES)}")
        if not variant.settings:
            known = ", ".join(sorted(set(type(variant).model_fields) - {"of"}))
            raise ValueError(
                f"variants.{name} fixes nothing, but must differ from {variant.of}: write one of {known}"
            )
        if name not in spec.families:
            raise ValueError(f"variants.{name} is not compared: add {name} to families, or remove it")


def check_spaces(spec: "StudySpec") -> None:
    """Refuse overrides of spaces that no family has, or that leave a space empty.

    Raises:
        ValueError: the first mistake.
    """
    for name, overrides in spec.spaces.items():
        if name != ALL_FAMILIES and name not in spec.families:
            error = unknown("family of this study", name, [ALL_FAMILIES, *spec.families])
            raise ValueError(f"spaces.{name}: {error}")
        owners = spec.families if name == ALL_FAMILIES else (name,)
        for role, dimension in overrides.items():
            known = {known: None for owner in owners for known in spec.family(owner).space.dimensions}
            if role not in known:
                kind = (
                    "hyperparameter of these families"
                    if len(owners) > 1
                    else f"hyperparameter of {owners[0]}"
                )
                raise ValueError(f"spaces.{name}: {unknown(kind, role, known)}")
            try:
                fitting_dimension(role, dimension)
            except SpecError as error:
                raise ValueError(f"spaces.{name}.{role}: {error}") from None
    for name in spec.families:
        try:
            spec.space(name)
        except SpecError as error:
            blamed = name if name in spec.spaces else ALL_FAMILIES
            raise ValueError(f"spaces.{blamed}: {error}") from None


def check_sizes(spec: "StudySpec") -> None:
    """Refuse a phase whose trials could not even be listed.

    Raises:
        ValueError: the first one.
    """
    search, sensitivity, confirmation = spec.phases.search, spec.phases.sensitivity, spec.phases.confirmation
    sizes = {"phases.search.trials": search.trials} if search else {}
    if sensitivity:
        sizes["phases.sensitivity.replicates times points"] = sensitivity.replicates * sensitivity.points
    if confirmation:
        sizes |= {
            f"phases.confirmation.{name}": getattr(confirmation, name)
            for name in ("seeds", "default_seeds", "perturbed_seeds")
        }
    for key, number in sizes.items():
        if number * len(spec.families) > MOST_TRIALS:
            raise ValueError(
                f"{key} is {number:,} for each of {len(spec.families)} families, but a phase has at most "
                f"{MOST_TRIALS:,} trials: lower it"
            )
    lr_slice = sensitivity.lr_slice if sensitivity else None
    if lr_slice is not None and lr_slice.num_learning_rates > MOST_LEARNING_RATES:
        raise ValueError(
            f"phases.sensitivity.lr_slice.step_decades is {lr_slice.step_decades:g}, which puts more than "
            f"{MOST_LEARNING_RATES:,} learning rates into the window: raise it"
        )


def check_phases(spec: "StudySpec") -> None:
    """Refuse phases that the training, or the families, contradict.

    Raises:
        ValueError: the first mistake.
    """
    phases, steps = spec.phases, spec.training.steps
    if not (phases.search or phases.sensitivity or phases.confirmation):
        raise ValueError("phases is empty, but a study needs one: write `tier: standard` or a phase")
    if phases.search:
        grace = phases.search.grace_steps
        if grace > steps:
            raise ValueError(
                f"phases.search.grace_steps is {grace}, above training.steps = {steps}: lower it"
            )
        if grace < spec.training.warmup * steps:
            raise ValueError(
                f"phases.search.grace_steps is {grace}, but no trial may be stopped during the warm-up of "
                f"{spec.training.warmup * steps:g} steps: raise it"
            )
    lr_slice = phases.sensitivity.lr_slice if phases.sensitivity else None
    odd = set(lr_slice.window) ^ set(spec.families) if lr_slice and isinstance(lr_slice.window, dict) else ()
    if odd:
        raise ValueError(
            f"phases.sensitivity.lr_slice.window and families differ by {min(odd)!r}: "
            "declare one window for each family"
        )


def check_evaluations(spec: "StudySpec") -> None:
    """Refuse evaluations that take too much of a trial, by tokens that pass through the base.

    A row that is evaluated passes once, one that is trained on counts three times, forwards and twice backwards. All
    rows count as long as `task.max_tokens`, which therefore cancels.

    Raises:
        ValueError: they take more than `training.max_evaluation_share`.
    """
    training, select_rows = spec.training, spec.task.select_rows
    num_evaluations = -(-training.steps // training.eval_every)
    evaluated, trained = num_evaluations * select_rows, PASSES_OF_STEP * training.batch * training.steps
    share, most = evaluated / (evaluated + trained), training.max_evaluation_share
    if share <= most:
        return
    allowed = trained * most / (1 - most)
    times, rows = math.floor(allowed / select_rows), math.floor(allowed / num_evaluations)
    ways = [f"raise training.eval_every to {-(-training.steps // times)}"] if times else []
    ways += [f"lower task.select_rows to {rows}"] if rows else []
    raise ValueError(
        f"evaluations on {select_rows} rows every {training.eval_every} steps would take {100 * share:.0f} % of all "
        f"token passes, above training.max_evaluation_share = {most:g}: {' or '.join(ways) or 'raise it'}"
    )


def check_matched(spec: "StudySpec") -> None:
    """Refuse pairs of families that the study does not train.

    Raises:
        ValueError: the first mistake.
    """
    for matched in spec.matched:
        for name in (matched.a, matched.b):
            if name not in spec.families:
                error = unknown("family of this study", name, spec.families)
                raise ValueError(f"claim {matched.claim}: {error}")
