"""The page as text: complete, safe, self-contained, and free of claims."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from study.report import Snapshot, build, write_report
from study.report.html import render
from study.report.words import compact, decimals, dimension, duration, fact, label, number, param
from tests.study.report import synthetic


class Page(HTMLParser):
    """Collects what the tests ask about."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sections: list[str] = []
        self.text: list[str] = []
        self._silent = 0
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"]] if found.get("id") else []
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset", "action") and v]
        self.sections += [str(found.get("id"))] if tag == "section" else []
        self._silent += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_the_answer_comes_first(page: str) -> None:
    assert Page(page).sections == [
        "answer",
        "verdicts",
        "sensitivity",
        "failures",
        "search",
        "compute",
        "spaces",
        "protocol",
        "provenance",
        "trials",
    ]


def test_nothing_is_asked_of_the_network(page: str) -> None:
    assert all(link.startswith("#") or link == "data:," for link in Page(page).links)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page


def test_every_id_is_one_of_a_kind_and_every_link_arrives(page: str) -> None:
    found = Page(page)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)


def test_every_figure_has_words(page: str) -> None:
    panels = re.findall(r'<svg class="panel"[^>]*>', page)
    assert len(panels) > 20
    assert all('role="img"' in panel and re.search(r'aria-label="[^"]{20,}"', panel) for panel in panels)
    assert page.count("<figcaption>") == page.count("<figure ")


def test_the_place_of_the_verdicts_is_kept_and_nothing_is_claimed(page: str) -> None:
    words = Page(page).words
    assert 'data-place="verdicts"' in page
    assert "This report describes and claims nothing." in words
    for claim in (
        "significant",
        "supported",
        "refuted",
        "outperform",
        "superior",
        "p =",
        "best family",
        "wins",
    ):
        assert claim not in words.lower(), claim


def test_the_numbers_stand_in_the_table(whole: Snapshot, page: str) -> None:
    words = Page(page).words
    for result in build(whole).tuned:
        assert result.loss is not None
        assert result.loss.interval is not None
        ends = f"[{result.loss.interval.low:.4f}, {result.loss.interval.high:.4f}]"
        assert f"{result.loss.mean:.4f} {ends}" in words


def test_every_trial_is_listed(whole: Snapshot, page: str) -> None:
    for key in whole.trials["trial"]:
        assert page.count(f'class="mono">{key}<') == 1


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>"\'&'
    maker = synthetic.Maker()
    maker.add("search", "rsgd", 0, 0, synthetic.tuned("rsgd"))
    maker.add("search", "rsgd", 0, 1, synthetic.tuned("rsgd") | {"lr": 1e-2})
    maker.trials[0].update(trial=evil, family=evil, reason=evil, **{"param.kind": evil})
    maker.trials[1].update(outcome="infra_failed", reason=evil, family=evil)
    snapshot = synthetic.snapshot(
        maker,
        state=evil,
        families=("rsgd",),
        name=evil,
        manifest={evil: {evil: evil}},
        events=[{"kind": evil, "detail": {evil: evil}, "recorded_at": 0.0}],
    )
    text = write_report(snapshot, tmp_path, ["html"])["html"].read_text()
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert Page(text).words.count('<script>alert("x")</script>') > 5


@pytest.mark.parametrize("name", ["partial", "diverged", "empty"])
def test_any_moment_of_a_study_has_a_page(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    text = write_report(request.getfixturevalue(name), tmp_path, ["html"])["html"].read_text()
    found = Page(text)
    assert len(found.sections) == 10
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", found.words)


def test_an_unfinished_study_says_so_at_the_top(partial: Snapshot) -> None:
    words = Page(render(build(partial), [])).words
    start = words.index("What is missing")
    assert start < words.index("Tuned families on fresh seeds", start)
    assert "The study is running: every number here is of this moment." in words
    assert "No confirmation trial has a result yet" in words


def test_a_spec_of_one_key_is_enough(whole: Snapshot) -> None:
    bare = dataclasses.replace(whole, spec={}, manifest={}, events=[], rungs=whole.rungs.iloc[:0])
    assert "Tuned families" in render(build(bare), [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8, "8"),
        (0.0398107, "0.0398"),
        (1e-5, "10\u207b\u2075"),
        (7.943e-4, "7.94\u202f\u00d7\u202f10\u207b\u2074"),
        (100.0, "100"),
        ("auto", "auto"),
        (0.0, "0"),
    ],
)
def test_hyperparameters_read_well(value: object, text: str) -> None:
    assert param(value) == text


def test_the_manifest_reads_well() -> None:
    assert fact("memory_bytes", 25_120_000_000) == "25.1\u202fGB"
    assert fact("seed", 20261122) == "20261122"
    assert label("memory_bytes") == "memory"
    assert compact({"a": [1, "b"], "c": {"d": 0.5}}) == "a 1, b, c d 0.5"


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ({"log": [1e-4, 1]}, "log-uniform 10\u207b\u2074 to 1"),
        ({"linear": [0, 0.5]}, "uniform 0 to 0.5"),
        ({"int": [2, 8]}, "integers 2 to 8"),
        ([4, 8], "{4, 8}"),
        ({"choices": [2, 4], "at_most": "num_experts"}, "{2, 4} \u2264 num_experts"),
        (16, "fixed at 16"),
        (None, "not declared"),
    ],
)
def test_spaces_read_well(declared: object, text: str) -> None:
    assert dimension(declared) == text


def test_numbers_have_their_interval_s_digits() -> None:
    model = build(synthetic.finished(seeds=4, replicates=2))
    assert decimals([t.loss for t in model.tuned]) == 4
    assert decimals([]) == 4
    assert number(-0.5, 2) == "\u22120.50"
    assert number(None) == "\u2013"
    assert duration(90) == "90.0\u202fs"
    assert duration(7300) == "2.0\u202fh"
