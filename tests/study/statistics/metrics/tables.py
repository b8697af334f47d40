"""Small trial tables with a known truth, in the very format of the trial table, and questions to ask of them.

A loss that is NaN makes a diverged trial. Seeds depend on phase, replicate and point and never on the family, so
two families built alike are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from study.records import Param
from study.statistics.claims import Comparison, Direction, Part
from study.statistics.metrics.metric import Question
from study.statistics.trials import Trials, read_trials

INIT = 5.0
"""Loss at initialisation in nats, unless told."""
WORKLOAD = "tiny"
LR = 1e-3
STEPS = 100
_PHASE_SEEDS = {
    "confirmation": 1_000_000,
    "sensitivity": 2_000_000,
    "lr_slice": 3_000_000,
    "factor_slice": 4_000_000,
}


def row(
    family: str,
    loss: float,
    *,
    phase: str = "confirmation",
    replicate: int = 0,
    point: int = 0,
    params: Mapping[str, Param] | None = None,
    init: float = INIT,
    **more: Any,
) -> dict[str, Any]:
    """One trial; `more` overrides any column, such as `outcome`, `seed`, `slice` or `workload`."""
    diverged = bool(np.isnan(loss))
    slice_name = more.get("slice", "")
    return {
        "trial": f"{phase}/{slice_name}{family}/r{replicate:02d}/p{point:02d}",
        "phase": phase,
        "slice": "",
        "workload": WORKLOAD,
        "family": family,
        "replicate": replicate,
        "point": point,
        "seed": _PHASE_SEEDS.get(phase, 0) + 1000 * replicate + point,
        **{f"param.{name}": value for name, value in ({"lr": LR} | dict(params or {})).items()},
        "value": loss,
        "select_value": loss,
        "init_value": init,
        "outcome": "diverged" if diverged else "finished",
        "steps": STEPS,
        "device_seconds": 1.0,
    } | more


def confirmation(
    family: str, losses: ArrayLike, *, params: Mapping[str, Param] | None = None, **more: Any
) -> pd.DataFrame:
    """The tuned configuration, `params`, on one fresh seed per loss (shape: seeds)."""
    return pd.DataFrame(
        [
            row(family, float(loss), replicate=r, params=params, **more)
            for r, loss in enumerate(np.asarray(losses, dtype=float))
        ]
    )


def design(
    family: str, losses: ArrayLike, *, params: Mapping[str, ArrayLike] | None = None, **more: Any
) -> pd.DataFrame:
    """The design over a space: losses and each of `params` of shape (replicates, points)."""
    grid = np.asarray(losses, dtype=float)
    settings = {name: np.asarray(values) for name, values in (params or {}).items()}
    return pd.DataFrame(
        [
            row(
                family,
                float(loss),
                phase="sensitivity",
                replicate=r,
                point=p,
                params={name: values[r, p].item() for name, values in settings.items()},
                **more,
            )
            for (r, p), loss in np.ndenumerate(grid)
        ]
    )


def lr_slices(
    family: str,
    loss: Callable[[float, int], float],
    *,
    low: float,
    high: float,
    step: float,
    offsets: Sequence[float],
    params: Mapping[str, Param] | None = None,
    **more: Any,
) -> pd.DataFrame:
    """One slice per offset: `loss(log10 lr, replicate)` at low + step·(offset + j), as far as below `high`.

    Args:
        family: whose.
        loss: nats, or NaN for a diverged trial.
        low: log10 of the window's lower end.
        high: log10 of its upper end; the number of points does not depend on the offset.
        step: decades.
        offsets: fractions of a step in [0, 1), one per replicate.
        params: the other hyperparameters.
        more: columns to override.
    """
    num_points = round((high - low) / step)
    rows = []
    for r, offset in enumerate(offsets):
        for j in range(num_points):
            log_lr = low + step * (offset + j)
            settings = {**(params or {}), "lr": 10.0**log_lr}
            more_of = {"phase": "lr_slice", "slice": "lr"} | more
            rows.append(row(family, loss(log_lr, r), replicate=r, point=j, params=settings, **more_of))
    return pd.DataFrame(rows)


def factor_slices(
    family: str,
    factor: str,
    levels: Sequence[Param],
    losses: ArrayLike,
    *,
    params: Mapping[str, Param] | None = None,
    **more: Any,
) -> pd.DataFrame:
    """One factor varied alone: losses of shape (replicates, levels)."""
    rows = []
    for (r, p), loss in np.ndenumerate(np.asarray(losses, dtype=float)):
        settings = {**(params or {}), factor: levels[p]}
        more_of = {"phase": "factor_slice", "slice": factor} | more
        rows.append(row(family, float(loss), replicate=r, point=p, params=settings, **more_of))
    return pd.DataFrame(rows)


def table(*frames: pd.DataFrame) -> pd.DataFrame:
    """Parts of a trial table as one, columns united."""
    return pd.concat(frames, ignore_index=True)


def trials(*frames: pd.DataFrame, curves: pd.DataFrame | None = None) -> Trials:
    """Parts of a trial table, checked."""
    return read_trials(table(*frames), curves)


def question(
    metric: str = "tuned_loss",
    *,
    a: str = "a",
    b: str = "b",
    direction: str = "less",
    tau: float | None = None,
    claim: str = "C1",
    at: Callable[[Mapping[str, Param]], Mapping[str, Param]] | None = None,
    **part: Any,
) -> Question:
    """What a claim on families a and b asks; `part` sets further fields of the part, `tau` is resolved (nats)."""
    return Question(
        comparison=Comparison(a=a, b=b, at=at, at_text="as told" if at else ""),
        part=Part(metric=metric, direction=Direction(direction), **part),
        workload=WORKLOAD,
        claim=claim,
        tau=tau,
    )
