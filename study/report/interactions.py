"""Where in the space one family gains on another: paired differences of the space design over two hyperparameters.

Both families meet at the same points of the design, so a cell averages pairs. Learning rates of different families
are not comparable as numbers; a point's place is its place in the claimed family's own range.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.records import Param, Phase
from study.report.snapshot import TrialRow
from study.statistics.results import Analysis

NUM_BINS = 4
"""Equal parts of the range of log learning rates."""
FACTORS = ("num_experts", "rank")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The pairs of one part of the learning rates at one level of a factor."""

    column: int
    """Part of the range of learning rates, from 0."""
    row: int
    """Index of the level."""
    difference: float
    """Mean over pairs of b's capped loss minus a's, in nats: above 0 favours a."""
    num_pairs: int


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """One pair of families over learning rate and one factor, on one workload."""

    a: str
    b: str
    workload: str
    factor: str
    levels: tuple[Param, ...]
    edges: tuple[float, ...]
    """Ends of the parts: learning rates of family a, one more than there are parts."""
    cells: tuple[Cell, ...]
    """Cells with a pair."""


def interactions(rows: Sequence[TrialRow], analysis: Analysis | None) -> tuple[Interaction, ...]:
    """Every pair that a claim names, over every workload and factor that varies."""
    pairs = dict.fromkeys((c.a, c.b) for c in (analysis.claims if analysis else ()) if c.b)
    workloads = dict.fromkeys(r.workload for r in rows)
    found = (
        _interaction(rows, a, b, workload, factor)
        for workload in workloads
        for a, b in pairs
        for factor in FACTORS
    )
    return tuple(one for one in found if one is not None)


def _interaction(rows: Sequence[TrialRow], a: str, b: str, workload: str, factor: str) -> Interaction | None:
    design = {name: _design(rows, name, workload) for name in (a, b)}
    pairs = [
        (math.log10(lr), level, other.capped - mine.capped)
        for key, mine in design[a].items()
        if (other := design[b].get(key)) is not None
        and mine.capped is not None
        and other.capped is not None
        and isinstance(lr := mine.params.get("lr"), int | float)
        and lr > 0
        and (level := mine.params.get(factor)) is not None
        and other.params.get(factor) == level
    ]
    levels = tuple(sorted({level for _, level, _ in pairs}, key=lambda v: (isinstance(v, str), v)))
    places = [place for place, _, _ in pairs]
    if len(levels) < 2 or max(places) <= min(places):  # noqa: PLR2004 - nothing to interact with
        return None
    low, width = min(places), (max(places) - min(places)) / NUM_BINS
    cells: dict[tuple[int, int], list[float]] = {}
    for place, level, difference in pairs:
        column = min(NUM_BINS - 1, int((place - low) / width))
        cells.setdefault((column, levels.index(level)), []).append(difference)
    return Interaction(
        a=a,
        b=b,
        workload=workload,
        factor=factor,
        levels=levels,
        edges=tuple(10 ** (low + width * i) for i in range(NUM_BINS + 1)),
        cells=tuple(
            Cell(column=column, row=row, difference=math.fsum(found) / len(found), num_pairs=len(found))
            for (column, row), found in sorted(cells.items())
        ),
    )


def _design(rows: Sequence[TrialRow], family: str, workload: str) -> dict[tuple[int, int, int], TrialRow]:
    return {
        (r.replicate, r.point, r.seed): r
        for r in rows
        if r.phase is Phase.SENSITIVITY and r.family == family and r.workload == workload and not r.extra
    }
