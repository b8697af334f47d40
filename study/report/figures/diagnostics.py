"""Whether an endpoint's verdict leans on a few units: normal quantiles of its differences, and one unit left out."""

import math
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy import stats

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.paired import heading, judged, unit_label
from study.report.figures.style import INK, MUTED, VERDICTS, dress
from study.report.model import ReportModel
from study.statistics.claims import Direction
from study.statistics.results import ClaimResult, PartResult

LEAST = 4
"""Fewer units have no spread once one is left out."""


def diagnostics(model: ReportModel) -> Figure | None:
    """The figure, or None while no endpoint has enough units."""
    found = [
        (claim, part)
        for claim, part in judged(model)
        if len(part.differences) >= LEAST and len(set(part.differences)) > 1
    ]
    if not found:
        return None
    panels = tuple(
        Panel(
            title=heading(claim, part),
            alt=_alt(claim, part),
            draw=partial(_draw, claim=claim, part=part),
        )
        for claim, part in found
    )
    number = marks.count_range({part.n for _, part in found})
    return Figure(
        name="diagnostics",
        title="How far each claim leans on normality and on single units",
        caption=(
            f"n = {number} paired replicates or seeds per endpoint. Left: ordered differences over normal quantiles; "
            f"the line is the normal distribution of their mean and spread. Right: estimate with one unit left out, in "
            f"the units' order, with its 95 % t-interval; grey line: the whole estimate; black: what it must exceed."
        ),
        panels=panels,
        height=220,
    )


def left_out(differences: tuple[float, ...]) -> list[tuple[float, float, float]]:
    """Mean and ends of its 95 % t-interval without each unit in turn."""
    values = np.asarray(differences, dtype=float)
    found = []
    for index in range(values.size):
        rest = np.delete(values, index)
        half = float(stats.t.ppf(0.975, rest.size - 1)) * float(rest.std(ddof=1)) / math.sqrt(rest.size)
        mean = float(rest.mean())
        found.append((mean, mean - half, mean + half))
    return found


def _draw(ax: Axes, *, claim: ClaimResult, part: PartResult) -> None:
    dress(ax, title=heading(claim, part), y_label=unit_label(claim, part), x_label="normal quantile")
    right = marks.split(ax, share=0.47, gap=46)
    values = np.sort(np.asarray(part.differences))
    color, _ = VERDICTS[part.verdict]
    quantiles = stats.norm.ppf((np.arange(1, values.size + 1) - 0.5) / values.size)
    ends = np.array([quantiles[0], quantiles[-1]])
    ax.plot(ends, values.mean() + values.std(ddof=1) * ends, color=MUTED, linewidth=1)
    ax.plot(quantiles, values, "o", markersize=3.2, color=color)
    marks.plain_axes(right)
    right.set_xlabel(f"without {part.n_unit}", fontsize=11, labelpad=4)
    _influence(right, part, color)
    for axes in (ax, right):
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("-", "\u2212")))


def _influence(ax: Axes, part: PartResult, color: str) -> None:
    for index, (mean, low, high) in enumerate(left_out(part.differences), start=1):
        ax.plot([index, index], [low, high], color=color, linewidth=0.9, alpha=0.5)
        ax.plot([index], [mean], "o", markersize=2.8, color=color)
    ax.axhline(part.estimate or 0.0, color=MUTED, linewidth=1)
    limits = part.thresholds
    if limits is not None and part.direction is not Direction.EQUIVALENT:
        sign = -1 if part.direction is Direction.NONINFERIOR else 1
        ax.axhline(limits.null + sign * limits.margin, color=INK, linewidth=1.2)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _alt(claim: ClaimResult, part: PartResult) -> str:
    means = [mean for mean, _, _ in left_out(part.differences)]
    skewness = float(stats.skew(part.differences, bias=False))
    return (
        f"{claim.id}, {part.title}: without one {part.n_unit} the estimate lies between {min(means):.3g} and "
        f"{max(means):.3g} {part.unit}; the differences' skewness is {skewness:.2g}."
    )
