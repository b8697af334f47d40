"""Training curves of the tuned configurations: select loss and gate entropy over optimizer steps."""

from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.style import dress, groups, loss_axis, mark
from study.report.model import ReportModel
from study.report.training import TrainingCurve


def training(model: ReportModel) -> Figure | None:
    """Select loss over steps, one panel per family, or None while nothing was measured."""
    curves = [c for c in model.training_curves if c.loss]
    if not curves:
        return None
    y = marks.span(v for c in curves for v in marks.extent(c.loss))
    panels = tuple(
        Panel(
            title=c.family,
            alt=_alt(c),
            draw=partial(_draw_loss, curve=c, others=curves, families=model.families, y=y),
        )
        for c in curves
    )
    return Figure(
        name="training",
        title="Training of the tuned configurations",
        caption=(
            f"{_number(curves)} Mean select loss in nats; a diverged trial stays at its first loss. "
            f"{_band(curves)} Grey: the other families' means."
        ),
        panels=panels,
        height=220,
    )


def entropy(model: ReportModel) -> Figure | None:
    """Gate entropy over steps, families overlaid by rule, or None where it was not measured."""
    curves = [c for c in model.training_curves if c.entropy]
    if not curves:
        return None
    y = marks.span(v for c in curves for v in marks.extent(c.entropy))
    panels: list[Panel] = []
    for title, members in groups(model.families).items():
        here = [c for c in curves if c.family in members]
        if here:
            alt = "; ".join(f"{c.family} ends at {c.entropy[-1].y.mean:.3g}" for c in here)
            draw = partial(_draw_entropy, curves=here, title=title, families=model.families, y=y)
            panels.append(Panel(title=title, alt=f"Gate entropy in nats over steps: {alt}.", draw=draw))
    return Figure(
        name="entropy",
        title="How evenly the router spreads its tokens",
        caption=(
            f"{_number(curves)} Mean gate entropy in nats over tokens and layers, of trials that finished; "
            f"high is even, 0 is one expert alone. {_band(curves)}"
        ),
        panels=tuple(panels),
        height=220,
        right=76,
    )


def _draw_loss(
    ax: Axes,
    *,
    curve: TrainingCurve,
    others: list[TrainingCurve],
    families: tuple[str, ...],
    y: tuple[float, float],
) -> None:
    dress(ax, title=curve.family, y_label="select loss, nats", x_label="optimizer steps")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    loss_axis(ax, *y)
    for other in others:
        if other.family != curve.family:
            marks.ghost(ax, [p.x for p in other.loss], [p.y.mean for p in other.loss])
    look = mark(curve.family, families)
    marks.curve(ax, curve.loss, look, x=[p.x for p in curve.loss], band=True)


def _draw_entropy(
    ax: Axes, *, curves: list[TrainingCurve], title: str, families: tuple[str, ...], y: tuple[float, float]
) -> None:
    dress(ax, title=title, y_label="gate entropy, nats", x_label="optimizer steps")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    loss_axis(ax, *y)
    for curve in curves:
        look = mark(curve.family, families)
        marks.curve(ax, curve.entropy, look, x=[p.x for p in curve.entropy], band=True)
    marks.end_labels(ax, [(c.family, c.entropy[-1].y.mean, mark(c.family, families)) for c in curves])


def _number(curves: list[TrainingCurve]) -> str:
    confirmed = [c.num_trials for c in curves if c.source == "confirmation"]
    if not confirmed:
        return "n = 1 trial per family, the best of its search: not confirmed on fresh seeds."
    number = marks.count_range(confirmed)
    rest = " Families without confirmation show their best search trial."
    return f"n = {number} confirmation seeds per family.{'' if len(confirmed) == len(curves) else rest}"


def _band(curves: list[TrainingCurve]) -> str:
    several = any(c.num_trials > 1 for c in curves)
    return "Band: pointwise 95 % t-interval over seeds." if several else "One trial has no interval."


def _alt(curve: TrainingCurve) -> str:
    first, last = curve.loss[0], curve.loss[-1]
    course = f"{first.y.mean:.4g} nats at step {first.x:.0f} to {last.y.mean:.4g} at step {last.x:.0f}"
    return f"{curve.family}: the mean select loss of {curve.num_trials} trials ran: {course}."
