"""Trial tables of known surfaces, in the shape that `analyze` reads, many studies at once.

Replicates are independent, so that `num_studies` studies of R replicates are one table of num_studies * R replicates:
study i owns the replicates from i * R to (i + 1) * R - 1. Design points, seeds and offsets are shared by the families,
as in `study.protocol`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search_spaces import ROLES, derived_seed, slice_length, sobol_points
from study.statistics.trials import Trials
from tests.validation.surface import INIT, LEVELS, STEPS, Array, Surface, draw_noise

WORKLOAD = "simulated"
EVALUATED = np.array([1.0, 3.0, 9.0, 15.0, 21.0, 27.0])
"""Optimizer steps at which a curve is measured."""
FACTORS = ("num_experts", "top_k", "rank")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The sizes of a study."""

    replicates: int = 10
    points: int = 16
    seeds: int = 20
    """Of the confirmation."""
    step_decades: float = 0.5
    window: tuple[float, float] = (-5.0, 1.0)
    """Decades of the learning-rate slice, the same for every family."""
    fixed_grid: bool = False
    """Whether the slice's grid has no random offset, which is wrong and shown to be."""
    crossed: bool = False
    """Whether all replicates of a study have the same random configurations, which is wrong and shown to be."""
    design_seed: int | None = None
    """Of the design points, where tables with different noise are to share them."""
    phases: tuple[str, ...] = ("sensitivity", "lr_slice", "factor_slice", "confirmation")
    matched: Mapping[str, tuple[str, str, Callable[[Array], Array]]] = field(default_factory=dict)
    """Claim id → (a, b, learning rate of b from that of a): b trained at a's design points."""
    matched_phase: str = "sensitivity"
    perturbations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Perturbation → family → expected rise of the loss in nats."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cell:
    """The trials of one phase and slice: every array has the shape of `replicate`."""

    phase: str
    slice: str
    replicate: NDArray[np.int64]
    point: NDArray[np.int64]
    seed: NDArray[np.int64]
    shared: Array
    """The seed's noise, standardised."""
    decade: Callable[[Surface], Array]
    params: Mapping[str, NDArray[np.int64]]
    only: str = ""
    """Family that alone is trained here; empty: all."""


def trial_table(
    surfaces: Sequence[Surface], layout: Layout, *, seed: int, num_studies: int = 1, named: bool = True
) -> pd.DataFrame:
    """A trial table with one row a trial, in order of phase, family, replicate and point.

    Args:
        surfaces: the families.
        layout: sizes.
        seed: of everything random.
        num_studies: independent studies, one after another along `replicate`.
        named: whether every trial has a name in column `trial`, which curves need.
    """
    rng = np.random.default_rng(derived_seed("validation", seed))
    replicates = num_studies * layout.replicates
    made: list[_Cell] = []
    if "sensitivity" in layout.phases:
        made.append(_space_cell(layout, replicates, seed, rng))
        for name, (a, b, transform) in layout.matched.items():
            if layout.matched_phase == "sensitivity":
                made.append(_matched_cell(made[0], name, surfaces=surfaces, a=a, b=b, transform=transform))
    if "lr_slice" in layout.phases:
        made.append(_lr_cell(layout, replicates, seed, rng))
    if "factor_slice" in layout.phases:
        made += [_factor_cell(factor, replicates, seed, rng) for factor in FACTORS]
    if "confirmation" in layout.phases:
        cell = _confirmation_cell(num_studies * layout.seeds, seed, rng)
        made.append(cell)
        for name, (a, b, transform) in layout.matched.items():
            if layout.matched_phase == "confirmation":
                made.append(_matched_cell(cell, name, surfaces=surfaces, a=a, b=b, transform=transform))
    frames = [
        _outcomes(surface, cell, layout, rng, named=named)
        for cell in made
        for surface in surfaces
        if cell.only in {"", surface.name}
    ]
    return pd.concat(frames, ignore_index=True)


def trials_of(
    surfaces: Sequence[Surface], layout: Layout, *, seed: int, num_studies: int = 1, curves: bool = False
) -> Trials:
    """The table as `read_trials` reads it, but for the order of its phases and families; no cell needs a check."""
    table = trial_table(surfaces, layout, seed=seed, num_studies=num_studies, named=curves)
    table["_order"] = np.arange(len(table))
    table["capped"] = np.where(table["outcome"] == "diverged", INIT, np.minimum(table["value"], INIT))
    measured = curve_table(table, surfaces) if curves else pd.DataFrame(columns=["trial", "step", "value"])
    return Trials(frame=table, curves=measured, num_duplicates=0)


def curve_table(table: pd.DataFrame, surfaces: Sequence[Surface]) -> pd.DataFrame:
    """Measurements of every trial: the loss falls from INIT to `select_value`; a diverged trial stays at INIT."""
    by_name = {surface.name: surface for surface in surfaces}
    frames = []
    for name, rows in table.groupby("family", sort=False):
        final = rows["select_value"].fillna(INIT).to_numpy()[:, None]
        progress = by_name[str(name)].progress(EVALUATED)
        frames.append(
            pd.DataFrame(
                {
                    "trial": np.repeat(rows["trial"].to_numpy(), len(EVALUATED)),
                    "step": np.tile(EVALUATED, len(rows)),
                    "value": (INIT - (INIT - final) * progress).ravel(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def study_of(replicates: pd.Index | pd.Series, layout: Layout, *, seeds: bool = False) -> NDArray[np.int64]:
    """Which study each replicate of a table of many studies belongs to."""
    return np.asarray(replicates) // (layout.seeds if seeds else layout.replicates)


def _seeds(seed: int, phase: str, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Seeds that no other phase and no other (replicate, point) has."""
    first = derived_seed(seed, phase) % 2**61
    return first + np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)


def _grid(shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = np.indices(shape)
    return rows.astype(np.int64), columns.astype(np.int64)


def designs(replicates: int, points: int, seed: int) -> Array:
    """Scrambled Sobol' nets, shape (replicates, points, 4): lr, num_experts, top_k, rank.

    A replicate's net depends on the seed and its number alone, so fewer replicates are the first of more.
    """
    blocks = [_block(index, points, seed) for index in range(-(-replicates // _BLOCK))]
    return np.concatenate(blocks)[:replicates]


_BLOCK = 100


@cache
def _block(index: int, points: int, seed: int) -> Array:
    roles = list(ROLES)
    columns = [roles.index(name) for name in ("lr", *FACTORS)]
    drawn = [
        sobol_points(points, len(roles), derived_seed(seed, "sensitivity", "design", replicate))
        for replicate in range(index * _BLOCK, (index + 1) * _BLOCK)
    ]
    return np.stack(drawn)[:, :, columns]


def design_params(u: Array) -> dict[str, NDArray[np.int64]]:
    """The discrete hyperparameters at points u (…, 4) by inverse distribution functions, top_k within num_experts."""
    experts = _choose(u[..., 1], np.asarray(LEVELS["num_experts"]))
    top_k = np.asarray(LEVELS["top_k"])
    allowed = (top_k <= experts[..., None]).sum(axis=-1)
    return {
        "num_experts": experts,
        "top_k": top_k[np.minimum((u[..., 2] * allowed).astype(int), allowed - 1)],
        "rank": _choose(u[..., 3], np.asarray(LEVELS["rank"])),
    }


def _choose(u: Array, levels: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(levels[np.minimum((u * len(levels)).astype(int), len(levels) - 1)])


def _space_cell(layout: Layout, replicates: int, seed: int, rng: np.random.Generator) -> _Cell:
    design_seed = seed if layout.design_seed is None else layout.design_seed
    if layout.crossed:
        once = np.random.default_rng(design_seed).random((replicates // layout.replicates, layout.points, 4))
        u = np.repeat(once, layout.replicates, axis=0)
    else:
        u = designs(replicates, layout.points, design_seed)
    shape = u.shape[:2]
    replicate, point = _grid(shape)

    def decade(surface: Surface) -> Array:
        low, high = surface.span
        return np.asarray(surface.center + low + u[..., 0] * (high - low))

    return _Cell(
        phase="sensitivity",
        slice="",
        replicate=replicate,
        point=point,
        seed=_seeds(seed, "sensitivity", shape),
        shared=rng.standard_normal(shape),
        decade=decade,
        params=design_params(u),
    )


def _matched_cell(
    cell: _Cell,
    name: str,
    *,
    surfaces: Sequence[Surface],
    a: str,
    b: str,
    transform: Callable[[Array], Array],
) -> _Cell:
    of_a = next(surface for surface in surfaces if surface.name == a)
    moved = np.log10(transform(10 ** cell.decade(of_a)))
    return _Cell(
        phase=cell.phase,
        slice=name,
        replicate=cell.replicate,
        point=cell.point,
        seed=cell.seed,
        shared=cell.shared,
        decade=lambda _: moved,
        params=cell.params,
        only=b,
    )


def _lr_cell(layout: Layout, replicates: int, seed: int, rng: np.random.Generator) -> _Cell:
    low, high = layout.window
    shape = (replicates, slice_length(10**low, 10**high, layout.step_decades))
    replicate, point = _grid(shape)
    offset = np.zeros((replicates, 1)) if layout.fixed_grid else rng.random((replicates, 1))
    grid = low + layout.step_decades * (offset + point)
    return _Cell(
        phase="lr_slice",
        slice="lr",
        replicate=replicate,
        point=point,
        seed=_seeds(seed, "lr_slice", shape),
        shared=rng.standard_normal(shape),
        decade=lambda _: grid,
        params=_tuned(shape),
    )


def _factor_cell(factor: str, replicates: int, seed: int, rng: np.random.Generator) -> _Cell:
    shape = (replicates, len(LEVELS[factor]))
    replicate, point = _grid(shape)
    return _Cell(
        phase="factor_slice",
        slice=factor,
        replicate=replicate,
        point=point,
        seed=_seeds(seed, f"factor_slice/{factor}", shape),
        shared=rng.standard_normal(shape),
        decade=lambda surface: np.full(shape, surface.center),
        params=_tuned(shape) | {factor: np.broadcast_to(np.asarray(LEVELS[factor]), shape)},
    )


def _confirmation_cell(num_seeds: int, seed: int, rng: np.random.Generator) -> _Cell:
    shape = (num_seeds, 1)
    replicate, point = _grid(shape)
    return _Cell(
        phase="confirmation",
        slice="",
        replicate=replicate,
        point=point,
        seed=_seeds(seed, "confirmation", shape),
        shared=rng.standard_normal(shape),
        decade=lambda surface: np.full(shape, surface.center),
        params=_tuned(shape),
    )


def _tuned(shape: tuple[int, ...]) -> dict[str, NDArray[np.int64]]:
    return {name: np.full(shape, value) for name, value in (("num_experts", 8), ("top_k", 2), ("rank", 8))}


def _outcomes(
    surface: Surface, cell: _Cell, layout: Layout, rng: np.random.Generator, *, named: bool
) -> pd.DataFrame:
    """The trials of one family in one cell."""
    shape = cell.replicate.shape
    decade = cell.decade(surface)
    own = surface.replicate_noise * rng.standard_normal((shape[0], 1))
    noise = (
        surface.noise * draw_noise(surface.noise_kind, shape, rng) + surface.shared_noise * cell.shared + own
    )
    loss = (
        surface.expected(decade, {name: values.astype(float) for name, values in cell.params.items()}) + noise
    )
    select = loss + surface.select_noise * rng.standard_normal(shape)
    diverged = rng.random(shape) < surface.divergence(decade)
    columns: dict[str, object] = {
        "phase": cell.phase,
        "slice": cell.slice,
        "workload": WORKLOAD,
        "family": surface.name,
        "replicate": cell.replicate.ravel(),
        "point": cell.point.ravel(),
        "seed": cell.seed.ravel(),
        "param.lr": 10 ** decade.ravel(),
        **{f"param.{name}": values.ravel() for name, values in cell.params.items()},
        "value": np.where(diverged, np.nan, loss).ravel(),
        "select_value": np.where(diverged, np.nan, select).ravel(),
        "init_value": INIT,
        "outcome": np.where(diverged, "diverged", "finished").ravel(),
        "steps": np.where(diverged, STEPS // 3, STEPS).ravel(),
        "device_seconds": 1.0,
        "report_accuracy": np.where(diverged, np.nan, np.exp(-loss)).ravel(),
    }
    if named:
        prefix = f"{cell.phase}/{cell.slice}/{surface.name}"
        columns["trial"] = [f"{prefix}/{r}/{p}" for r, p in np.ndindex(*shape)]
    if cell.phase == "confirmation" and not cell.slice:
        for name, rises in layout.perturbations.items():
            rise = rises[surface.name] + surface.noise * rng.standard_normal(shape)
            columns[f"perturbed.{name}.loss"] = np.where(diverged, np.nan, loss + rise).ravel()
            columns[f"perturbed.{name}.accuracy"] = np.where(diverged, np.nan, np.exp(-loss - rise)).ravel()
    return pd.DataFrame(columns)
