"""Which hyperparameters a family's loss depends on, by two methods (Hutter et al. 2014; Watanabe et al. 2023)."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import FAINT, INK, Mark, dress, mark
from study.report.importance import Importance
from study.report.model import ReportModel

METHODS = {"fanova": "fANOVA", "ped_anova": "PED-ANOVA"}
ROW = 30
"""Height of a hyperparameter's row in pixels."""
LABELS = 92


def importance(model: ReportModel) -> Figure | None:
    """The figure, or None where no space design was asked for its hyperparameters."""
    found = model.descriptive.importances
    if not found:
        return None
    by_family = {f: [one for one in found if one.family == f] for f in model.families}
    names = list(dict.fromkeys(name for one in found for name in one.shares))
    panels = tuple(
        Panel(
            title=family,
            alt=_alt(mine),
            draw=partial(_draw, found=mine, names=names, look=mark(family, model.families)),
        )
        for family, mine in by_family.items()
        if mine
    )
    replicates = marks.count_range({len(one.by_replicate) for one in found})
    return Figure(
        name="importance",
        title="Which hyperparameters the loss depends on",
        caption=(
            f"n = {replicates} replicates of the space design. Share of each hyperparameter, with a 95 % t-interval "
            f"over replicates within 0 and 1. Filled: fANOVA, of the variance of the capped report loss in nats; "
            f"hollow: PED-ANOVA, of what tells the best trials from all. Short line: from all replicates at once."
        ),
        panels=panels,
        height=46 + 40 + ROW * len(names),
        left=LABELS,
    )


def _draw(ax: Axes, *, found: list[Importance], names: list[str], look: Mark) -> None:
    dress(
        ax,
        title=found[0].family,
        y_label="filled fANOVA, hollow PED-ANOVA",
        x_label="share of importance",
        left=LABELS,
    )
    ax.grid(visible=False)
    ax.set_xlim(0, 1)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.yaxis.set_major_locator(FixedLocator([]))
    ax.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: {0: "0", 0.5: "½", 1: "1"}.get(value, "")))
    for row, name in enumerate(names):
        ax.annotate(
            marks.shorten(name, 15),
            (0, row),
            xycoords=("axes fraction", "data"),
            xytext=(-LABELS, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
            color=INK,
        )
        ax.axhline(row + 0.5, color=FAINT, linewidth=0.6)
        for one in found:
            _share(ax, one, name, row, look)


def _share(ax: Axes, one: Importance, name: str, row: int, look: Mark) -> None:
    estimate = one.shares.get(name)
    if estimate is None:
        return
    filled = one.method == "fanova"
    at = row + (-0.17 if filled else 0.17)
    if estimate.interval is not None:
        ax.plot([estimate.interval.low, estimate.interval.high], [at, at], color=look.color, linewidth=1.3)
    face = look.color if filled else "none"
    ax.plot([estimate.mean], [at], look.marker, markersize=5, color=look.color, markerfacecolor=face)
    pooled = one.pooled.get(name)
    if pooled is not None:
        ax.plot([pooled, pooled], [at - 0.13, at + 0.13], color=INK, linewidth=1.2)


def _alt(found: list[Importance]) -> str:
    told = "; ".join(
        f"{METHODS[one.method]} {', '.join(f'{name} {share.mean:.2f}' for name, share in one.shares.items())}"
        for one in found
    )
    return f"{found[0].family}, shares of importance: {told}."
