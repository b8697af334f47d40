"""The figures of the validation, as SVG with real text: each one compares what was simulated with what should be."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from study.report.figures.style import BLUE, FAINT, GREEN, INK, MUTED, PURPLE, RC, VERDICTS, VERMILLION, dress
from study.statistics.results import Verdict
from tests.validation.surface import Array

RIGHT = (BLUE, "-")
WRONG = (VERMILLION, "--")
_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, INK, MUTED)


def save(figure: Figure, path: Path) -> None:
    """Write a figure; the same data give the same bytes."""
    with mpl.rc_context(RC):
        figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def panels(number: int, *, width: float = 4.0, height: float = 3.0) -> tuple[Figure, list[Axes]]:
    """A row of axes on a white ground."""
    with mpl.rc_context(RC):
        figure = Figure(figsize=(width * number + 0.6, height + 0.6), facecolor="white", layout="constrained")
        axes = figure.subplots(1, number, squeeze=False)[0]
    return figure, list(axes)


def null_p_values(ps: Mapping[str, Mapping[str, Array]], path: Path) -> None:
    """Distribution of p under a true null, one line a metric, one panel a test and scenario."""
    figure, axes = panels(len(ps))
    grid = np.linspace(0, 1, 201)
    for ax, (scenario, by_metric) in zip(axes, ps.items(), strict=True):
        dress(ax, title=scenario, y_label="share of studies with p at most", x_label="p")
        for p in by_metric.values():
            ax.plot(
                grid, np.searchsorted(np.sort(p), grid, side="right") / len(p), color=BLUE, alpha=0.5, lw=1
            )
        ax.plot([0, 1], [0, 1], color=INK, lw=1, ls="--")
        _share_axis(ax)
    save(figure, path)


def coverage_by_units(coverage: Mapping[str, Mapping[int, Mapping[str, float]]], path: Path) -> None:
    """Coverage of four intervals over the number of units, one panel a distribution."""
    figure, axes = panels(len(coverage))
    for ax, (name, by_n) in zip(axes, coverage.items(), strict=True):
        dress(ax, title=name, y_label="coverage of 95 % intervals", x_label="units")
        methods = next(iter(by_n.values()))
        for colour, method in zip(_COLOURS, methods, strict=False):
            shares = [by_n[n][method] for n in by_n]
            ax.plot(list(by_n), shares, color=colour, marker="o", ms=4, lw=1.5, label=method)
        ax.axhline(0.95, color=INK, lw=1, ls="--")
        ax.set_ylim(0.70, 1.0)
        _percent(ax)
        _legend(ax)
    save(figure, path)


def power_curves(power: Mapping[int, Mapping[float, tuple[float, float]]], path: Path) -> None:
    """Share of supported claims over the true effect, simulated (points) and by the noncentral t (lines)."""
    figure, (ax,) = panels(1, width=5.5)
    dress(
        ax,
        title="Power of the paired t-test",
        y_label="supported",
        x_label="true effect in standard deviations",
    )
    for colour, (n, by_effect) in zip(_COLOURS, power.items(), strict=False):
        effects = list(by_effect)
        ax.plot(effects, [by_effect[e][1] for e in effects], color=colour, lw=1.5, label=f"n = {n}, theory")
        ax.plot(effects, [by_effect[e][0] for e in effects], color=colour, marker="o", ms=4, lw=0)
    _share_axis(ax)
    _legend(ax)
    save(figure, path)


def verdict_areas(shares: Mapping[int, Mapping[float, Mapping[Verdict, float]]], path: Path) -> None:
    """Probability of every verdict over the true effect, stacked, one panel a number of units."""
    figure, axes = panels(len(shares))
    order = (Verdict.REFUTED, Verdict.INCONCLUSIVE, Verdict.EQUIVALENT, Verdict.SUPPORTED)
    for ax, (n, by_effect) in zip(axes, shares.items(), strict=True):
        title = f"{n} units, bound of equivalence 0.5"
        dress(
            ax,
            title=title,
            y_label="probability of the verdict",
            x_label="true effect in standard deviations",
        )
        effects = list(by_effect)
        rows = [[by_effect[e][verdict] for e in effects] for verdict in order]
        colours = [FAINT if v is Verdict.INCONCLUSIVE else VERDICTS[v][0] for v in order]
        ax.stackplot(effects, rows, colors=colours, labels=[v.value for v in order], alpha=0.85)
        _share_axis(ax)
        _legend(ax)
    save(figure, path)


def bars(rows: Sequence[tuple[str, float, float, bool]], path: Path, *, title: str, x_label: str) -> None:
    """One bar a method with its 95 % interval: name, value, standard error, whether it is right."""
    figure, (ax,) = panels(1, width=7.0, height=0.42 * len(rows))
    dress(ax, title=title, y_label="", x_label=x_label, left=0)
    ax.grid(axis="y", visible=False)
    for place, (_, value, error, right) in enumerate(reversed(rows)):
        colour = BLUE if right else VERMILLION
        ax.barh(place, value, height=0.55, color=colour, alpha=0.85, xerr=1.96 * error, ecolor=INK)
        beyond = max(value, 0.0) + 1.96 * error
        ax.annotate(f"{value:.3f}", (beyond, place), (4, 0), textcoords="offset points", va="center")
    ax.set_yticks(range(len(rows)), [name for name, *_ in reversed(rows)])
    ax.axvline(0, color=INK, lw=1)
    save(figure, path)


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], tuple[str, str]]],
    path: Path,
    *,
    title: str,
    y_label: str,
    x_label: str,
    target: float,
) -> None:
    """Rates over a setting, one line a method, and the rate that they should have."""
    figure, (ax,) = panels(1, width=5.5)
    dress(ax, title=title, y_label=y_label, x_label=x_label)
    for name, (x, y, (colour, style)) in curves.items():
        ax.plot(x, y, color=colour, ls=style, marker="o", ms=4, lw=1.5, label=name)
    ax.axhline(target, color=INK, lw=1, ls=":")
    ax.set_ylim(0, 1.02)
    _percent(ax)
    _legend(ax)
    save(figure, path)


def _share_axis(ax: Axes) -> None:
    ax.set_ylim(0, 1)
    _percent(ax)


def _percent(ax: Axes) -> None:
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))


def _legend(ax: Axes) -> None:
    ax.legend(frameon=False, fontsize=9, loc="best")
