"""Factor slices: loss over one factor at a time, everything else as tuned."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from study.records import Param
from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import dress, groups, loss_axis, mark
from study.report.landscape import FactorSlice
from study.report.model import ReportModel

FACTOR_NAMES = {"num_experts": "experts", "top_k": "experts chosen (top-k)", "rank": "rank"}


def factors(model: ReportModel) -> Figure | None:
    """The figure, or None while no factor slice has a result."""
    slices = [s for s in model.factor_slices if s.levels]
    if not slices:
        return None
    y = marks.span(v for s in slices for level in s.levels for v in marks.reach(level.loss))
    panels: list[Panel] = []
    for title, members in groups(model.families).items():
        for factor in dict.fromkeys(s.factor for s in slices):
            here = [s for s in slices if s.factor == factor and s.family in members]
            if here:
                draw = partial(_draw, slices=here, title=title, families=model.families, y=y)
                panels.append(Panel(title=f"{factor}, {title}", alt=_alt(here), draw=draw))
    counts = sorted({level.loss.num_units for s in slices for level in s.levels})
    number = marks.count_range(counts)
    return Figure(
        name="factors",
        title="Loss over one factor at a time",
        caption=(
            f"n = {number} seeds at each level. Mean capped report loss in nats, everything else as tuned; "
            f"bars: 95 % t-intervals over seeds, each on its own. Families stand side by side at a level, to "
            f"be seen apart."
        ),
        panels=tuple(panels),
        right=76,
    )


def _draw(
    ax: Axes, *, slices: list[FactorSlice], title: str, families: tuple[str, ...], y: tuple[float, float]
) -> None:
    factor = slices[0].factor
    dress(ax, title=title, y_label="report loss, nats", x_label=FACTOR_NAMES.get(factor, factor))
    levels: list[Param] = sorted(
        {level.level for s in slices for level in s.levels}, key=lambda v: (isinstance(v, str), v)
    )
    at = {level: index for index, level in enumerate(levels)}
    ax.set_xlim(-0.45, len(levels) - 0.55)
    ax.xaxis.set_major_locator(FixedLocator(list(range(len(levels)))))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: str(levels[round(value)])))
    loss_axis(ax, *y)
    ends = []
    for index, found in enumerate(slices):
        look = mark(found.family, families)
        dodge = 0.13 * (index - (len(slices) - 1) / 2)
        x = [at[level.level] + dodge for level in found.levels]
        means = [level.loss.mean for level in found.levels]
        ax.plot(x, means, color=look.color, linewidth=1.1, alpha=0.6)
        for place, level in zip(x, found.levels, strict=True):
            marks.bar(ax, place, level.loss, look)
        ends.append((found.family, means[-1], look))
    marks.end_labels(ax, ends)


def _alt(slices: list[FactorSlice]) -> str:
    told = "; ".join(
        f"{s.family}: {', '.join(f'{level.level} gives {level.loss.mean:.4g}' for level in s.levels)}"
        for s in slices
    )
    return f"Mean report loss in nats over {slices[0].factor}. {told}."
