"""The report as GitHub's Markdown, short enough for a pull request."""

import re
from collections.abc import Iterable

from study.report.blocks import Block, Facts, Items, Listing, Paragraph, Picture, Section, Table
from study.report.content import answer_sections, facts_of
from study.report.method_tables import checklist, failures, forecast_section, provenance
from study.report.model import ReportModel

SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")
"""Characters that Markdown, or GitHub's mathematics, would take for their own."""
LONGEST_CODE = 3
"""Backticks that begin and end a listing, unless it holds as many."""


def to_markdown(model: ReportModel) -> str:
    """Verdicts, tests, families, failures, predicted and actual cost, provenance and checklist."""
    facts = " · ".join(f"{_escaped(name)}: **{_escaped(value)}**" for name, value in facts_of(model))
    sections: tuple[Section, ...] = (
        *answer_sections(model),
        failures(model),
        forecast_section(model),
        provenance(model),
        checklist(model),
    )
    parts = [f"# {_escaped(model.name)}: report", facts, *(_section(one) for one in sections if one.blocks)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    return "\n\n".join([f"## {_escaped(section.title)}", *_blocks(section.blocks)])


def _blocks(blocks: Iterable[Block]) -> list[str]:
    return [text for block in blocks if (text := _block(block))]


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return _escaped(block.text)
        case Items():
            return "\n".join(f"- {_escaped(item)}" for item in block.items)
        case Facts():
            head = f"**{_escaped(block.title)}**\n\n" if block.title else ""
            return head + "\n".join(f"- {_escaped(name)}: {_escaped(value)}" for name, value in block.facts)
        case Table():
            return _table(block)
        case Listing():
            return _listing(block)
        case Picture():
            return ""


def _table(table: Table) -> str:
    """A table under its title; its cells hold no line break and no bar."""
    head = " | ".join(_escaped(column.title) for column in table.columns)
    rule = " | ".join("---:" if column.numeric else "---" for column in table.columns)
    rows = [" | ".join(_escaped(cell) for cell in row) for row in table.rows]
    lines = [f"| {line} |" for line in (head, rule, *rows)]
    note = f"\n\n{_escaped(table.note)}" if table.note else ""
    title = f"**{_escaped(table.title)}**\n\n" if table.title else ""
    return title + "\n".join(lines) + note


def _listing(listing: Listing) -> str:
    """Text behind a line that opens it."""
    longest = max((len(run) for run in re.findall(r"`+", listing.text)), default=0)
    fence = "`" * max(LONGEST_CODE, longest + 1)
    body = f"{fence}yaml\n{listing.text.rstrip()}\n{fence}"
    return f"<details><summary>{_escaped(listing.title)}</summary>\n\n{body}\n\n</details>"


def _escaped(text: str) -> str:
    """Text that shows as it is written, on one line."""
    one_line = " ".join(text.splitlines()).replace("&", "&amp;")
    plain = SPECIAL.sub(r"\\\1", one_line)
    return re.sub(r"^(\d+)([.)])(?=\s)", r"\1\\\2", re.sub(r"^([-+=])(?=\s|$)", r"\\\1", plain))
