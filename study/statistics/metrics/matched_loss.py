"""The loss at matched hyperparameters: family b trained at a's hyperparameters, transformed.

A family whose gain is another family's at a shifted learning rate gains nothing here.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from study.records import Param, Phase
from study.statistics.contrast import Contrast, NotEvaluableError
from study.statistics.metrics.metric import Metric, Question
from study.statistics.metrics.paired import (
    REPLICATE,
    SEED,
    Values,
    confirmed_rows,
    contrast,
    design_rows,
    mean_by,
    two_families,
)
from study.statistics.trials import Trials

SAME = 1e-6
"""Relative difference below which two hyperparameters are equal."""
_PREFIX = "param."


def matched_loss(rows: pd.DataFrame, unit: str = REPLICATE) -> pd.Series:
    """Mean capped loss min(l, l0) over a family's halves of the matched pairs.

    Args:
        rows: trials of one family that have a match.
        unit: `replicate` for a design, `seed` for the confirmation.

    Returns:
        Nats per unit.
    """
    return mean_by(rows["capped"], rows, unit)


def with_matches(trials: Trials, question: Question, phase: str) -> tuple[Trials, tuple[str, ...]]:
    """The table with family b's trials at a's transformed hyperparameters in the slice named by the claim.

    A study lays that slice out itself, and its table comes back as it is. In any other table the matches are looked
    up: same phase, replicate and seed, and every hyperparameter that family b has equal to the transformed one.
    Family a's trials without a match are left out.

    Returns:
        The table, and a sentence on how many trials had a match.

    Raises:
        NotEvaluableError: no trial has a match.
    """
    family_a, family_b = two_families(question)
    chosen = {"phase": phase, "workload": question.workload}
    if not trials.rows(family=family_b, slice_name=question.claim, **chosen).empty:
        return trials, ()
    a, b = (trials.rows(family=family, **chosen) for family in (family_a, family_b))
    if a.empty or b.empty:
        return trials, ()
    partners = _partners(a, b, question)
    found = np.array([partner is not None for partner in partners], dtype=bool)
    if not found.any():
        raise NotEvaluableError(
            f"no {phase} trial of family {family_b} has the replicate, the seed and the transformed hyperparameters of "
            f"a trial of family {family_a}"
        )
    matches = b.loc[[partner for partner in partners if partner is not None]]
    matches = matches.assign(slice=question.claim, point=a.loc[found, "point"].to_numpy())
    frame = pd.concat([trials.frame.drop(index=a.index[~found]), matches], ignore_index=True)
    note = (
        f"{int(found.sum())} of {len(a)} {phase} trials of {family_a} have a match among those of {family_b}."
    )
    return replace(trials, frame=frame), (note,)


def _partners(a: pd.DataFrame, b: pd.DataFrame, question: Question) -> list[Hashable | None]:
    """For each of a's rows the index of the first of b's at the transformed hyperparameters; None without one."""
    transform = question.comparison.at
    if transform is None:
        raise NotEvaluableError("matched_loss needs `at`, which says where family b is trained")
    trained: dict[tuple[int, int], list[tuple[Hashable, dict[str, Param]]]] = {}
    for index, row in zip(b.index, b.to_dict("records"), strict=True):
        trained.setdefault((row[REPLICATE], row[SEED]), []).append((index, _params(row)))
    partners = []
    for row in a.to_dict("records"):
        wanted = transform(_params(row))
        candidates = trained.get((row[REPLICATE], row[SEED]), [])
        partners.append(next((index for index, params in candidates if _equal(wanted, params)), None))
    return partners


def _params(row: Mapping[Hashable, Any]) -> dict[str, Param]:
    """The hyperparameters that a trial has."""
    return {
        str(name).removeprefix(_PREFIX): value
        for name, value in row.items()
        if str(name).startswith(_PREFIX) and not pd.isna(value)
    }


def _equal(wanted: Mapping[str, Param], params: Mapping[str, Param]) -> bool:
    """Whether a trial's hyperparameters are the wanted ones; those that its family does not have are left out."""
    return all(_same(wanted[name], value) for name, value in params.items() if name in wanted)


def _same(wanted: Param, value: Param) -> bool:
    if isinstance(wanted, str) or isinstance(value, str):
        return wanted == value
    return math.isclose(wanted, value, rel_tol=SAME)


def _contrast(trials: Trials, question: Question) -> Contrast:
    phase = question.part.phase or Phase.SENSITIVITY
    if phase not in {Phase.SENSITIVITY, Phase.CONFIRMATION}:
        raise NotEvaluableError(f"matched losses are read in sensitivity or confirmation, not in {phase}")
    if question.comparison.at is None:
        raise NotEvaluableError("matched_loss needs `at`, which says where family b is trained")
    matched, notes = with_matches(trials, question, phase)
    if phase == Phase.SENSITIVITY:
        rows, unit = design_rows(matched, question), REPLICATE
    else:
        rows, unit = confirmed_rows(matched, question), SEED
    values = Values(a=matched_loss(rows.a, unit), b=matched_loss(rows.b, unit))
    return contrast(values, better="less", unit=unit, notes=(*notes, *rows.notes))


MATCHED_LOSS = Metric(
    name="matched_loss",
    title="loss at matched hyperparameters",
    unit="nats",
    better="less",
    phase=Phase.SENSITIVITY,
    formula="mean over pairs of min(l, l0), family b trained at a's hyperparameters, transformed by `at`",
    source="Paired comparison at an equal effective learning rate (Choi et al. 2019, inclusion of optimizers)",
    contrast=_contrast,
)
