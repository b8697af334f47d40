"""How every figure looks: colours by role, marks by family, and axes that stay in the background.

The colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), of which only those are used that reach a
contrast of 3:1 on white. Hue says what a family does to its gradient, the mark says its rule: a
circle is SGD, a square AdamW. Families of one panel carry their names at their lines, so no figure needs
colour to be read.
"""

import math
from dataclasses import dataclass
from typing import Any

from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from study.statistics.results import Verdict

INK = "#1d2126"
MUTED = "#5b6570"
FAINT = "#d9dde1"
PAPER = "#fdfdfc"
LEFT = 44
"""Room left of the axes for tick labels, in pixels."""

PLAIN, BLUE, PURPLE, VERMILLION, GREEN = "#3f4751", "#0072b2", "#cc79a7", "#d55e00", "#009e73"

ROLES = {
    INK: "fig-ink",
    MUTED: "fig-muted",
    FAINT: "fig-faint",
    PAPER: "paper",
    PLAIN: "fam-plain",
    BLUE: "fam-r",
    PURPLE: "fam-g",
    VERMILLION: "fam-gr",
    GREEN: "fam-other",
}
"""Colour → the custom property that replaces it on a page, so that figures follow its light or dark."""

RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "trialwright",
    "figure.dpi": 72,
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.prop_cycle": cycler(color=[INK]),
    "axes.linewidth": 0.8,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "text.parse_math": False,
    "axes.unicode_minus": True,
}
"""Matplotlib's settings for all figures: real text, the same bytes on every run."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How a family is drawn."""

    color: str
    marker: str
    group: str
    """The panel of figures that overlay families."""

    @property
    def role(self) -> str:
        """Name of the colour on a page."""
        return ROLES[self.color]

    @property
    def shape(self) -> str:
        """Name of the marker on a page."""
        return {"o": "circle", "s": "square", "D": "diamond", "^": "up", "v": "down"}[self.marker]


SGD, ADAMW, OTHER = "SGD rule", "AdamW rule", "Other families"

MARKS = {
    "sgd": Mark(color=PLAIN, marker="o", group=SGD),
    "rsgd": Mark(color=BLUE, marker="o", group=SGD),
    "gsgd": Mark(color=PURPLE, marker="o", group=SGD),
    "grsgd": Mark(color=VERMILLION, marker="o", group=SGD),
    "adamw": Mark(color=PLAIN, marker="s", group=ADAMW),
    "radamw": Mark(color=BLUE, marker="s", group=ADAMW),
    "gadamw": Mark(color=PURPLE, marker="s", group=ADAMW),
    "gradamw": Mark(color=VERMILLION, marker="s", group=ADAMW),
    "loraplus": Mark(color=GREEN, marker="s", group=ADAMW),
}
"""The known families; any other is drawn by `mark`."""

SPARE = (
    Mark(color=GREEN, marker="D", group=OTHER),
    Mark(color=PURPLE, marker="D", group=OTHER),
    Mark(color=BLUE, marker="^", group=OTHER),
    Mark(color=VERMILLION, marker="^", group=OTHER),
    Mark(color=PLAIN, marker="v", group=OTHER),
)


def mark(family: str, families: tuple[str, ...]) -> Mark:
    """The family's mark; families beyond the known ones take the spare marks in turn."""
    if family in MARKS:
        return MARKS[family]
    others = [name for name in families if name not in MARKS]
    return SPARE[others.index(family) % len(SPARE)]


def groups(families: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Panel title → its families, for figures that overlay several families in a panel."""
    found: dict[str, list[str]] = {}
    for family in families:
        found.setdefault(mark(family, families).group, []).append(family)
    return {title: tuple(found[title]) for title in (SGD, ADAMW, OTHER) if title in found}


VERDICTS = {
    Verdict.SUPPORTED: (BLUE, "o"),
    Verdict.REFUTED: (VERMILLION, "X"),
    Verdict.EQUIVALENT: (GREEN, "D"),
    Verdict.INCONCLUSIVE: (MUTED, "s"),
    Verdict.NOT_EVALUABLE: (MUTED, "_"),
}
"""Colour and marker of a verdict; its word always stands beside it."""


def dress(ax: Axes, *, title: str, y_label: str, x_label: str, left: float = LEFT) -> None:
    """Title and unit at the upper left of a panel, `left` pixels from the axes; open axes, quiet horizontal rules."""
    ax.set_facecolor("none")
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=3, width=0.8, labelsize=11, pad=3)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=FAINT, linewidth=0.8)
    ax.set_axisbelow(True)
    for text, up, size, weight, color in (
        (title, 26, 12.5, "bold", INK),
        (y_label, 11, 11, "normal", MUTED),
    ):
        ax.annotate(
            text,
            (0, 1),
            xycoords="axes fraction",
            xytext=(-left, up),
            textcoords="offset points",
            fontsize=size,
            fontweight=weight,
            color=color,
        )
    ax.set_xlabel(x_label, fontsize=11, labelpad=4)


def loss_axis(ax: Axes, low: float, high: float) -> None:
    """A loss axis of at most five ticks over [low, high], with a little air."""
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    ax.set_ylim(low - air, high + air)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def log_axis(ax: Axes, low: float, high: float) -> None:
    """A logarithmic abscissa labelled with powers of ten."""
    ax.set_xscale("log")
    ax.set_xlim(low / 1.25, high * 1.25)
    decades = math.log10(high / low) if high > low else 1.0
    ax.xaxis.set_major_locator(LogLocator(base=10, numticks=6 if decades > 1 else 4))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="x", which="minor", length=0)


SUPERSCRIPTS = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


def power_of_ten(value: float) -> str:
    """`10⁻³`, and `3·10⁻³` where the value is no power of ten."""
    exponent = math.floor(math.log10(value) + 1e-9)
    factor = value / 10**exponent
    power = "10" + str(exponent).translate(SUPERSCRIPTS)
    return power if math.isclose(factor, 1) else f"{factor:.2g}\u00b7{power}"
