"""From a figure's description to SVG: panels for a page, one sheet for a file.

A figure is a row of small panels, each drawn on its own axes. On a page every panel is an SVG of its own, so
that the page can lay them out for the reader's screen without shrinking their text; in a file they stand on
one sheet.
"""

import io
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from study.report.figures.style import INK, LEFT, MUTED, PAPER, RC, ROLES

PANEL_WIDTH, PANEL_HEIGHT = 340, 248
"""Size of a panel in CSS pixels at its natural scale."""
RIGHT, TOP, BOTTOM = 10, 46, 40
"""Room right of, above and below the axes, for titles and labels, in pixels."""
FONTS = "Inter, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"
"""What a file is set in; a page sets its own."""
MARGIN, HEADER, LINE = 20, 34, 16
"""Room around a sheet, for its title, and for one line of its caption, in pixels."""
COLUMNS = 3
"""Panels side by side on a sheet."""
PRINT_COLUMNS = 2
"""Panels side by side on a page of print, where three would be too small to read."""
PRINT_GUTTER = 36
"""Room between them, since their titles are wider in print's font than on a page."""
PRINT_FONT = "DejaVu Sans"
"""What Matplotlib carries along and measures text with."""


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
    left: int = LEFT
    """Room left of the axes in pixels, for tick labels."""
    bottom: int = BOTTOM
    """Room below the axes in pixels, for tick labels and the axis's name."""
    kind: str = ""
    """What figures of one kind share when there is one for each workload; empty: the name."""


def panel_svg(figure: Figure, index: int) -> str:
    """One panel as inline SVG whose colours are the page's custom properties and whose ids are unique."""
    panel = figure.panels[index]
    with mpl.rc_context(RC):
        canvas = Canvas(figsize=(PANEL_WIDTH / 72, figure.height / 72), facecolor="none")
        panel.draw(_place(canvas, figure, left=figure.left, bottom=figure.bottom))
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
    """All panels with title and caption on one sheet, as a file that stands alone."""
    columns = min(COLUMNS, len(figure.panels))
    rows = -(-len(figure.panels) // columns)
    caption = textwrap.wrap(figure.caption, width=columns * 60)
    width = columns * PANEL_WIDTH + 2 * MARGIN
    height = rows * figure.height + HEADER + LINE * len(caption) + 2 * MARGIN
    with mpl.rc_context(RC):
        canvas = Canvas(figsize=(width / 72, height / 72), facecolor=PAPER)
        canvas.text(MARGIN / width, 1 - (MARGIN + 12) / height, figure.title, fontsize=16, color=INK)
        for index, panel in enumerate(figure.panels):
            panel.draw(_axes(canvas, figure, index, columns))
        for index, line in enumerate(reversed(caption)):
            y = (MARGIN + LINE * index) / height
            canvas.text(MARGIN / width, y, line, fontsize=11, color=MUTED)
        return _svg(canvas, fonts=FONTS)


def print_svg(figure: Figure) -> str:
    """All panels without title and caption, for a page of print that sets both itself."""
    with mpl.rc_context(RC):
        return _svg(_bare(figure), fonts=PRINT_FONT)


def print_share(figure: Figure) -> float:
    """Width of a figure in print as a share of the widest, so that all stand at one scale."""
    return _print_size(figure)[0] / (PRINT_COLUMNS * (PANEL_WIDTH + PRINT_GUTTER) - PRINT_GUTTER)


def _print_size(figure: Figure) -> tuple[int, int]:
    """Width and height in pixels."""
    columns = min(PRINT_COLUMNS, len(figure.panels))
    rows = -(-len(figure.panels) // columns)
    return columns * (PANEL_WIDTH + PRINT_GUTTER) - PRINT_GUTTER, rows * figure.height


def _bare(figure: Figure) -> Canvas:
    width, height = _print_size(figure)
    canvas = Canvas(figsize=(width / 72, height / 72), facecolor="none")
    for index, panel in enumerate(figure.panels):
        row, column = divmod(index, PRINT_COLUMNS)
        left = column * (PANEL_WIDTH + PRINT_GUTTER) + figure.left
        bottom = height - (row + 1) * figure.height + figure.bottom
        panel.draw(_place(canvas, figure, left=left, bottom=bottom))
    return canvas


def _axes(canvas: Canvas, figure: Figure, index: int, columns: int) -> Axes:
    """Axes at a fixed place in their cell of a sheet, so that panels align."""
    row, column = divmod(index, columns)
    height = 72 * canvas.get_figheight()
    left = MARGIN + column * PANEL_WIDTH + figure.left
    bottom = height - MARGIN - HEADER - (row + 1) * figure.height + figure.bottom
    return _place(canvas, figure, left=left, bottom=bottom)


def _place(canvas: Canvas, figure: Figure, *, left: float, bottom: float) -> Axes:
    """Axes of a panel's size at a place in pixels."""
    width, height = (72 * side for side in canvas.get_size_inches())
    across, up = PANEL_WIDTH - figure.left - figure.right, figure.height - TOP - figure.bottom
    return canvas.add_axes((left / width, bottom / height, across / width, up / height))


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
