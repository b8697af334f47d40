"""Whether a loss at the search's first rung foretells the loss at full budget, on trials that were never stopped."""

from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from study.report.audit import Audit
from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import MUTED, Mark, dress, loss_axis, mark
from study.report.model import ReportModel


def audit(model: ReportModel) -> Figure | None:
    """The figure, or None without a search, or while too few trials of the space design have ended."""
    found = model.audits
    if not found:
        return None
    x = marks.span(p.early for one in found for p in one.points)
    y = marks.span(p.last for one in found for p in one.points)
    panels = tuple(
        Panel(
            title=one.family,
            alt=_alt(one),
            draw=partial(_draw, found=one, look=mark(one.family, model.families), x=x, y=y),
        )
        for one in found
    )
    total = sum(len(one.points) for one in found)
    return Figure(
        name="audit",
        title="What the search's first rung would have stopped",
        caption=(
            f"n = {total:,} trials of the space design, none of them stopped. Abscissa: select loss in nats at step "
            f"{found[0].step}; ordinate: capped report loss at full budget. In colour: the best one in "
            f"{found[0].reduction} at the end; filled where the rung would have kept it, hollow where it would have "
            f"stopped it. The share of false stops has Wilson's interval, in the table below."
        ),
        panels=panels,
        height=230,
    )


def _draw(ax: Axes, *, found: Audit, look: Mark, x: tuple[float, float], y: tuple[float, float]) -> None:
    dress(
        ax,
        title=found.family,
        y_label="report loss at the end, nats",
        x_label=f"select loss at step {found.step}",
    )
    loss_axis(ax, *y)
    air = 0.05 * (x[1] - x[0]) or 0.01
    ax.set_xlim(x[0] - air, x[1] + air)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    style: dict[str, Any] = {"linestyle": "none"}
    rest = [p for p in found.points if not p.best]
    ax.plot(
        [p.early for p in rest], [p.last for p in rest], "o", markersize=3, color=MUTED, alpha=0.45, **style
    )
    for stopped in (False, True):
        here = [p for p in found.points if p.best and p.would_stop is stopped]
        style["markerfacecolor"] = "none" if stopped else look.color
        xs, ys = [p.early for p in here], [p.last for p in here]
        ax.plot(xs, ys, look.marker, markersize=5, color=look.color, markeredgewidth=1.2, **style)


def _alt(found: Audit) -> str:
    stops = found.false_stop
    told = (
        f"{stops.mean * stops.num_units:.0f} of the {stops.num_units} best" if stops else "none of the best"
    )
    rank = f"; rank correlation {found.correlation:.2f}" if found.correlation is not None else ""
    return f"{found.family}: the rung at step {found.step} would have stopped {told} trials{rank}."
