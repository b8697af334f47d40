"""When confirmation trials reach a target loss: an ECDF in which a trial that never arrives is a plateau below 1."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import dress, groups, mark
from study.report.model import ReportModel
from study.report.targets import ArrivalCurve, TimeScore

R_MAX = 4.0
"""Largest ratio of AlgoPerf's profile."""


def arrival(model: ReportModel) -> Figure | None:
    """Share of seeds that have reached the target over steps, or None where no claim names a target in time."""
    curves = model.descriptive.arrivals
    if not curves:
        return None
    panels: list[Panel] = []
    for title, members in groups(model.families).items():
        here = [c for c in curves if c.family in members]
        if here:
            draw = partial(_draw, curves=here, title=title, families=model.families)
            panels.append(Panel(title=title, alt=_alt(here), draw=draw))
    number = marks.count_range({c.num_seeds for c in curves})
    return Figure(
        name="arrival",
        title="When tuned trials reach the target loss",
        caption=(
            f"n = {number} confirmation seeds per family. Share of seeds whose select loss has been at most "
            f"{curves[0].tau:.4g} nats at a measurement, over optimizer steps; a seed that never arrives stays below. "
            f"No interval: these are counts, and the claim's interval stands in its table."
        ),
        panels=tuple(panels),
        height=220,
        right=76,
    )


def time_profile(model: ReportModel) -> Figure | None:
    """AlgoPerf's profile over workloads, or None for fewer than three."""
    scores = model.descriptive.time_scores
    if not scores:
        return None
    told = "; ".join(f"{s.family} {s.score:.2f} [{s.low:.2f}, {s.high:.2f}]" for s in scores)
    level = f"{100 * scores[0].level:g} %"
    return Figure(
        name="time-profile",
        title="Steps to the target against the fastest family",
        caption=(
            f"n = {len(scores[0].ratios)} workloads. Share of workloads on which a family needs at most so many times "
            f"the steps of the fastest one. Score without unit, the area up to {R_MAX:g}, with a {level} percentile "
            f"interval over seeds drawn again: {told}."
        ),
        panels=(
            Panel(
                title="time-profile",
                alt=f"AlgoPerf scores: {told}.",
                draw=partial(_draw_profile, scores=scores, families=model.families),
            ),
        ),
        right=76,
    )


def _draw(ax: Axes, *, curves: list[ArrivalCurve], title: str, families: tuple[str, ...]) -> None:
    dress(ax, title=title, y_label="share of seeds that have arrived", x_label="optimizer steps")
    _shares(ax)
    ax.set_xlim(0, max(c.budget for c in curves))
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    for curve in curves:
        steps, share = [0.0, *curve.steps, curve.budget], [0.0, *curve.share]
        ax.step(
            steps, [*share, share[-1]], where="post", color=mark(curve.family, families).color, linewidth=1.7
        )
    ends = [(c.family, c.share[-1] if c.share else 0.0, mark(c.family, families)) for c in curves]
    marks.end_labels(ax, ends)


def _draw_profile(ax: Axes, *, scores: tuple[TimeScore, ...], families: tuple[str, ...]) -> None:
    dress(ax, title="", y_label="share of workloads", x_label="steps over the fastest family's")
    _shares(ax)
    ax.set_xlim(1, R_MAX)
    ends = []
    for one in scores:
        reached = [r for r in one.ratios if r is not None and r <= R_MAX]
        share = [(i + 1) / len(one.ratios) for i in range(len(reached))]
        look = mark(one.family, families)
        last = share[-1] if share else 0.0
        ax.step([1.0, *reached, R_MAX], [0.0, *share, last], where="post", color=look.color, linewidth=1.7)
        ends.append((one.family, last, look))
    marks.end_labels(ax, ends)


def _shares(ax: Axes) -> None:
    ax.set_ylim(0, 1.06)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "½", "", "1"])


def _alt(curves: list[ArrivalCurve]) -> str:
    told = "; ".join(
        f"{c.family} {round((c.share[-1] if c.share else 0.0) * c.num_seeds)} of {c.num_seeds} seeds"
        for c in curves
    )
    return f"Reached {curves[0].tau:.4g} nats by the end: {told}."
