"""The answer as a picture file: tuned report loss of every family with its interval and its seeds."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import dress, loss_axis, mark
from study.report.model import ReportModel
from study.report.tuned import TunedResult


def tuned(model: ReportModel) -> Figure | None:
    """The figure, or None while no confirmation trial has a result."""
    found = [t for t in model.tuned if t.loss is not None]
    if not found:
        return None
    alt = "; ".join(f"{t.family} {t.loss.mean:.4g}" for t in found if t.loss is not None)
    counts = sorted({t.loss.num_units for t in found if t.loss is not None})
    number = marks.count_range(counts)
    return Figure(
        name="tuned",
        title="Tuned families on fresh seeds",
        caption=(
            f"n = {number} seeds per family. Mean capped report loss in nats; bar: 95 % t-interval over "
            f"seeds; small dots: seeds. The picture describes and decides nothing."
        ),
        panels=(
            Panel(
                title="tuned",
                alt=f"Mean report loss of the tuned families, nats: {alt}.",
                draw=partial(_draw, found=found, families=model.families),
            ),
        ),
        height=300,
    )


def _draw(ax: Axes, *, found: list[TunedResult], families: tuple[str, ...]) -> None:
    dress(ax, title="", y_label="report loss, nats", x_label="")
    values = [v for t in found for v in t.seed_losses]
    values += [v for t in found if t.loss is not None for v in marks.reach(t.loss)]
    loss_axis(ax, *marks.span(values))
    ax.set_xlim(-0.6, len(found) - 0.4)
    ax.xaxis.set_major_locator(FixedLocator(list(range(len(found)))))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: found[round(value)].family))
    ax.tick_params(axis="x", labelsize=9)
    for index, result in enumerate(found):
        look = mark(result.family, families)
        beside = [index + 0.22] * len(result.seed_losses)
        ax.plot(beside, result.seed_losses, "o", markersize=2.6, color=look.color, alpha=0.5)
        if result.loss is not None:
            marks.bar(ax, index, result.loss, look)
