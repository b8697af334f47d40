"""One writer a format: each writes its files into a folder and returns the main one."""

from pathlib import Path

from study.report.document import to_json
from study.report.figures import draw_all, sheet_svg
from study.report.files import prepare, write
from study.report.html import render
from study.report.latex import to_latex
from study.report.markdown import to_markdown
from study.report.model import ReportModel
from study.report.pdf import figure_pdf, printed, to_pdf
from study.report.snapshot import Snapshot
from study.report.tables import claims_frame, forecast_frame, parts_frame, to_csv, to_parquet
from study.reproduction.record import FILE_NAME as RECORD_NAME


def write_html(_snapshot: Snapshot, model: ReportModel, folder: Path) -> Path:
    """The page, and its figures as SVG files."""
    figures = draw_all(model)
    prepare(folder / "figures")
    for figure in figures:
        write(folder / "figures" / f"{figure.name}.svg", sheet_svg(figure).encode())
    return write(folder / "report.html", render(model, figures).encode())


def write_pdf(_snapshot: Snapshot, model: ReportModel, folder: Path) -> Path:
    """The pages for print."""
    return write(folder / "report.pdf", to_pdf(model, draw_all(model)))


def write_markdown(_snapshot: Snapshot, model: ReportModel, folder: Path) -> Path:
    """The summary for a pull request."""
    return write(folder / "report.md", to_markdown(model).encode())


def write_json(snapshot: Snapshot, model: ReportModel, folder: Path) -> Path:
    """The one document for programs and, of a study, the record from which it can be run again."""
    if snapshot.record is not None:
        write(folder / RECORD_NAME, snapshot.record.to_json())
    return write(folder / "report.json", to_json(model))


def write_csv(snapshot: Snapshot, model: ReportModel, folder: Path) -> Path:
    """Trials and curves, claims and their parts, predicted and actual cost."""
    if model.analysis is not None:
        write(folder / "claims.csv", to_csv(claims_frame(model.analysis)))
        write(folder / "parts.csv", to_csv(parts_frame(model.analysis)))
    if model.forecast is not None:
        write(folder / "forecast.csv", to_csv(forecast_frame(model.forecast)))
    write(folder / "curves.csv", to_csv(snapshot.curves))
    return write(folder / "trials.csv", to_csv(snapshot.trials))


def write_parquet(snapshot: Snapshot, model: ReportModel, folder: Path) -> Path:
    """The same tables with their types."""
    if model.analysis is not None:
        write(folder / "claims.parquet", to_parquet(claims_frame(model.analysis)))
        write(folder / "parts.parquet", to_parquet(parts_frame(model.analysis)))
    if model.forecast is not None:
        write(folder / "forecast.parquet", to_parquet(forecast_frame(model.forecast)))
    write(folder / "curves.parquet", to_parquet(snapshot.curves))
    return write(folder / "trials.parquet", to_parquet(snapshot.trials))


def write_tex(_snapshot: Snapshot, model: ReportModel, folder: Path) -> Path:
    """Tables for a paper, and the figures as PDF files."""
    figures = printed(draw_all(model))
    prepare(folder / "figures")
    for figure in figures:
        write(folder / "figures" / f"{figure.name}.pdf", figure_pdf(figure))
    files = {name: write(folder / name, content) for name, content in to_latex(model, figures).items()}
    return files.get("claims.tex", files["families.tex"])
