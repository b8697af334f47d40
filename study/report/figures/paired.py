"""Paired differences, unit by unit: both families' values on the left, their differences on the right.

Gardner and Altman 1986 (BMJ 292:746); Ho et al. 2019 (Nature Methods 16:565).
"""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import INK, MUTED, PAPER, VERDICTS, dress, mark
from study.report.model import ReportModel
from study.report.sentences import finding
from study.statistics.claims import Direction
from study.statistics.results import ClaimResult, PartResult

LEAST = 2
"""Fewer differences have no spread to show."""
GOLDEN = 0.6180339887
"""Multiples of it modulo 1 fill an interval evenly: a jitter that is the same on every run."""
LONGEST = 50
"""Characters of a panel's title."""


def judged(model: ReportModel) -> list[tuple[ClaimResult, PartResult]]:
    """Every endpoint with differences to show, in the claims' order."""
    claims = model.analysis.claims if model.analysis else ()
    return [
        (claim, part)
        for claim in claims
        for part in claim.parts
        if len(part.differences) >= LEAST and part.estimate is not None
    ]


def heading(claim: ClaimResult, part: PartResult) -> str:
    """Claim and endpoint, as short as a panel's title must be."""
    return marks.shorten(f"{claim.id} {part.title}", LONGEST)


def unit_label(claim: ClaimResult, part: PartResult) -> str:
    """The endpoint's unit, with its workload where the claim has several."""
    several = len({one.workload for one in claim.parts}) > 1
    return marks.shorten(f"{part.unit}{f' on {part.workload}' if several else ''}", LONGEST + 6)


def paired(model: ReportModel) -> Figure | None:
    """The figure, or None while no endpoint has paired differences."""
    found = judged(model)
    if not found:
        return None
    panels = tuple(
        Panel(
            title=heading(claim, part),
            alt=f"{claim.id}: {finding(part, claim.at)}.",
            draw=partial(_draw, claim=claim, part=part, families=model.families),
        )
        for claim, part in found
    )
    number = marks.count_range({part.n for _, part in found})
    return Figure(
        name="paired",
        title="Paired differences behind each claim",
        caption=(
            f"n = {number} paired replicates or seeds per endpoint. Left: each family's value, in the endpoint's unit, "
            f"a line joins a pair; right: the differences, turned so that above 0 favours the claimed family, their "
            f"mean and the interval at the claim's level (t-interval unless the table names another). Solid line: what "
            f"the difference must exceed; dashed: smallest effect of interest; band: bounds of equivalence."
        ),
        panels=panels,
    )


def _draw(ax: Axes, *, claim: ClaimResult, part: PartResult, families: tuple[str, ...]) -> None:
    dress(ax, title=heading(claim, part), y_label=unit_label(claim, part), x_label="")
    right = ax
    if part.a_values and len(part.a_values) == len(part.b_values):
        right = marks.split(ax, share=0.47, gap=46)
        _slopes(ax, part, families)
        marks.plain_axes(right)
        right.grid(visible=False)
    _differences(right, part)


def _slopes(ax: Axes, part: PartResult, families: tuple[str, ...]) -> None:
    for b, a in zip(part.b_values, part.a_values, strict=True):
        ax.plot([0, 1], [b, a], color=MUTED, linewidth=0.7, alpha=0.45)
    for x, values, name in ((0, part.b_values, part.b), (1, part.a_values, part.a)):
        look = mark(name, families)
        ax.plot([x] * len(values), values, look.marker, markersize=3, color=look.color, alpha=0.55)
        marks.dot(ax, [x], [sum(values) / len(values)], look)
    ax.set_xlim(-0.45, 1.45)
    ax.xaxis.set_major_locator(FixedLocator([0, 1]))
    names = [marks.shorten(part.b, 9), marks.shorten(part.a, 9)]
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: names[round(value)]))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}".replace("-", "\u2212")))


def _differences(ax: Axes, part: PartResult) -> None:
    color, marker = VERDICTS[part.verdict]
    limits = part.thresholds
    null = limits.null if limits else 0.0
    marks.zero_line(ax, null)
    if limits is not None:
        if limits.equivalence is not None:
            marks.band(ax, null - limits.equivalence, null + limits.equivalence)
        if part.direction is not Direction.EQUIVALENT:
            sign = -1 if part.direction is Direction.NONINFERIOR else 1
            ax.axhline(null + sign * limits.margin, color=INK, linewidth=1.3)
        if limits.sesoi is not None and part.direction is not Direction.NONINFERIOR:
            ax.axhline(null + limits.sesoi, color=INK, linewidth=1, linestyle=(0, (3, 2)))
    beside = [-0.28 + 0.36 * ((i * GOLDEN) % 1 - 0.5) for i in range(len(part.differences))]
    ax.plot(beside, part.differences, "o", markersize=3, color=MUTED, alpha=0.7)
    ends = [v for v in (part.ci_low, part.ci_high) if v is not None]
    if len(ends) == LEAST:
        ax.plot([0.3, 0.3], ends, color=color, linewidth=2.2)
    ax.plot([0.3], [part.estimate or 0.0], marker=marker, markersize=7, color=color, markeredgecolor=PAPER)
    ax.set_xlim(-0.6, 0.6)
    ax.xaxis.set_major_locator(FixedLocator([-0.28, 0.3]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: "pairs" if value < 0 else "mean"))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: marks.signed(value)))
