"""Loss over the learning rate, one panel per family: Wortsman et al. 2023 (arXiv 2309.14322), figure 1."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes

from study.records import Phase
from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import MUTED, Mark, dress, log_axis, loss_axis, mark
from study.report.landscape import LrCurve, LrPoint
from study.report.model import ReportModel


def lr_loss(model: ReportModel) -> Figure | None:
    """The figure, or None while no trial with a learning rate has run at full budget."""
    curves = [c for c in model.lr_curves if c.points]
    if not curves:
        return None
    x = marks.span(p.lr for c in curves for p in c.points)
    inits = [c.init_loss for c in curves if c.init_loss is not None]
    targets = [target.tau for target in model.descriptive.targets]
    y = marks.span([*(p.loss for c in curves for p in c.points), *inits, *targets])
    panels = tuple(
        Panel(
            title=c.family,
            alt=_alt(c),
            draw=partial(_draw, curve=c, look=mark(c.family, model.families), x=x, y=y, targets=targets),
        )
        for c in curves
    )
    return Figure(
        name="lr-loss",
        title="Loss over the learning rate",
        caption=_caption(curves, has_target=bool(targets)),
        panels=panels,
    )


def _draw(
    ax: Axes,
    *,
    curve: LrCurve,
    look: Mark,
    x: tuple[float, float],
    y: tuple[float, float],
    targets: list[float],
) -> None:
    dress(ax, title=curve.family, y_label="report loss, nats", x_label="expert learning rate")
    log_axis(ax, *x)
    loss_axis(ax, *y)
    if curve.init_loss is not None:
        marks.level_line(ax, curve.init_loss, "at initialisation")
    for target in targets:
        marks.target_line(ax, target)
    for low, high in usable(curve, targets[0]) if targets else ():
        ax.axvspan(low, high, color=look.color, alpha=0.1, linewidth=0, zorder=0.5)
    _scatter(ax, [p for p in curve.points if p.phase is not Phase.LR_SLICE], MUTED, filled=False)
    _scatter(ax, [p for p in curve.points if p.phase is Phase.LR_SLICE], look.color, filled=True)
    marks.curve(ax, curve.mean, look, x=[10**p.x for p in curve.mean], band=True)


def usable(curve: LrCurve, target: float) -> list[tuple[float, float]]:
    """Ranges of learning rates on which the mean curve is at most the target."""
    found: list[tuple[float, float]] = []
    for left, right in pairwise(curve.mean):
        low, high = left.y.mean - target, right.y.mean - target
        if min(low, high) > 0:
            continue
        cross = left.x + (right.x - left.x) * (low / (low - high) if low != high else 0.0)
        start = cross if low > 0 else left.x
        end = cross if high > 0 else right.x
        if found and math.isclose(found[-1][1], 10**start, rel_tol=1e-9):
            found[-1] = (found[-1][0], 10**end)
        else:
            found.append((10**start, 10**end))
    return found


def _scatter(ax: Axes, points: list[LrPoint], color: str, *, filled: bool) -> None:
    """Trials as dots or rings, diverged ones as crosses."""
    good, bad = [p for p in points if not p.diverged], [p for p in points if p.diverged]
    style: dict[str, Any] = {"linestyle": "none", "color": color}
    face = color if filled else "none"
    ring: dict[str, Any] = {"marker": "o", "markersize": 3, "markerfacecolor": face, "markeredgewidth": 0.7}
    ax.plot([p.lr for p in good], [p.loss for p in good], alpha=0.65, **ring, **style)
    ax.plot([p.lr for p in bad], [p.loss for p in bad], marker="x", markersize=4.6, alpha=0.7, **style)


def _caption(curves: list[LrCurve], *, has_target: bool) -> str:
    seeds = sorted({c.num_seeds for c in curves if c.num_seeds})
    total = sum(len(c.points) for c in curves)
    text = (
        f"n = {total:,} trials at full budget, in nats on the report split, capped at the loss at "
        f"initialisation. Rings: search and space design. Dots: learning-rate slice at the tuned "
        f"configuration. \u00d7: diverged, drawn at the cap."
    )
    if has_target:
        text += (
            " Dashed: the target loss that a claim names; shaded: where the mean curve reaches it. The claim's own "
            "width is computed seed by seed."
        )
    if not seeds:
        return f"{text} No slice has run, so there is no mean curve and no interval."
    number = marks.count_range(seeds)
    return (
        f"{text} Line: mean over {number} seeds of the slice, each interpolated between its own grid "
        f"points; band: pointwise 95 % t-interval over seeds. Trials that the search stopped early have no "
        f"loss at full budget and are not shown."
    )


def _alt(curve: LrCurve) -> str:
    diverged = sum(p.diverged for p in curve.points)
    lowest = min(curve.points, key=lambda p: p.loss)
    return (
        f"{curve.family}: report loss over expert learning rate for {len(curve.points)} trials, {diverged} "
        f"of them diverged; the lowest loss is {lowest.loss:.4g} nats at learning rate {lowest.lr:.2g}."
    )
