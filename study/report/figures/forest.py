"""All claims on one axis: every endpoint's estimate and interval against what was registered.

Endpoints have different units, so each is drawn in units of its smallest effect of interest; the numbers in their own
units stand in the table of claims.
"""

from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import FAINT, INK, MUTED, PAPER, VERDICTS, dress
from study.report.model import ReportModel
from study.report.sentences import finding, label
from study.statistics.claims import Direction
from study.statistics.results import ClaimResult, PartResult, Verdict

ROW = 31
"""Height of a row in pixels."""
LABELS = 138
"""Room for the rows' names in pixels."""
FARTHEST = 6.0
"""Smallest effects of interest that are drawn at the most; beyond, an arrow."""
LONGEST = 24
"""Characters of a row's name."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One endpoint."""

    name: str
    verdict: str
    part: PartResult
    scale: float | None
    """One unit of the axis in the endpoint's own; None where nothing was estimated."""

    def at(self, value: float) -> float:
        """Place of a value in the endpoint's own unit."""
        null = self.part.thresholds.null if self.part.thresholds else 0.0
        return (value - null) / (self.scale or 1.0)


def forest(model: ReportModel) -> Figure | None:
    """The figure, or None while no endpoint has an estimate."""
    if model.analysis is None or not model.analysis.claims:
        return None
    rows = [_row(claim, part) for claim in model.analysis.claims for part in claim.parts]
    judged = [row.part for row in rows if row.part.estimate is not None]
    if not judged:
        return None
    units = marks.count_range({part.n for part in judged})
    levels = sorted({f"{100 * part.level:.3g}" for part in judged if part.level is not None}, key=float)
    told = " to ".join(dict.fromkeys([*levels[:1], *levels[-1:]])) + " %"
    return Figure(
        name="forest",
        title="All claims against what was registered",
        caption=(
            f"n = {units} paired replicates or seeds per endpoint. Estimate and interval "
            f"({told}; t-interval unless the table names another) in units of the endpoint's "
            f"smallest effect of interest; right of 0 favours the claimed family. Grey band: bounds of equivalence; "
            f"tick: what the estimate must exceed. Arrow: the interval goes on."
        ),
        panels=(Panel(title="forest", alt=_alt(rows), draw=partial(_draw, rows=rows)),),
        height=46 + 40 + ROW * len(rows),
        left=LABELS,
    )


def _row(claim: ClaimResult, part: PartResult) -> Row:
    several = len({one.workload for one in claim.parts}) > 1
    where = f" · {part.workload}" if several else ""
    return Row(
        name=f"{claim.id} {part.metric}",
        verdict=f"{label(part.verdict, part.grade)}{where}",
        part=part,
        scale=None if part.estimate is None else _scale(part),
    )


def _scale(part: PartResult) -> float:
    """The registered effect by which the endpoint is measured; its interval's half-width without one."""
    limits = part.thresholds
    known = [limits.sesoi, limits.equivalence, limits.margin] if limits else []
    half = (part.ci_high - part.ci_low) / 2 if part.ci_high is not None and part.ci_low is not None else 0.0
    return next((size for size in (*known, half) if size), 1.0)


def _draw(ax: Axes, *, rows: list[Row]) -> None:
    dress(
        ax, title="", y_label="in smallest effects of interest", x_label="difference, oriented", left=LABELS
    )
    ax.grid(visible=False)
    drawn = [row for row in rows if row.scale is not None]
    ends = [row.at(v) for row in drawn for v in (row.part.ci_low, row.part.ci_high) if v is not None]
    reach = min(FARTHEST, 1.08 * max([1.5, *(abs(end) for end in ends)]))
    ax.set_xlim(-reach, reach)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.yaxis.set_major_locator(FixedLocator([]))
    ax.yaxis.set_major_formatter(NullFormatter())
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    marks.zero_line(ax, vertical=True)
    for index, row in enumerate(rows):
        _name(ax, index, row)
        if index and rows[index - 1].name.split(" ")[0] != row.name.split(" ")[0]:
            ax.axhline(index - 0.5, xmin=-2.2, color=FAINT, linewidth=0.8, clip_on=False)
        if row.scale is not None:
            _limits(ax, index, row)
            _interval(ax, index, row, reach)


def _name(ax: Axes, index: int, row: Row) -> None:
    for text, up, size, color in ((row.name, 4.5, 11, INK), (row.verdict, -7.5, 10, MUTED)):
        ax.annotate(
            marks.shorten(text, LONGEST if size > 10 else LONGEST + 4),  # noqa: PLR2004 - the smaller one
            (0, index),
            xycoords=("axes fraction", "data"),
            xytext=(-LABELS, up),
            textcoords="offset points",
            va="center",
            fontsize=size,
            color=color,
        )


def _limits(ax: Axes, index: int, row: Row) -> None:
    limits = row.part.thresholds
    if limits is None or row.scale is None:
        return
    if limits.equivalence is not None:
        bound = limits.equivalence / row.scale
        ax.fill_betweenx([index - 0.38, index + 0.38], -bound, bound, color=FAINT, alpha=0.55, linewidth=0)
    if row.part.direction is not Direction.EQUIVALENT:
        sign = -1 if row.part.direction is Direction.NONINFERIOR else 1
        edge = sign * limits.margin / row.scale
        ax.plot([edge, edge], [index - 0.38, index + 0.38], color=INK, linewidth=1.2)


def _interval(ax: Axes, index: int, row: Row, reach: float) -> None:
    color, marker = VERDICTS[row.part.verdict]
    inside = 0.985 * reach
    ends = [None if v is None else row.at(v) for v in (row.part.ci_low, row.part.ci_high)]
    low, high = (
        sign * inside if v is None else max(-inside, min(inside, v))
        for v, sign in zip(ends, (-1, 1), strict=True)
    )
    ax.plot([low, high], [index, index], color=color, linewidth=1.9, solid_capstyle="butt")
    for end, place, arrow in ((ends[0], low, "<"), (ends[1], high, ">")):
        cut = end is None or abs(end) > inside
        ax.plot([place], [index], marker=arrow if cut else "|", markersize=5 if cut else 7, color=color)
    estimate = row.at(row.part.estimate or 0.0)
    hollow = row.part.verdict is Verdict.INCONCLUSIVE
    if abs(estimate) < inside:
        face = PAPER if hollow else color
        edge = color if hollow else PAPER
        ax.plot(
            [estimate], [index], marker=marker, markersize=6.5, color=face, markeredgecolor=edge, zorder=3
        )


def _alt(rows: list[Row]) -> str:
    told = [f"{row.name}: {row.verdict}, {finding(row.part).rstrip('.')}" for row in rows]
    return f"Estimates and intervals of {len(rows)} endpoints. {'; '.join(told)}."
