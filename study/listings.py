"""The families and tasks as text for a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from search_spaces import FAMILIES


def families_document() -> list[dict[str, Any]]:
    """Every family as plain JSON."""
    return [
        {
            "name": family.name,
            "summary": family.summary,
            "rule": family.rule,
            "preconditioned": family.preconditioned,
            "gate_exponent": family.gate_exponent,
            "paper": family.paper,
            "lr_scale": family.lr_scale,
            "space": family.space.to_json(),
            "defaults": dict(family.defaults),
            "reduces_to": [{"family": one.to, "when": one.when} for one in family.reductions],
        }
        for family in FAMILIES.values()
    ]


def families_text() -> str:
    """Every family with what it is and what it reduces to."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("family", "what it is", "reduces to"):
        table.add_column(heading)
    for family in FAMILIES.values():
        reductions = "\n".join(f"{one.to}: {one.when}" for one in family.reductions)
        table.add_row(family.name, family.summary, reductions)
    return _rendered(table)


def tasks_text(rows: list[dict[str, str]]) -> str:
    """Every task with its text and licence."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("task", "text", "licence"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row["name"], row["text"], row["licence"])
    return _rendered(table)


def _rendered(table: Table) -> str:
    console = Console(highlight=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip()
