"""How the search thinned out: trials still in training over optimizer steps."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import dress, groups, mark
from study.report.model import ReportModel
from study.report.search import Survival


def survival(model: ReportModel) -> Figure | None:
    """The figure, or None while no search trial has an outcome."""
    found = [s for s in model.survival if s.num_trials]
    if not found:
        return None
    panels: list[Panel] = []
    for title, members in groups(model.families).items():
        here = [s for s in found if s.family in members]
        if here:
            alt = "; ".join(f"{s.family} {s.alive[-1]} of {s.num_trials}" for s in here)
            draw = partial(_draw, found=here, title=title, families=model.families)
            panels.append(
                Panel(title=title, alt=f"Search trials that reached the full budget: {alt}.", draw=draw)
            )
    total = sum(s.num_trials for s in found)
    return Figure(
        name="survival",
        title="How the search thinned out",
        caption=(
            f"n = {total:,} search trials with an outcome; the share still in training, in steps of the "
            f"optimizer. A fall is trials that ASHA stopped or that diverged. No interval: these are counts, "
            f"and the decisions depend on the order of arrival."
        ),
        panels=tuple(panels),
        height=220,
        right=76,
    )


def _draw(ax: Axes, *, found: list[Survival], title: str, families: tuple[str, ...]) -> None:
    dress(ax, title=title, y_label="share of trials in training", x_label="optimizer steps")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.set_ylim(0, 1.06)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "½", "", "1"])
    for s in found:
        look = mark(s.family, families)
        shares = [alive / s.num_trials for alive in s.alive]
        ax.step(s.steps, shares, where="post", color=look.color, linewidth=1.7)
    marks.end_labels(ax, [(s.family, s.alive[-1] / s.num_trials, mark(s.family, families)) for s in found])
