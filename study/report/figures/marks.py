"""The few shapes that several figures draw: bands, ghosts, labels at the ends of lines."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes

from study.report.estimates import CurvePoint, Estimate
from study.report.figures.style import FAINT, INK, MUTED, PAPER, Mark, power_of_ten

LABEL_GAP = 0.088
"""Least distance between two labels, as a fraction of the axes' height."""
NEAR_X, NEAR_Y = 0.22, 0.065
"""Distances within which names of two points would touch, as fractions of the axes."""


def curve(ax: Axes, points: Sequence[CurvePoint], mark: Mark, *, x: Sequence[float], band: bool) -> None:
    """A mean line, with its interval as a band where asked for."""
    y = [p.y.mean for p in points]
    if band and all(p.y.interval is not None for p in points):
        low = [p.y.interval.low for p in points if p.y.interval is not None]
        high = [p.y.interval.high for p in points if p.y.interval is not None]
        ax.fill_between(x, low, high, color=mark.color, alpha=0.18, linewidth=0)
    ax.plot(x, y, color=mark.color, linewidth=1.9, solid_capstyle="round")


def ghost(ax: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Another family's line, for comparison only."""
    ax.plot(x, y, color=FAINT, linewidth=1.3, zorder=1.5)


def bar(ax: Axes, x: float, estimate: Estimate, mark: Mark) -> None:
    """A mean with its interval as a vertical bar with caps."""
    if estimate.interval is not None:
        reached = [[estimate.mean - estimate.interval.low], [estimate.interval.high - estimate.mean]]
        style: dict[str, Any] = {"ecolor": mark.color, "elinewidth": 1.5, "capsize": 2.6, "capthick": 1.2}
        ax.errorbar([x], [estimate.mean], yerr=reached, fmt="none", **style)
    dot(ax, [x], [estimate.mean], mark)


def dot(ax: Axes, x: Sequence[float], y: Sequence[float], mark: Mark) -> None:
    """The mark of a family, edged in the paper's colour so that neighbours stay apart."""
    style: dict[str, Any] = {"markeredgecolor": PAPER, "markeredgewidth": 0.9, "linestyle": "none"}
    ax.plot(x, y, marker=mark.marker, markersize=5.6, color=mark.color, zorder=3, **style)


def level_line(ax: Axes, y: float, label: str) -> None:
    """A labelled horizontal reference."""
    ax.axhline(y, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    ax.annotate(
        label,
        (1, y),
        xycoords=("axes fraction", "data"),
        xytext=(0, 5),
        textcoords="offset points",
        ha="right",
        fontsize=10,
        color=MUTED,
    )


def end_labels(ax: Axes, ends: Iterable[tuple[str, float, Mark]]) -> None:
    """Marks and names at the right ends of lines, pushed apart where the lines end close together."""
    low, high = ax.get_ylim()
    placed = sorted((((y - low) / (high - low)), name, mark) for name, y, mark in ends)
    previous = -math.inf
    spread: list[tuple[float, str, Mark]] = []
    for y, name, mark in placed:
        previous = max(y, previous + LABEL_GAP)
        spread.append((previous, name, mark))
    shift = max(0.0, previous - 1.0) if spread else 0.0
    for y, name, mark in spread:
        style: dict[str, Any] = {"clip_on": False, "transform": ax.transAxes}
        ax.plot([1.035], [y - shift], marker=mark.marker, markersize=5.5, color=mark.color, **style)
        ax.text(1.065, y - shift, name, transform=ax.transAxes, va="center", fontsize=11, color=INK)


def span(values: Iterable[float]) -> tuple[float, float]:
    """Lowest and highest value; (0, 1) where there is none."""
    found = [v for v in values if math.isfinite(v)]
    return (min(found), max(found)) if found else (0.0, 1.0)


def extent(points: Iterable[CurvePoint]) -> list[float]:
    """All ordinates that a curve with its band covers."""
    return [value for point in points for value in reach(point.y)]


def reach(estimate: Estimate) -> list[float]:
    """A mean and the ends of its interval."""
    ends = [] if estimate.interval is None else [estimate.interval.low, estimate.interval.high]
    return [estimate.mean, *ends]


def count_range(counts: Iterable[int]) -> str:
    """`30`, or `28 to 30` where the counts differ."""
    found = sorted(counts)
    low, high = f"{found[0]:,}", f"{found[-1]:,}"
    return low if low == high else f"{low} to {high}"


def split(ax: Axes, *, share: float, gap: float) -> Axes:
    """Narrow axes to a share of their width and put new ones on the rest, `gap` pixels apart."""
    place = ax.get_position()
    canvas = ax.get_figure(root=True)
    if canvas is None:
        raise ValueError("axes without a figure cannot be split")
    between = gap / (72 * float(canvas.get_size_inches()[0]))
    first = share * (place.width - between)
    ax.set_position((place.x0, place.y0, first, place.height))
    beside = canvas.add_axes(
        (place.x0 + first + between, place.y0, place.width - first - between, place.height)
    )
    beside.set_facecolor("none")
    return beside


def shorten(text: str, longest: int) -> str:
    """A label that fits, cut with an ellipsis where it does not."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}\u2026"


def zero_line(ax: Axes, y: float = 0.0, *, vertical: bool = False) -> None:
    """Where nothing differs."""
    draw = ax.axvline if vertical else ax.axhline
    draw(y, color=MUTED, linewidth=0.9, zorder=1)


def band(ax: Axes, low: float, high: float, *, vertical: bool = False) -> None:
    """A quiet band behind the data, such as the bounds of equivalence."""
    draw = ax.axvspan if vertical else ax.axhspan
    draw(low, high, color=FAINT, alpha=0.55, linewidth=0, zorder=0.5)


def target_line(ax: Axes, at: float, *, vertical: bool = False) -> None:
    """A loss that a claim asks to reach."""
    draw = ax.axvline if vertical else ax.axhline
    draw(at, color=INK, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1.2)


def plain_axes(ax: Axes) -> None:
    """The look of axes beside those that carry the title."""
    ax.set_facecolor("none")
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="x", length=3, width=0.8, labelsize=11, pad=3)
    ax.tick_params(axis="y", length=0, labelsize=11, pad=3)
    ax.grid(axis="y", color=FAINT, linewidth=0.8)
    ax.set_axisbelow(True)


def signed(value: float) -> str:
    """A difference with its sign; 0 has none."""
    return f"{value:+.3g}".replace("-", "\u2212") if value else "0"


def power(exponent: float) -> str:
    """A whole power of ten; nothing between two."""
    return power_of_ten(10.0**exponent) if math.isclose(exponent, round(exponent)) else ""


def point_labels(ax: Axes, points: Iterable[tuple[str, float, float]]) -> None:
    """Names above points, each higher than a neighbour's whose name it would touch."""
    low, high = ax.get_ylim()
    left, right = ax.get_xlim()
    placed: list[tuple[float, float]] = []
    for name, x, y in sorted(points, key=lambda p: (p[2], p[1])):
        across, up = (x - left) / (right - left), (y - low) / (high - low)
        while any(abs(across - a) < NEAR_X and abs(up - b) < NEAR_Y for a, b in placed):
            up += NEAR_Y
        placed.append((across, up))
        ax.annotate(
            name,
            (across, up),
            xycoords="axes fraction",
            xytext=(0, 4),
            textcoords="offset points",
            ha="center" if 0.1 < across < 0.9 else "left" if across < 0.5 else "right",  # noqa: PLR2004 - the edges
            fontsize=11,
            color=INK,
        )
