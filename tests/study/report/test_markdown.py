"""Markdown: what a pull request shows, read back by a parser of GitHub's dialect."""

from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from study.report import build
from study.report.markdown import to_markdown
from tests.study.report import sample_report, verdict_samples


class Cells(HTMLParser):
    """The rendered text of every table cell, heading and list item."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[str] = []
        self.text = ""
        self._cell: list[str] | None = None
        self.feed(MarkdownIt("commonmark").enable("table").render(text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags += [tag, *(name for name, _ in attrs if name in ("href", "src"))]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell is not None:
            self._cell.append(data)


@pytest.fixture(scope="module")
def page() -> Cells:
    return Cells(to_markdown(sample_report.model()))


def test_the_claims_stand_in_the_first_table(page: Cells):
    head, *rows = page.tables[0]
    assert head[:3] == ["Claim", "What is claimed", "Verdict"]
    assert {len(row) for row in page.tables[0]} == {len(head)}
    named = [row for row in rows if row[0]]
    assert [(row[0], row[1]) for row in named] == [(c.id, c.title) for c in verdict_samples.claims()]
    assert named[1][2:6] == [
        "supported, meaningful",
        "loss of the tuned configuration",
        "0.0310",
        "[0.0240, 0.0380]",
    ]


def test_sentences_families_failures_and_provenance_are_there(page: Cells):
    assert "grsgd reaches a report loss 0.0310 nats below that of rsgd" in page.text
    assert "1 infra failed (adamw): Worker 10.0.0.7 was lost." in page.text
    assert verdict_samples.REGISTERED["sha256"] in page.text
    assert "NeurIPS paper checklist" in page.text
    assert [row[0] for row in page.tables[3][1:]] != []


def test_words_of_a_user_show_as_they_are_written():
    page = Cells(to_markdown(sample_report.hostile()))
    assert page.tables[0][1][1] == sample_report.HOSTILE
    assert f"(adamw): {sample_report.HOSTILE}" in page.text
    assert {"a", "b", "em", "img", "script", "href", "src"}.isdisjoint(page.tags)


def test_without_claims_it_says_that_nothing_was_judged(empty):
    assert "Not judged." in Cells(to_markdown(build(empty))).text
