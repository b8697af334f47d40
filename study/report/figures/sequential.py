"""What a claim looked like after every seed: mean difference with its confidence sequence, and the e-value.

Both may be read after every seed, unlike a p-value (Howard et al. 2021; Ramdas et al. 2023).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from study.report.figures import marks
from study.report.figures.canvas import Figure, Panel
from study.report.figures.paired import heading, judged, unit_label
from study.report.figures.style import INK, MUTED, VERDICTS, dress
from study.report.model import ReportModel
from study.statistics.claims import Direction
from study.statistics.results import ClaimResult, PartResult
from study.statistics.sequential import (
    betting_e_value,
    betting_interval,
    confidence_sequence,
    t_mixture_log_e,
)

LEAST = 3
"""Fewer seeds have no course."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """One endpoint after every seed from the second on."""

    n: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    """Lower end of the confidence sequence; minus infinity while there are too few seeds."""
    high: tuple[float, ...]
    log10_e: tuple[float, ...]
    """Evidence against the margin; empty for a claim of equality."""


def sequential(model: ReportModel) -> Figure | None:
    """The figure, or None while no endpoint rests on seeds that came one after another."""
    found = [(c, p) for c, p in judged(model) if p.n_unit == "seed" and len(p.differences) >= LEAST]
    if not found:
        return None
    looks = model.analysis.claim_set.design.looks if model.analysis else ()
    courses = [course(part, claim.alpha) for claim, part in found]
    panels = tuple(
        Panel(
            title=heading(claim, part),
            alt=_alt(claim, part, one),
            draw=partial(_draw, claim=claim, part=part, one=one, looks=looks),
        )
        for (claim, part), one in zip(found, courses, strict=True)
    )
    number = marks.count_range({part.n for _, part in found})
    planned = f" Dotted: planned looks at {', '.join(str(n) for n in looks)} seeds." if looks else ""
    return Figure(
        name="sequential",
        title="Each claim on fresh seeds, seed by seed",
        caption=(
            f"n = {number} paired seeds per endpoint. Left: mean difference in the endpoint's unit, with the "
            f"confidence sequence at the claim's level (an interval that may be read after every seed, wider than the "
            f"t-interval of the table). Right: e-value against the margin, log scale; the line is where it reaches one "
            f"over the claim's level.{planned}"
        ),
        panels=panels,
        height=220,
    )


def course(part: PartResult, alpha: float) -> Course:
    """The endpoint's estimate, confidence sequence and e-value after every seed."""
    limits = part.thresholds
    sign = -1 if part.direction is Direction.NONINFERIOR else 1
    edge = (limits.null + sign * limits.margin) if limits else 0.0
    binary = bool(limits and limits.null) and set(part.differences) <= {0.0, 0.5, 1.0}
    sizes = range(2, len(part.differences) + 1)
    heads = [part.differences[:n] for n in sizes]
    intervals = [(betting_interval if binary else confidence_sequence)(head, alpha) for head in heads]
    tested = part.direction is not Direction.EQUIVALENT
    return Course(
        n=tuple(sizes),
        mean=tuple(math.fsum(head) / len(head) for head in heads),
        low=tuple(float(one.low) for one in intervals),
        high=tuple(float(one.high) for one in intervals),
        log10_e=tuple(_log10_e(head, edge, binary=binary) for head in heads) if tested else (),
    )


def _log10_e(values: Sequence[float], edge: float, *, binary: bool) -> float:
    if binary:
        return math.log10(max(betting_e_value(values, edge), 1e-300))
    return t_mixture_log_e(values, edge) / math.log(10)


def _draw(ax: Axes, *, claim: ClaimResult, part: PartResult, one: Course, looks: Sequence[int]) -> None:
    dress(ax, title=heading(claim, part), y_label=unit_label(claim, part), x_label="seeds")
    color, _ = VERDICTS[part.verdict]
    axes = [ax]
    if one.log10_e:
        axes.append(marks.split(ax, share=0.5, gap=46))
        _evidence(axes[1], one, claim.alpha, color)
    _estimate(ax, part, one, color)
    for each in axes:
        for n in looks:
            if n <= one.n[-1]:
                each.axvline(n, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        each.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _estimate(ax: Axes, part: PartResult, one: Course, color: str) -> None:
    """The mean and its sequence, cut where early intervals would flatten all that follows."""
    reach = 1.15 * max(abs(d) for d in part.differences) or 1.0
    null = part.thresholds.null if part.thresholds else 0.0
    low = [max(v, null - reach) if math.isfinite(v) else null - reach for v in one.low]
    high = [min(v, null + reach) if math.isfinite(v) else null + reach for v in one.high]
    ax.fill_between(one.n, low, high, color=color, alpha=0.18, linewidth=0)
    ax.plot(one.n, one.mean, color=color, linewidth=1.8)
    marks.zero_line(ax, null)
    if part.thresholds is not None and part.direction is not Direction.EQUIVALENT:
        sign = -1 if part.direction is Direction.NONINFERIOR else 1
        ax.axhline(null + sign * part.thresholds.margin, color=INK, linewidth=1.2)
    ax.set_ylim(min(low), max(high))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: marks.signed(value)))


def _evidence(ax: Axes, one: Course, alpha: float, color: str) -> None:
    marks.plain_axes(ax)
    ax.plot(one.n, one.log10_e, color=color, linewidth=1.8)
    bar = math.log10(1 / alpha)
    ax.axhline(bar, color=INK, linewidth=1.2)
    marks.zero_line(ax)
    ax.set_ylim(min(-1.0, *one.log10_e), 1.1 * max(bar, *one.log10_e))
    ax.set_xlabel("seeds", fontsize=11, labelpad=4)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: marks.power(value)))


def _alt(claim: ClaimResult, part: PartResult, one: Course) -> str:
    evidence = f" and the e-value is 10 to the power {one.log10_e[-1]:.2g}" if one.log10_e else ""
    return (
        f"{claim.id}, {part.title}: after {one.n[-1]} seeds the mean difference is {one.mean[-1]:.3g} {part.unit}"
        f"{evidence}."
    )
