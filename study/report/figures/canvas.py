"""From a figure's description to SVG: panels for a page, one sheet for a file.

A figure is a row of small panels, each drawn on its own axes. On a page every panel is an SVG of its own, so
that the page can lay them out for the reader's screen without shrinking their text; in a file they stand on
one sheet.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from study.report.figures.style import LEFT, PAPER, RC, ROLES

PANEL_WIDTH, PANEL_HEIGHT = 340, 248
"""Size of a panel in CSS pixels at its natural scale."""
RIGHT, TOP, BOTTOM = 10, 46, 40
"""Room right of, above and below the axes, for titles and labels, in pixels."""
FONTS = "Inter, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
"""What a file is set in; a page sets its own."""
COLUMNS = 3
"""Panels side by side on a sheet."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes."""

    title: str
    alt: str
    """What the panel shows, in words and numbers, for who cannot see it."""
    draw: Callable[[Axes], None]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One question answered by one or more panels."""

    name: str
    """Name of its file, and the prefix of its ids on a page."""
    title: str
    caption: str
    """What is drawn: n, unit and kind of interval."""
    panels: tuple[Panel, ...]
    height: int = PANEL_HEIGHT
    """Height of a panel in pixels."""
    right: int = RIGHT
    """Room right of the axes in pixels, for labels at the ends of lines."""


def panel_svg(figure: Figure, index: int) -> str:
    """One panel as inline SVG whose colours are the page's custom properties and whose ids are unique."""
    panel = figure.panels[index]
    with mpl.rc_context(RC):
        canvas = Canvas(figsize=(PANEL_WIDTH / 72, figure.height / 72), facecolor="none")
        panel.draw(_axes(canvas, figure, 0, (1, 1)))
        svg = _svg(canvas, fonts="var(--sans)")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = _own_ids(svg, f"{figure.name}-{index}-")
    for color, role in ROLES.items():
        svg = svg.replace(color, f"var(--{role})")
    size = f'class="panel" viewBox="0 0 {PANEL_WIDTH} {figure.height}"'
    return re.sub(
        r"<svg [^>]*>", f'<svg {size} role="img" aria-label="{_attribute(panel.alt)}">', svg, count=1
    )


def sheet_svg(figure: Figure) -> str:
    """All panels on one sheet, as a file that stands alone."""
    columns = min(COLUMNS, len(figure.panels))
    rows = -(-len(figure.panels) // columns)
    with mpl.rc_context(RC):
        size = (columns * PANEL_WIDTH / 72, rows * figure.height / 72)
        canvas = Canvas(figsize=size, facecolor=PAPER)
        for index, panel in enumerate(figure.panels):
            panel.draw(_axes(canvas, figure, index, (columns, rows)))
        return _svg(canvas, fonts=FONTS)


def _axes(canvas: Canvas, figure: Figure, index: int, grid: tuple[int, int]) -> Axes:
    """Axes at a fixed place in the panel's cell of a grid of (columns, rows), so that panels align."""
    columns, rows = grid
    row, column = divmod(index, columns)
    width, height = columns * PANEL_WIDTH, rows * figure.height
    left = (column * PANEL_WIDTH + LEFT) / width
    bottom = (height - (row + 1) * figure.height + BOTTOM) / height
    across, up = PANEL_WIDTH - LEFT - figure.right, figure.height - TOP - BOTTOM
    return canvas.add_axes((left, bottom, across / width, up / height))


def _svg(canvas: Canvas, *, fonts: str) -> str:
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"font-family: [^;\"]*", f"font-family: {fonts}", buffer.getvalue())


def _own_ids(svg: str, prefix: str) -> str:
    """Keep only the ids that something refers to, under this panel's prefix."""
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", svg)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
