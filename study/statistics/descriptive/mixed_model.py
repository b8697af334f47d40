"""M17: a mixed model of all trials of the design, as a cross-check of the space's average: never a verdict.

    capped loss ~ family * (log10 lr - its mean in the family) + (1 | replicate) + (1 | configuration) + (1 | seed)
                  + (1 | configuration x family) + noise

A configuration is family a's hyperparameters with its pair. A component enters where the data can tell it from the
others: seeds where one trained several configurations and is no other name of the replicate; the interaction where
every family was trained more than once at a configuration. The loss is no linear function of the learning rate, and
trials of a replicate share a design, so the standard errors are those of a model that is wrong: the replicates decide,
and this only has to agree.

Replicates are the groups where nothing crosses them: the same model as one group with all components, and a hundred
times faster.

Source: Baayen, Davidson, Bates 2008; statsmodels MixedLM with variance components, by REML.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM

from study.records import Phase
from study.statistics.contrast import NotEvaluableError, paired_rows
from study.statistics.intervals import Interval
from study.statistics.trials import Trials

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class MixedModel:
    """What the model says of two families."""

    a: str
    b: str
    workload: str
    formula: str
    estimate: float
    """Loss of b minus loss of a in nats, at each family's mean log learning rate: above 0 favours a."""
    interval: Interval
    """Normal, at `level`."""
    level: float
    p: float
    components: Mapping[str, float]
    """Standard deviations in nats: `replicate`, `configuration`, `seed`, `configuration x family`, `noise`."""
    num_trials: int
    converged: bool
    notes: tuple[str, ...]
    """What the fit warned of."""


def mixed_model(trials: Trials, a: str, b: str, workload: str, *, level: float = LEVEL) -> MixedModel:
    """Fit the model to the designs of two families on one workload.

    Args:
        trials: the table.
        a: family a.
        b: family b.
        workload: which one.
        level: confidence of the interval.

    Raises:
        NotEvaluableError: the designs break a rule of integrity, or the model cannot be fitted.
    """
    rows = paired_rows(trials, a, b, phase=Phase.SENSITIVITY, workload=workload)
    table = _table(rows.a, rows.b)
    components = _components(table)
    fixed = "capped ~ is_b * log_lr" if "log_lr" in table else "capped ~ is_b"
    fit, variances, notes = _fitted(table, fixed, components)
    estimate = float(fit.params["is_b"])
    half = float(stats.norm.isf((1 - level) / 2)) * float(fit.bse["is_b"])
    return MixedModel(
        a=a,
        b=b,
        workload=workload,
        formula=fixed + "".join(f" + (1 | {name})" for name in components),
        estimate=estimate,
        interval=Interval(estimate - half, estimate + half),
        level=level,
        p=float(fit.pvalues["is_b"]),
        components={name: float(np.sqrt(max(0.0, variance))) for name, variance in variances.items()},
        num_trials=len(table),
        converged=bool(fit.converged),
        notes=notes,
    )


def _fitted(
    table: pd.DataFrame, fixed: str, components: Mapping[str, str]
) -> tuple[Any, dict[str, float], tuple[str, ...]]:
    """The fit, its variances by name with the noise last, and what it warned of."""
    grouped = "replicate" in components and not any(
        _crosses(table, column, "replicate") for column in components.values()
    )
    inside = {name: column for name, column in components.items() if not (grouped and name == "replicate")}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit = MixedLM.from_formula(
                fixed,
                groups=table["replicate"] if grouped else np.ones(len(table)),
                re_formula="1" if grouped else "0",
                vc_formula={name: f"0 + C({column})" for name, column in inside.items()} or None,
                data=table,
            ).fit(reml=True, method="powell")
        except (np.linalg.LinAlgError, ValueError) as broken:
            raise NotEvaluableError(f"the mixed model cannot be fitted: {broken}") from broken
    found = dict(zip(sorted(inside), map(float, fit.vcomp), strict=True))  # statsmodels sorts them by name
    if grouped:
        found["replicate"] = float(fit.cov_re.iloc[0, 0])
    variances = {name: found[name] for name in components} | {"noise": float(fit.scale)}
    return fit, variances, tuple(dict.fromkeys(str(one.message) for one in caught))


def _table(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Both families' rows: `capped`, `is_b`, `log_lr` (centred within a family) and labels of what they share."""
    names = [name for name in a.columns if str(name).startswith("param.")] or ["replicate", "point"]
    labels = a.groupby(names, dropna=False).ngroup().to_numpy()
    shared = pd.Series(labels, index=pd.MultiIndex.from_frame(a[["replicate", "point"]]))
    shared = shared[~shared.index.duplicated()]
    sides = []
    for is_b, side in enumerate((a, b)):
        one = side[["capped", "replicate", "point", "seed"]].assign(is_b=float(is_b))
        one["configuration"] = shared.loc[pd.MultiIndex.from_frame(side[["replicate", "point"]])].to_numpy()
        log_lr = _log_lr(side)
        if log_lr is not None:
            one["log_lr"] = log_lr - log_lr.mean()
        sides.append(one)
    table = pd.concat(sides, ignore_index=True).dropna(axis="columns")
    table["cell"] = table["configuration"].astype(str) + "/" + table["is_b"].astype(str)
    return table


def _log_lr(rows: pd.DataFrame) -> pd.Series | None:
    """log10 of the learning rate, where it varies."""
    if "param.lr" not in rows.columns:
        return None
    lr = pd.to_numeric(rows["param.lr"], errors="coerce")
    return np.log10(lr) if (lr > 0).all() and lr.min() < lr.max() else None


def _components(table: pd.DataFrame) -> dict[str, str]:
    """Name -> column of each variance component that the data can tell from the others."""
    renamed = not (_crosses(table, "seed", "replicate") or _crosses(table, "replicate", "seed"))
    found = {
        "replicate": ("replicate", len(table["replicate"].unique()) > 1),
        "configuration": ("configuration", _crosses(table, "replicate", "configuration")),
        "seed": ("seed", _crosses(table, "seed", "configuration") and not renamed),
        "configuration x family": ("cell", bool((table.groupby("cell").size() > 1).all())),
    }
    return {name: column for name, (column, is_known) in found.items() if is_known}


def _crosses(table: pd.DataFrame, one: str, other: str) -> bool:
    """Whether one level of `one` has several of `other`."""
    pairs = table[[one, other]].drop_duplicates()
    return bool(pairs[one].duplicated().any())
