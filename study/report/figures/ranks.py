"""Critical-difference diagram: mean ranks over workloads (Demsar 2006, JMLR 7)."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from study.report.descriptive import Ranking
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import INK, MUTED, dress, mark
from study.report.model import ReportModel

ROW = 22
"""Height of a family's row in pixels."""


def ranks(model: ReportModel) -> Figure | None:
    """The figure, or None for fewer than five workloads or three families."""
    found = model.descriptive.ranking
    if found is None:
        return None
    told = "; ".join(f"{family} {rank:.2f}" for family, rank in found.mean_ranks)
    rows = len(found.mean_ranks) + len(found.groups) + 1
    return Figure(
        name="ranks",
        title="Mean ranks over workloads",
        caption=(
            f"n = {found.num_workloads} workloads; 1 is the lowest tuned report loss. Thick lines join families whose "
            f"mean ranks differ by less than Nemenyi's critical difference of {found.critical_difference:.2f} ranks "
            f"(level {100 * found.alpha:g} %). No interval: a diagram of ranks describes, and depends on which "
            f"families are in it; claims are judged by pairs."
        ),
        panels=(
            Panel(
                title="ranks",
                alt=f"Mean ranks: {told}; critical difference {found.critical_difference:.2f}.",
                draw=partial(_draw, found=found, families=model.families),
            ),
        ),
        height=46 + 40 + ROW * rows,
        left=92,
        right=40,
    )


def _draw(ax: Axes, *, found: Ranking, families: tuple[str, ...]) -> None:
    dress(ax, title="", y_label="", x_label="mean rank, lower is better", left=92)
    ax.grid(visible=False)
    count = len(found.mean_ranks)
    ax.set_xlim(0.92, count + 0.08)
    ax.set_ylim(count + len(found.groups) - 0.4, -0.9)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(nbins=count, integer=True))
    width = min(found.critical_difference, count - 1)
    ax.plot([1, 1 + width], [-0.6, -0.6], color=MUTED, linewidth=1.4)
    ax.annotate(
        "critical difference", (1, -0.6), xytext=(0, 5), textcoords="offset points", fontsize=10, color=MUTED
    )
    for row, (family, rank) in enumerate(found.mean_ranks):
        look = mark(family, families)
        ax.plot([1, rank], [row, row], color=look.color, linewidth=0.9, alpha=0.5)
        ax.plot([rank], [row], look.marker, markersize=6, color=look.color)
        ax.annotate(
            family,
            (0, row),
            xycoords=("axes fraction", "data"),
            xytext=(-92, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
            color=INK,
        )
        ax.annotate(
            f"{rank:.2f}",
            (rank, row),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=INK,
        )
    at = dict(found.mean_ranks)
    for index, group in enumerate(found.groups):
        ends = [at[group[0]], at[group[-1]]]
        ax.plot(ends, [count + index] * 2, color=INK, linewidth=3.2, solid_capstyle="round")
