"""The report as a PDF of numbered pages, typeset by Typst with fonts that are embedded.

The same model gives the same bytes: no date, no system font, no network.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib as mpl

from study.report.blocks import Block, Picture, Section
from study.report.claim_tables import VERDICTS
from study.report.content import BEHIND, FAMILIES, SENSITIVITY, answer_sections, facts_of, method_sections
from study.report.figures import Figure, print_svg
from study.report.figures.canvas import PRINT_COLUMNS, print_share
from study.report.method_tables import FAILURES, SEARCH
from study.report.model import ReportModel

TEMPLATE = "report.typ"
PAGE_HEIGHT = 880
"""Height in pixels of what fits a page beside its title and caption, at the scale of print."""
FIGURES_OF: Mapping[str, tuple[str, ...]] = {
    VERDICTS: ("forest", "paired"),
    BEHIND: ("sequential", "diagnostics", "plane-workloads", "time-profile", "ranks"),
    FAMILIES: ("tuned", "plane", "arrival", "training", "entropy"),
    FAILURES: ("divergence",),
    SEARCH: ("survival", "audit"),
}
"""Section → the kinds of figures in it."""
BEYOND = "\u2fff"
"""Later characters are in no font that Typst or Matplotlib carries, so that the system's are asked."""


def to_pdf(model: ReportModel, figures: Sequence[Figure]) -> bytes:
    """The whole report.

    Args:
        model: the report's content.
        figures: those to show, in their order.
    """
    figures = printed(figures)
    content = json.dumps(_content(model, figures), ensure_ascii=False, allow_nan=False)
    template = resources.files("study.report.templates") / TEMPLATE
    files = {"main.typ": template.read_text(encoding="utf-8"), "content.json": content}
    files |= {f"{figure.name}.svg": print_svg(figure) for figure in figures}
    return _compiled(files)


def printed(figures: Sequence[Figure]) -> list[Figure]:
    """The figures, those that are higher than a page in parts that are not."""
    found = []
    for figure in figures:
        rows = max(1, PAGE_HEIGHT // figure.height)
        size = rows * PRINT_COLUMNS
        parts = [figure.panels[start : start + size] for start in range(0, len(figure.panels), size)]
        for number, panels in enumerate(parts, start=1):
            name = f"{figure.name}-part-{number}" if len(parts) > 1 else figure.name
            title = f"{figure.title} ({number} of {len(parts)})" if len(parts) > 1 else figure.title
            found.append(dataclasses.replace(figure, name=name, title=title, panels=panels))
    return found


def figure_pdf(figure: Figure) -> bytes:
    """One figure alone on a page of its size, for a paper to include."""
    page = (
        "#set page(width: auto, height: auto, margin: 0pt, fill: none)\n"
        '#set document(title: json("title.json"), date: none)\n#image("figure.svg")\n'
    )
    title = json.dumps(figure.title, ensure_ascii=False)
    return _compiled({"main.typ": page, "title.json": title, "figure.svg": print_svg(figure)})


def _compiled(files: Mapping[str, str]) -> bytes:
    import typst  # takes a while, and most reports do without

    compiled: bytes = typst.compile(
        {name: text.encode() for name, text in files.items()},
        font_paths=_fonts(with_system=max("".join(files.values())) > BEYOND),
    )
    return compiled


@cache
def _fonts(*, with_system: bool) -> Any:
    """Typst's fonts and Matplotlib's, read once."""
    import typst

    own = str(Path(mpl.get_data_path()) / "fonts" / "ttf")
    return typst.Fonts(include_system_fonts=with_system, font_paths=[own])


def _content(model: ReportModel, figures: Sequence[Figure]) -> dict[str, Any]:
    shown = {figure.name: figure for figure in figures}
    sections = _illustrated([*answer_sections(model), *method_sections(model)], figures)
    return {
        "title": model.name,
        "facts": facts_of(model),
        "sections": [
            {"title": section.title, "blocks": [_block(block, shown) for block in section.blocks]}
            for section in sections
            if section.blocks
        ],
    }


def _illustrated(sections: Sequence[Section], figures: Sequence[Figure]) -> list[Section]:
    """The sections with their figures below their tables, the search's above; what has no section is sensitivity's."""
    known = {kind for kinds in FIGURES_OF.values() for kind in kinds}
    found = []
    for section in sections:
        kinds = FIGURES_OF.get(section.title, ())
        mine = [f for f in figures if _kind(f) in kinds]
        if section.title == SENSITIVITY:
            mine += [f for f in figures if _kind(f) not in known]
        pictures = tuple(Picture(name=figure.name) for figure in mine)
        first = 1 if section.title == SEARCH else len(section.blocks)
        blocks = (*section.blocks[:first], *pictures, *section.blocks[first:])
        found.append(Section(title=section.title, blocks=blocks))
    return found


def _kind(figure: Figure) -> str:
    return figure.kind or figure.name


def _block(block: Block, figures: dict[str, Figure]) -> dict[str, Any]:
    fields = {"kind": type(block).__name__.lower(), **dataclasses.asdict(block)}
    if not isinstance(block, Picture):
        return fields
    figure = figures[block.name]
    return fields | {
        "title": figure.title,
        "caption": figure.caption,
        "alt": " ".join(panel.alt for panel in figure.panels),
        "width": print_share(figure),
    }
