"""Performance and sensitivity of every family in one plane (Adkins et al. 2024, NeurIPS)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import FAINT, MUTED, dress, mark
from study.report.model import ReportModel


@dataclass(frozen=True, kw_only=True)
class Cross:
    """One family with its intervals on both axes."""

    family: str
    x: tuple[float, float, float]
    """Mean, lower and upper end."""
    y: tuple[float, float, float]


def plane(model: ReportModel) -> Figure | None:
    """The figure, or None while fewer than two families have both coordinates."""
    crosses = [
        Cross(
            family=p.family,
            x=(p.tuned.mean, *_ends(p.tuned.interval)),
            y=(p.sensitivity.mean, *_ends(p.sensitivity.interval)),
        )
        for p in model.plane
    ]
    if len(crosses) < 2:  # noqa: PLR2004 - one point has no other to stand beside
        return None
    baseline = _baseline(model, crosses)
    seeds = marks.count_range({p.num_seeds for p in model.plane})
    replicates = marks.count_range({p.num_replicates for p in model.plane})
    return Figure(
        name="plane",
        title="How good when tuned, and how much that owes to tuning",
        caption=(
            f"n = {seeds} seeds and {replicates} replicates per family. Abscissa: tuned report loss in nats with its "
            f"95 % t-interval; ordinate: what the space loses on average against it, with a normal 95 % interval; "
            f"better is left and down. Lines through {baseline.family}: left and below of both a family is better "
            f"tuned and less sensitive; below the dashed line it is better on average over its space."
        ),
        panels=(
            Panel(
                title="plane",
                alt=_alt(crosses),
                draw=partial(_draw, crosses=crosses, baseline=baseline, families=model.families),
            ),
        ),
        height=320,
        right=24,
    )


def plane_over_workloads(model: ReportModel) -> Figure | None:
    """The plane as its authors draw it, or None for a single workload."""
    rows = model.descriptive.plane
    if len(rows) < 2:  # noqa: PLR2004 - one point has no other to stand beside
        return None
    crosses = [Cross(family=row.family, x=row.score, y=row.sensitivity) for row in rows]
    baseline = _baseline(model, crosses)
    return Figure(
        name="plane-workloads",
        title="Performance and sensitivity over workloads",
        caption=(
            f"n = {len(model.workloads)} workloads. Abscissa: normalised score, without unit, of the setting tuned on "
            f"each workload, higher is better; ordinate: score that one setting for all workloads loses, lower is "
            f"better. Settings are chosen on half of the replicates and scored on the other. Crosses: "
            f"{100 * rows[0].level:g} % percentile intervals over replicates drawn again. Lines: {baseline.family}."
        ),
        panels=(
            Panel(
                title="plane",
                alt=_alt(crosses),
                draw=partial(_draw, crosses=crosses, baseline=baseline, families=model.families, scores=True),
            ),
        ),
        height=320,
        right=24,
    )


def _ends(interval: object) -> tuple[float, float]:
    return (float(getattr(interval, "low", 0.0)), float(getattr(interval, "high", 0.0)))


def _baseline(model: ReportModel, crosses: Sequence[Cross]) -> Cross:
    """What the first claim compares with, else the first family."""
    named = [claim.b for claim in model.analysis.claims] if model.analysis else []
    known = {cross.family: cross for cross in crosses}
    return next((known[name] for name in named if name in known), crosses[0])


def _draw(
    ax: Axes, *, crosses: list[Cross], baseline: Cross, families: tuple[str, ...], scores: bool = False
) -> None:
    x_label = "score when tuned" if scores else "tuned report loss, nats"
    y_label = "score lost by one setting for all" if scores else "loss added on average over the space, nats"
    dress(ax, title="", y_label=y_label, x_label=x_label)
    low, high = marks.span(v for c in crosses for v in c.x)
    bottom, top = marks.span(v for c in crosses for v in c.y)
    air, up = 0.08 * (high - low) or 0.01, 0.12 * (top - bottom) or 0.01
    ax.set_xlim(low - air, high + air)
    ax.set_ylim(bottom - up, top + up)
    ax.axvline(baseline.x[0], color=FAINT, linewidth=1.2)
    ax.axhline(baseline.y[0], color=FAINT, linewidth=1.2)
    slope = 1.0 if scores else -1.0
    ax.axline((baseline.x[0], baseline.y[0]), slope=slope, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    for cross in crosses:
        look = mark(cross.family, families)
        (x, x_low, x_high), (y, y_low, y_high) = cross.x, cross.y
        ax.plot([x_low, x_high], [y, y], color=look.color, linewidth=1.3)
        ax.plot([x, x], [y_low, y_high], color=look.color, linewidth=1.3)
        marks.dot(ax, [x], [y], look)
    marks.point_labels(ax, [(c.family, c.x[0], c.y[2]) for c in crosses])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}".replace("-", "\u2212")))


def _alt(crosses: list[Cross]) -> str:
    told = "; ".join(f"{c.family} at {c.x[0]:.4g} and {c.y[0]:.4g}" for c in crosses)
    return f"Performance and sensitivity of each family: {told}."
