"""The report's figures: a dict from name to the function that describes it, or None without data."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from study.report.figures.arrival import arrival, time_profile
from study.report.figures.audit import audit
from study.report.figures.canvas import Figure, Panel, panel_svg, print_svg, sheet_svg
from study.report.figures.diagnostics import diagnostics
from study.report.figures.divergence import divergence
from study.report.figures.factors import factors
from study.report.figures.forest import forest
from study.report.figures.importance import importance
from study.report.figures.interactions import interactions
from study.report.figures.lr_loss import lr_loss
from study.report.figures.paired import paired
from study.report.figures.plane import plane, plane_over_workloads
from study.report.figures.profiles import profiles
from study.report.figures.ranks import ranks
from study.report.figures.sequential import sequential
from study.report.figures.survival import survival
from study.report.figures.training import entropy, training
from study.report.figures.tuned import tuned
from study.report.figures.tuning import tuning
from study.report.model import ReportModel, by_workload

Maker = Callable[[ReportModel], Figure | None]

OVER_ALL: Mapping[str, Maker] = MappingProxyType(
    {
        "forest": forest,
        "paired": paired,
        "sequential": sequential,
        "diagnostics": diagnostics,
        "plane-workloads": plane_over_workloads,
        "time-profile": time_profile,
        "ranks": ranks,
    }
)
"""Figures of the whole study."""
ON_EACH: Mapping[str, Maker] = MappingProxyType(
    {
        "tuned": tuned,
        "lr-loss": lr_loss,
        "profiles": profiles,
        "training": training,
        "tuning": tuning,
        "factors": factors,
        "interactions": interactions,
        "importance": importance,
        "plane": plane,
        "arrival": arrival,
        "entropy": entropy,
        "divergence": divergence,
        "survival": survival,
        "audit": audit,
    }
)
"""Figures of one workload, whose losses no other workload's can be compared with."""
FIGURES: Mapping[str, Maker] = MappingProxyType({**OVER_ALL, **ON_EACH})
"""Every figure of a study on one workload."""

__all__ = [
    "FIGURES",
    "ON_EACH",
    "OVER_ALL",
    "Figure",
    "Panel",
    "draw_all",
    "panel_svg",
    "print_svg",
    "sheet_svg",
]


def draw_all(model: ReportModel) -> list[Figure]:
    """Every figure that the data allow, those of one workload once for each of them."""
    views = by_workload(model)
    found = [_of_kind(name, make(model)) for name, make in OVER_ALL.items()]
    for name, make in ON_EACH.items():
        for index, view in enumerate(views, start=1):
            figure = _of_kind(name, make(view))
            if figure is not None and len(views) > 1:
                title = f"{figure.title}: {view.workloads[0]}"
                figure = replace(figure, name=f"{name}-{index}", title=title)
            found.append(figure)
    return [figure for figure in found if figure is not None]


def _of_kind(kind: str, figure: Figure | None) -> Figure | None:
    return None if figure is None else replace(figure, kind=kind)
