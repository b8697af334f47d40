"""The report's figures: a dict from name to the function that describes it, or None without data."""

from collections.abc import Callable

from study.report.figures.canvas import Figure, Panel, panel_svg, sheet_svg
from study.report.figures.divergence import divergence
from study.report.figures.factors import factors
from study.report.figures.lr_loss import lr_loss
from study.report.figures.survival import survival
from study.report.figures.training import entropy, training
from study.report.figures.tuned import tuned
from study.report.figures.tuning import tuning
from study.report.model import ReportModel

FIGURES: dict[str, Callable[[ReportModel], Figure | None]] = {
    "tuned": tuned,
    "lr-loss": lr_loss,
    "training": training,
    "tuning": tuning,
    "factors": factors,
    "entropy": entropy,
    "divergence": divergence,
    "survival": survival,
}

__all__ = ["FIGURES", "Figure", "Panel", "panel_svg", "sheet_svg"]
