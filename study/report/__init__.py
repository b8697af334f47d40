"""The report of a study: what was claimed and found, how, and every trial of it, for readers who doubt."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from search_spaces.errors import unknown
from study.report.document import document
from study.report.files import prepare
from study.report.model import ReportModel, build
from study.report.snapshot import Snapshot
from study.report.writers import (
    write_csv,
    write_html,
    write_json,
    write_markdown,
    write_parquet,
    write_pdf,
    write_tex,
)

__all__ = ["FORMATS", "ReportModel", "Snapshot", "build", "document", "write_report"]

FORMATS: Mapping[str, Callable[[Snapshot, ReportModel, Path], Path]] = MappingProxyType(
    {
        "html": write_html,
        "pdf": write_pdf,
        "md": write_markdown,
        "json": write_json,
        "csv": write_csv,
        "tex": write_tex,
        "parquet": write_parquet,
    }
)
"""What `write_report` can write, each with its writer."""


def write_report(
    snapshot: Snapshot,
    out_dir: Path | str,
    formats: Iterable[str] = tuple(FORMATS),
    *,
    model: ReportModel | None = None,
) -> dict[str, Path]:
    """Write the report of a study.

    The same snapshot gives the same bytes. Beside the page stand its figures, one SVG each, in `figures/`, beside the
    TeX tables the same figures as PDF; beside each table of trials its table of curves and, where claims were judged,
    the claims and their parts.

    Args:
        snapshot: the study at one moment; it need not be finished.
        out_dir: folder to write to; it is made.
        formats: which of `FORMATS` to write.
        model: what `build` made of the snapshot, where it is there already.

    Returns:
        Format → its main file: `report.html`, `report.pdf`, `report.md`, `report.json`, `trials.csv`, `claims.tex`
        (`families.tex` where nothing was claimed), `trials.parquet`.

    Raises:
        SpecError: an unknown format, a folder that cannot be written, or a trial table that cannot be read.
    """
    chosen = check_formats(formats)
    content = build(snapshot) if model is None else model
    folder = Path(out_dir)
    prepare(folder)
    return {name: FORMATS[name](snapshot, content, folder) for name in chosen}


def check_formats(formats: Iterable[str]) -> list[str]:
    """The formats without repetitions.

    Raises:
        SpecError: one of them is unknown.
    """
    chosen = list(dict.fromkeys(formats))
    for name in chosen:
        if name not in FORMATS:
            raise unknown("report format", name, FORMATS)
    return chosen
