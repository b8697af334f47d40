"""The rows that a question is about, phase by phase, and the paired differences that come of them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.records import Phase
from study.statistics.contrast import Contrast, NotEvaluableError, Rows, difference, paired_rows
from study.statistics.metrics.metric import Question
from study.statistics.trials import Trials

SEED = "seed"
REPLICATE = "replicate"
UNKNOWN_INIT = "no trial tells the loss at initialisation, from which gain is measured"


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """What a metric gives for each family, one number per unit."""

    a: pd.Series
    b: pd.Series


def confirmed_rows(trials: Trials, question: Question) -> Rows:
    """Tuned configurations on fresh seeds; under `at`, family b at a's transformed tuned configuration.

    Raises:
        NotEvaluableError: the claim names one family, or a rule of `paired_rows` is broken.
    """
    return _rows(trials, question, Phase.CONFIRMATION)


def design_rows(trials: Trials, question: Question) -> Rows:
    """The design over the spaces; under `at`, family b at a's transformed design points.

    Raises:
        NotEvaluableError: the claim names one family, or a rule of `paired_rows` is broken.
    """
    return _rows(trials, question, Phase.SENSITIVITY)


def lr_slice_rows(trials: Trials, question: Question) -> Rows:
    """The learning-rate slices, whole replicates paired, since windows may differ between families.

    Raises:
        NotEvaluableError: the claim names one family, transforms hyperparameters or leaves trials out, the families
            were trained on different seeds, or a rule of `paired_rows` is broken.
    """
    a, b = two_families(question)
    if question.comparison.at is not None:
        raise NotEvaluableError("a learning-rate slice has no trials at transformed hyperparameters")
    if question.part.where:
        raise NotEvaluableError(
            "`where` chooses among the trials of a design, and a slice needs all of its own"
        )
    rows = paired_rows(
        trials,
        a,
        b,
        phase=Phase.LR_SLICE,
        workload=question.workload,
        slice_name="lr",
        pair_on=(REPLICATE,),
    )
    _check_seeds(rows, a, b)
    return rows


def two_families(question: Question) -> tuple[str, str]:
    """Names of the compared families.

    Raises:
        NotEvaluableError: the claim names only one.
    """
    comparison = question.comparison
    if not comparison.b:
        raise NotEvaluableError(
            f"metric {question.part.metric} compares two families, and the claim names only one"
        )
    return comparison.a, comparison.b


def target_loss(question: Question) -> float:
    """The target tau in nats.

    Raises:
        NotEvaluableError: the claim has none.
    """
    if question.tau is None or not np.isfinite(question.tau):
        raise NotEvaluableError(
            f"metric {question.part.metric} needs a target loss tau, and the claim has none"
        )
    return question.tau


def check_reached(rows: Rows, tau: float) -> None:
    """Refuse a target that no trial of either family reaches: there both families are alike by construction.

    Raises:
        NotEvaluableError: tau (nats) is below every capped loss.
    """
    if not ((rows.a["capped"] <= tau).any() or (rows.b["capped"] <= tau).any()):
        raise NotEvaluableError(f"tau = {tau:.4g} nats is not reached by any trial of either family")


def gain(rows: pd.DataFrame) -> pd.Series:
    """Loss at initialisation minus capped loss in nats, never below 0, one number per row.

    Raises:
        NotEvaluableError: no trial of the workload tells the loss at initialisation.
    """
    if rows["init_value"].isna().any():
        raise NotEvaluableError(UNKNOWN_INIT)
    return rows["init_value"] - rows["capped"]


def mean_by(values: pd.Series, rows: pd.DataFrame, unit: str) -> pd.Series:
    """Means of row values by unit, in the order of the rows; index: unit."""
    return values.groupby(rows[unit], sort=False).mean()


def contrast(values: Values, *, better: str, unit: str, notes: tuple[str, ...] = ()) -> Contrast:
    """The paired differences of per-unit values, oriented by `better` (`less` or `greater`)."""
    b = values.b.loc[values.a.index]
    return Contrast(
        differences=difference(values.a, b, better=better),
        unit=unit,
        a_values=values.a,
        b_values=b,
        notes=notes,
    )


def _rows(trials: Trials, question: Question, phase: Phase) -> Rows:
    a, b = two_families(question)
    return paired_rows(
        trials,
        a,
        b,
        phase=phase,
        workload=question.workload,
        b_slice=question.claim if question.comparison.at is not None else None,
        where=question.part.where,
    )


def _check_seeds(rows: Rows, a: str, b: str) -> None:
    """Within a replicate the family with fewer learning rates has no seed that the other lacks."""
    seeds_a, seeds_b = (side.groupby(REPLICATE)[SEED].agg(set).to_dict() for side in (rows.a, rows.b))
    for replicate, mine in seeds_a.items():
        theirs = seeds_b[replicate]
        if not (mine <= theirs or theirs <= mine):
            raise NotEvaluableError(
                f"families {a} and {b} were trained on different seeds in replicate {replicate} of the slice, and "
                "unpaired families are not compared"
            )
