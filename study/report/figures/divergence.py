"""Where trials diverged: the space projected on learning rate and number of experts."""

from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from study.records import Phase
from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import MUTED, Mark, dress, log_axis, mark
from study.report.landscape import DivergenceMap
from study.report.model import ReportModel

DESIGNS = {Phase.SENSITIVITY: "space design", Phase.SEARCH: "search"}
GOLDEN = 0.6180339887
"""Multiples of it modulo 1 fill an interval evenly: a jitter that is the same on every run."""


def divergence(model: ReportModel) -> Figure | None:
    """The figure, or None while no trial of search or space design has an outcome."""
    maps = [m for m in model.divergence_maps if m.points]
    if not maps:
        return None
    x = marks.span(p.lr for m in maps for p in m.points)
    levels = sorted({p.num_experts for m in maps for p in m.points})
    panels = tuple(
        Panel(
            title=m.family,
            alt=_alt(m),
            draw=partial(_draw, found=m, look=mark(m.family, model.families), x=x, levels=levels),
        )
        for m in maps
    )
    total, bad = sum(len(m.points) for m in maps), sum(p.diverged for m in maps for p in m.points)
    designs = " and ".join(dict.fromkeys(DESIGNS[m.phase] for m in maps))
    return Figure(
        name="divergence",
        title="Where trials diverged",
        caption=(
            f"n = {total:,} trials of the {designs}, {bad:,} of them diverged (\u00d7). Trials with the same "
            f"number of experts are spread a little in height, to be seen apart. The rates with their Wilson "
            f"intervals stand in the table above."
        ),
        panels=panels,
        height=220,
    )


def _draw(ax: Axes, *, found: DivergenceMap, look: Mark, x: tuple[float, float], levels: list[float]) -> None:
    dress(ax, title=found.family, y_label="experts", x_label="expert learning rate")
    log_axis(ax, *x)
    at = {level: float(index) for index, level in enumerate(levels)}
    ax.set_ylim(-0.6, len(levels) - 0.4)
    ax.yaxis.set_major_locator(FixedLocator(list(at.values())))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{levels[round(value)]:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    for diverged, symbol, size, color in ((False, "o", 3.4, MUTED), (True, "x", 5.2, look.color)):
        here = [(i, p) for i, p in enumerate(found.points) if p.diverged is diverged]
        heights = [at[p.num_experts] + 0.56 * ((i * GOLDEN) % 1 - 0.5) for i, p in here]
        lrs = [p.lr for _, p in here]
        alpha = 1.0 if diverged else 0.45
        style: dict[str, Any] = {
            "linestyle": "none",
            "color": color,
            "markeredgewidth": 1.3 if diverged else 0,
        }
        ax.plot(lrs, heights, marker=symbol, markersize=size, alpha=alpha, **style)


def _alt(found: DivergenceMap) -> str:
    bad = [p for p in found.points if p.diverged]
    text = f"{found.family}: {len(bad)} of {len(found.points)} trials diverged"
    return (
        f"{text}, the lowest learning rate among them is {min(p.lr for p in bad):.2g}." if bad else f"{text}."
    )
