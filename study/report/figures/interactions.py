"""Where in the space one family gains on another: differences over learning rate and one factor."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.factors import FACTOR_NAMES
from study.report.figures.style import BLUE, INK, PAPER, VERMILLION, dress, power_of_ten
from study.report.interactions import Interaction
from study.report.model import ReportModel

STRONGEST = 0.5
"""Opacity of the largest difference; numbers stay readable on it."""


def interactions(model: ReportModel) -> Figure | None:
    """The figure, or None where no claim names two families that share a space design."""
    found = model.interactions
    if not found:
        return None
    panels = tuple(Panel(title=_title(one), alt=_alt(one), draw=partial(_draw, found=one)) for one in found)
    pairs = sum(cell.num_pairs for one in found for cell in one.cells) // len(found)
    return Figure(
        name="interactions",
        title="Where in the space a family gains on another",
        caption=(
            f"n = {pairs:,} pairs of trials of the space design per panel. Number and colour: mean over a cell's pairs "
            f"of the other family's capped report loss minus the claimed family's, in thousandths of a nat; above 0 "
            f"and blue favours the claimed family, below 0 and orange the other. No interval: cells describe."
        ),
        panels=panels,
        height=230,
        right=24,
    )


def _title(found: Interaction) -> str:
    return marks.shorten(f"{found.a} against {found.b}", 44)


def _draw(ax: Axes, *, found: Interaction) -> None:
    factor = FACTOR_NAMES.get(found.factor, found.factor)
    dress(ax, title=_title(found), y_label=factor, x_label=f"learning rate of {found.a}")
    ax.grid(visible=False)
    columns = len(found.edges) - 1
    ax.set_xlim(0, columns)
    ax.set_ylim(-0.5, len(found.levels) - 0.5)
    ax.xaxis.set_major_locator(FixedLocator(list(range(columns + 1))))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _rounded(found.edges[round(value)])))
    ax.yaxis.set_major_locator(FixedLocator(list(range(len(found.levels)))))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: str(found.levels[round(value)])))
    ax.yaxis.set_minor_locator(NullLocator())
    largest = max(abs(cell.difference) for cell in found.cells) or 1.0
    for cell in found.cells:
        share = abs(cell.difference) / largest
        place = (cell.column + 0.02, cell.row - 0.47)
        color = BLUE if cell.difference >= 0 else VERMILLION
        ax.add_patch(Rectangle(place, 0.96, 0.94, color=color, alpha=STRONGEST * share, linewidth=0))
        text = marks.signed(round(1000 * cell.difference))
        ax.text(cell.column + 0.5, cell.row, text, ha="center", va="center", fontsize=10, color=INK)
    ax.patch.set_facecolor(PAPER)


def _rounded(lr: float) -> str:
    return power_of_ten(float(f"{lr:.1g}"))


def _alt(found: Interaction) -> str:
    best = max(found.cells, key=lambda cell: cell.difference)
    worst = min(found.cells, key=lambda cell: cell.difference)
    told = "; ".join(
        f"{word} at {found.factor} {found.levels[cell.row]} and learning rates near {found.edges[cell.column]:.1g}, "
        f"{cell.difference:.3g} nats over {cell.num_pairs} pairs"
        for word, cell in (("most", best), ("least", worst))
    )
    return f"{found.a} gains on {found.b} {told}."
