"""Expected loss over the number of trials spent, after Dodge et al. 2019 (arXiv 1909.03004)."""

import math
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from study.report.figures import marks
from study.report.figures.canvas import BOTTOM, PANEL_HEIGHT, Figure, Panel
from study.report.figures.style import Mark, dress, loss_axis, mark
from study.report.landscape import TuningCurve
from study.report.model import ReportModel
from study.report.words import duration

TIMED = (
    " Below the number of trials: device time of so many trials of the search, the ones that it stopped early "
    "included."
)


def tuning(model: ReportModel) -> Figure | None:
    """The figure, or None while no replicate of the space design is complete."""
    curves = [c for c in model.tuning_curves if c.points]
    if not curves:
        return None
    y = marks.span(v for c in curves for v in marks.extent(c.points))
    steps = (model.spec.get("training") or {}).get("steps")
    x_label = "trials spent" if steps is None else f"trials spent, {steps:,} steps each"
    timed = any(c.trial_seconds for c in curves)
    panels = tuple(
        Panel(
            title=c.family,
            alt=_alt(c),
            draw=partial(
                _draw, curve=c, others=curves, look=mark(c.family, model.families), y=y, x_label=x_label
            ),
        )
        for c in curves
    )
    counts = sorted({c.num_replicates for c in curves})
    number = marks.count_range(counts)
    return Figure(
        name="tuning",
        title="What a search of k trials reaches",
        caption=(
            f"n = {number} complete replicates of the space design. Report loss in nats, capped, of the "
            f"trial that the select split would choose among the first k points; mean over replicates. Bars: "
            f"95 % t-intervals that hold together over k (Bonferroni). Grey: the other families' means."
            f"{TIMED if timed else ''}"
        ),
        panels=panels,
        height=PANEL_HEIGHT + (14 if timed else 0),
        bottom=BOTTOM + (14 if timed else 0),
    )


def _draw(
    ax: Axes,
    *,
    curve: TuningCurve,
    others: list[TuningCurve],
    look: Mark,
    y: tuple[float, float],
    x_label: str,
) -> None:
    dress(ax, title=curve.family, y_label="expected report loss, nats", x_label=x_label)
    ax.set_xscale("log", base=2)
    largest = max(p.x for c in others for p in c.points)
    ax.set_xlim(0.85, largest / 0.85)
    ax.xaxis.set_major_locator(FixedLocator([2.0**j for j in range(int(math.log2(largest)) + 1)]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _spent(value, curve.trial_seconds)))
    ax.xaxis.set_minor_locator(NullLocator())
    loss_axis(ax, *y)
    for other in others:
        if other.family != curve.family:
            marks.ghost(ax, [p.x for p in other.points], [p.y.mean for p in other.points])
    marks.curve(ax, curve.points, look, x=[p.x for p in curve.points], band=False)
    for point in curve.points:
        marks.bar(ax, point.x, point.y, look)


def _spent(trials: float, trial_seconds: float | None) -> str:
    """A number of trials, and below it the device time that the search spent on so many."""
    if trial_seconds is None:
        return f"{trials:.0f}"
    return f"{trials:.0f}\n{duration(trials * trial_seconds).replace('.0', '')}"


def _alt(curve: TuningCurve) -> str:
    first, last = curve.points[0], curve.points[-1]
    return (
        f"{curve.family}: expected report loss falls from {first.y.mean:.4g} nats with one trial to "
        f"{last.y.mean:.4g} with {last.x:.0f}, over {curve.num_replicates} replicates."
    )
