"""M14: which hyperparameters a family's loss depends on, over the space design: descriptive only.

fANOVA: share of the variance of the loss over the space that each hyperparameter explains alone, by a forest of
regression trees. PED-ANOVA: how differently each hyperparameter is distributed among the best tenth of the trials than
among all. Both are estimated in every replicate, whose spread is then honest, and over all replicates at once, which
has more trials to learn from: a forest of few trials credits the strongest hyperparameter with too much (.87 for a
true .76 at 64 trials, .79 at 512). Both suppose that hyperparameters were drawn independently; a top_k that depends on
num_experts is not.

Search trials are never used: those that were stopped have no final loss, and importances of the survivors are others.

Source: Hutter et al. 2014 (fANOVA); Watanabe et al. 2023 (PED-ANOVA); optuna's evaluators.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from study.records import Phase
from study.report.estimates import Estimate, mean_estimate
from study.statistics.contrast import NotEvaluableError, paired_rows
from study.statistics.trials import Trials

if TYPE_CHECKING:
    import optuna

Method = Literal["fanova", "ped_anova"]
METHODS: tuple[Method, ...] = ("fanova", "ped_anova")
TARGET_QUANTILE = 0.1
"""PED-ANOVA asks what it takes to be among the best tenth."""
FEWEST_BEST = 5
"""Trials that must be among the best for PED-ANOVA to be stable; with fewer trials the quantile is raised."""
NUM_TREES = 32
_PREFIX = "param."


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Shares of one family's hyperparameters by one method, which sum to 1."""

    family: str
    workload: str
    method: Method
    shares: Mapping[str, Estimate]
    """Mean over replicates with Student's t-interval, the most important first."""
    pooled: Mapping[str, float]
    """From the trials of all replicates at once."""
    by_replicate: Mapping[int, Mapping[str, float]]
    num_trials: int
    quantile: float | None
    """The share of best trials in a replicate that PED-ANOVA looked at; None for fANOVA."""


def family_importance(
    trials: Trials, family: str, workload: str, *, method: Method, num_trees: int = NUM_TREES
) -> Importance:
    """Importances of one family's hyperparameters over its design.

    Args:
        trials: the table.
        family: whose.
        workload: which one.
        method: `fanova` or `ped_anova`.
        num_trees: of fANOVA's forest.

    Raises:
        NotEvaluableError: no design, one that breaks a rule of integrity, or a design in which nothing varies.
    """
    rows = paired_rows(trials, family, "", phase=Phase.SENSITIVITY, workload=workload).a
    return importance(rows, method=method, num_trees=num_trees)


def importance(rows: pd.DataFrame, *, method: Method, num_trees: int = NUM_TREES) -> Importance:
    """Importances from the checked rows of one family on one workload.

    Args:
        rows: `family`, `workload`, `replicate`, `capped` (nats) and `param.<name>`.
        method: `fanova` or `ped_anova`.
        num_trees: of fANOVA's forest.

    Raises:
        NotEvaluableError: no hyperparameter varies, losses are all alike, or a replicate has fewer than ten trials.
    """
    axes = _axes(rows)
    losses = rows["capped"].to_numpy(dtype=float)
    replicates = rows["replicate"].to_numpy()
    groups = {int(r): np.flatnonzero(replicates == r) for r in np.unique(replicates)}
    smallest = min(len(index) for index in groups.values())
    if smallest < 2 * FEWEST_BEST:
        raise NotEvaluableError(
            f"importances need {2 * FEWEST_BEST} trials in every replicate, and one has {smallest}"
        )
    by_replicate = {
        replicate: _shares(axes, losses, index, method, max(num_trees // 4, 1))  # a quarter shows the spread
        for replicate, index in groups.items()
    }
    pooled = _shares(axes, losses, np.arange(len(rows)), method, num_trees)
    estimates = {
        name: mean_estimate([shares[name] for shares in by_replicate.values()], bounds=(0.0, 1.0))
        for name in axes.points
    }
    known = {name: estimate for name, estimate in estimates.items() if estimate is not None}
    return Importance(
        family=str(rows["family"].iloc[0]),
        workload=str(rows["workload"].iloc[0]),
        method=method,
        shares=dict(sorted(known.items(), key=lambda item: -item[1].mean)),
        pooled=pooled,
        by_replicate=by_replicate,
        num_trials=len(rows),
        quantile=_quantile(smallest) if method == "ped_anova" else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Axes:
    """The hyperparameters that vary, as optuna takes them."""

    points: Mapping[str, list[Any]]
    """Name -> one value per row; whole numbers and words as the index of their level."""
    distributions: Mapping[str, "optuna.distributions.BaseDistribution"]


def _axes(rows: pd.DataFrame) -> _Axes:
    points: dict[str, list[Any]] = {}
    distributions: dict[str, optuna.distributions.BaseDistribution] = {}
    for column in rows.columns:
        if (
            not str(column).startswith(_PREFIX)
            or rows[column].isna().any()
            or len(rows[column].unique()) == 1
        ):
            continue
        name = str(column).removeprefix(_PREFIX)
        points[name], distributions[name] = _axis(rows[column])
    if not points:
        raise NotEvaluableError("no hyperparameter varies over the design, so none can be important")
    return _Axes(points=points, distributions=distributions)


def _axis(values: pd.Series) -> tuple[list[Any], "optuna.distributions.BaseDistribution"]:
    """One hyperparameter: reals by their rank among all rows, levels by their index.

    Ranks are the design's own measure, whether it drew on a linear or on a logarithmic axis; optuna's fANOVA would take
    a learning rate in its own unit, where all but the last decade is next to nothing.
    """
    from optuna.distributions import FloatDistribution, IntDistribution

    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all() and not (numbers == numbers.round()).all():
        ranks = (numbers.rank(method="average") - 0.5) / len(numbers)
        return [float(rank) for rank in ranks], FloatDistribution(0.0, 1.0)
    levels = sorted(set(numbers if numbers.notna().all() else values.astype(str)))
    index = {level: i for i, level in enumerate(levels)}
    found = numbers if numbers.notna().all() else values.astype(str)
    return [index[level] for level in found], IntDistribution(0, len(levels) - 1)


def _shares(
    axes: _Axes, losses: "np.ndarray[Any, Any]", index: "np.ndarray[Any, Any]", method: Method, num_trees: int
) -> dict[str, float]:
    """Shares of all hyperparameters from some of the rows; equal where the losses are all alike."""
    import optuna

    names = list(axes.points)
    if np.ptp(losses[index]) == 0:
        return dict.fromkeys(names, 1 / len(names))
    with _quiet():
        study = optuna.create_study(direction="minimize")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params={name: axes.points[name][i] for name in names},
                    distributions=dict(axes.distributions),
                    value=float(losses[i]),
                )
                for i in index
            ]
        )
        found = optuna.importance.get_param_importances(
            study, evaluator=_evaluator(method, len(index), num_trees), params=names
        )
    return {name: float(found[name]) for name in names}


def _evaluator(method: Method, num_trials: int, num_trees: int) -> Any:
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    if method == "fanova":
        return FanovaImportanceEvaluator(n_trees=num_trees, seed=0)
    return PedAnovaImportanceEvaluator(target_quantile=_quantile(num_trials))


def _quantile(num_trials: int) -> float:
    """The best tenth, or as much as holds five trials."""
    return max(TARGET_QUANTILE, math.ceil(1e4 * FEWEST_BEST / num_trials) / 1e4)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna without its news of studies created and of features that may change."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
