"""The report of a study: what was found, how, and every trial of it, for readers who doubt."""

from collections.abc import Iterable
from pathlib import Path

from search_spaces.errors import unknown
from study.report.figures import FIGURES, sheet_svg
from study.report.files import prepare, write
from study.report.html import render
from study.report.model import ReportModel, build
from study.report.snapshot import Snapshot
from study.report.tables import to_csv, to_json, to_parquet

__all__ = ["FORMATS", "ReportModel", "Snapshot", "build", "write_report"]


FORMATS = ("html", "csv", "parquet", "json")
"""What `write_report` can write."""


def write_report(
    snapshot: Snapshot, out_dir: Path | str, formats: Iterable[str] = FORMATS
) -> dict[str, Path]:
    """Write the report of a study.

    The same snapshot gives the same bytes. Beside the page stand its figures, one SVG each, in `figures/`;
    beside each table of trials its table of curves.

    Args:
        snapshot: the study at one moment; it need not be finished.
        out_dir: folder to write to; it is made.
        formats: which of `FORMATS` to write.

    Returns:
        Format → its main file: `report.html`, `trials.csv`, `trials.parquet`, `report.json`.

    Raises:
        SpecError: an unknown format, a folder that cannot be written, or a trial table that cannot be read.
    """
    chosen = list(dict.fromkeys(formats))
    for name in chosen:
        if name not in FORMATS:
            raise unknown("report format", name, FORMATS)
    model = build(snapshot)
    folder = Path(out_dir)
    prepare(folder)
    return {name: _write(name, snapshot, model, folder) for name in chosen}


def _write(name: str, snapshot: Snapshot, model: ReportModel, folder: Path) -> Path:
    """Write one format and return its main file."""
    if name == "csv":
        write(folder / "curves.csv", to_csv(snapshot.curves))
        return write(folder / "trials.csv", to_csv(snapshot.trials))
    if name == "parquet":
        write(folder / "curves.parquet", to_parquet(snapshot.curves))
        return write(folder / "trials.parquet", to_parquet(snapshot.trials))
    if name == "json":
        return write(folder / "report.json", to_json(model))
    figures = [found for make in FIGURES.values() if (found := make(model)) is not None]
    prepare(folder / "figures")
    for figure in figures:
        write(folder / "figures" / f"{figure.name}.svg", sheet_svg(figure).encode())
    return write(folder / "report.html", render(model, figures).encode())
