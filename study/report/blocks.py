"""The report as print lays it out: sections of paragraphs, tables and figures, without a word on how they look."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Column:
    """A table's column."""

    title: str
    numeric: bool = False
    """Whether its cells are numbers, which stand right."""
    wide: bool = False
    """Whether its cells are sentences, which take the room that is left."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text; an empty cell has nothing to say."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Items:
    """Sentences of equal rank."""

    items: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names with their values."""

    title: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure of the report."""

    name: str
    """Name of its file, without ending."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Text that is shown letter by letter."""

    title: str
    text: str


Block = Paragraph | Items | Table | Facts | Picture | Listing


@dataclass(frozen=True, kw_only=True)
class Section:
    """Blocks under a heading."""

    title: str
    blocks: tuple[Block, ...]
