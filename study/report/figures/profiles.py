"""Performance profiles: the share of a family's space that reaches each loss (Agarwal et al. 2021)."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from study.report.descriptive import ProfileCurve
from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import dress, groups, mark
from study.report.model import ReportModel


def profiles(model: ReportModel) -> Figure | None:
    """The figure, or None while no space design is complete enough."""
    curves = model.descriptive.profiles
    if not curves:
        return None
    targets = [target.tau for target in model.descriptive.targets]
    panels: list[Panel] = []
    for title, members in groups(model.families).items():
        here = [c for c in curves if c.family in members]
        if here:
            draw = partial(_draw, curves=here, title=title, families=model.families, targets=targets)
            panels.append(Panel(title=title, alt=_alt(here), draw=draw))
    number = marks.count_range({c.num_replicates for c in curves})
    level = f"{100 * curves[0].level:g} %"
    dashed = " Dashed: target losses that claims name." if targets else ""
    return Figure(
        name="profiles",
        title="How much of its space each family can use",
        caption=(
            f"n = {number} replicates of the space design. Share of the space whose capped report loss, in nats, is at "
            f"most the abscissa; a curve above another is usable at every loss. Band: {level} over the whole curve at "
            f"once (max-t interval over replicates).{dashed}"
        ),
        panels=tuple(panels),
        right=76,
    )


def _draw(
    ax: Axes, *, curves: list[ProfileCurve], title: str, families: tuple[str, ...], targets: list[float]
) -> None:
    dress(ax, title=title, y_label="share of the space", x_label="report loss, nats")
    ax.set_ylim(0, 1.04)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "½", "", "1"])
    ax.set_xlim(curves[0].tau[0], curves[0].tau[-1])
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    for target in targets:
        marks.target_line(ax, target, vertical=True)
    for curve in curves:
        look = mark(curve.family, families)
        ax.fill_between(
            curve.tau, curve.low, curve.high, color=look.color, alpha=0.16, linewidth=0, step="post"
        )
        ax.step(curve.tau, curve.fraction, where="post", color=look.color, linewidth=1.7)
    marks.end_labels(ax, [(c.family, c.fraction[-2], mark(c.family, families)) for c in curves])


def _alt(curves: list[ProfileCurve]) -> str:
    middle = len(curves[0].tau) // 2
    told = "; ".join(f"{c.family} {100 * c.fraction[middle]:.0f} %" for c in curves)
    return f"Share of the space with a report loss of {curves[0].tau[middle]:.4g} nats or less: {told}."
