"""The page as text: complete, safe, self-contained, and free of claims."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from study.report import ReportModel, Snapshot, build, cells, write_report
from study.report.html import render
from study.report.limits import limits
from study.report.registration import registration
from study.report.sentences import claim_sentence
from study.report.sentences import label as verdict_label
from study.report.words import compact, decimals, dimension, duration, fact, label, number, param
from tests.study.report import synthetic, verdict_samples


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


@pytest.fixture(scope="module")
def judged_page(judged_written: dict[str, Path]) -> str:
    """The page of the study with claims."""
    return judged_written["html"].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sampled_page(model: ReportModel) -> str:
    """A page with one claim of every verdict, on two workloads."""
    analysis = verdict_samples.analysis()
    told = limits(analysis, spec=model.spec, workloads=verdict_samples.WORKLOADS, families=model.families)
    judged = dataclasses.replace(
        model, analysis=analysis, limits=told, registration=registration(analysis, {"sensitivity": 1.8e9})
    )
    return render(judged, [])


def test_the_answer_comes_first(page: str) -> None:
    assert Page(page).sections[:2] == ["answer", "verdicts"]


def test_the_contents_are_the_sections_in_their_order(page: str, judged_page: str) -> None:
    for text in (page, judged_page):
        found = Page(text)
        assert found.links[1 : len(found.sections) + 2][-len(found.sections) :] == [
            f"#{name}" for name in found.sections
        ]


def test_verdicts_come_first_where_claims_were_made(judged_page: str) -> None:
    assert Page(judged_page).sections == [
        "verdicts",
        "answer",
        "behind",
        "sensitivity",
        "failures",
        "search",
        "compute",
        "spaces",
        "protocol",
        "checklist",
        "provenance",
        "trials",
    ]


@pytest.mark.parametrize("name", ["page", "judged_page"])
def test_nothing_is_asked_of_the_network(name: str, request: pytest.FixtureRequest) -> None:
    page = request.getfixturevalue(name)
    assert all(link.startswith("#") or link == "data:," for link in Page(page).links)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("name", ["page", "judged_page"])
def test_every_id_is_one_of_a_kind_and_every_link_arrives(name: str, request: pytest.FixtureRequest) -> None:
    found = Page(request.getfixturevalue(name))
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


def test_every_claim_has_title_verdict_and_sentence(sampled_page: str) -> None:
    words = Page(sampled_page).words.replace("\u202f", " ").replace("\xa0", " ")
    assert words.index("Of 8 primary claims, 2 are supported") < words.index("Tuned families on fresh seeds")
    for claim in verdict_samples.claims():
        head = f"{verdict_label(claim.verdict, claim.grade)} {claim.id} {claim.title}"
        assert words.count(head) == 1, claim.id
        assert claim_sentence(claim) in words
    assert words.count("exploratory, amended") == 1


def test_every_endpoint_stands_in_the_table_with_all_its_numbers(sampled_page: str) -> None:
    table = sampled_page[sampled_page.index('id="endpoints"') :]
    words = Page(table[: table.index("</table>")]).words
    for claim in verdict_samples.claims():
        for part in claim.parts:
            if part.estimate is None:
                continue
            row = words[words.index(f"{part.title}: {part.a} against {part.b}") :][:400]
            shown = (
                cells.estimate(part),
                cells.interval(part),
                cells.effect_size(part),
                f"{part.win_probability:.2f}",
                cells.p_value(part.p_t),
                cells.p_value(part.p_signflip),
                cells.p_value(part.p_adjusted),
                cells.e_value(part.e_value),
                f"{part.n} of {part.n_planned}",
            )
            for text in shown:
                assert text in words, (claim.id, part.metric, text)
            assert f"look {part.look}" in row or part.look is None
    assert " 34 " in words
    assert "fragile" in words


def test_what_is_not_shown_stands_beside_the_verdicts(sampled_page: str) -> None:
    words = Page(sampled_page).words
    place = words.index("What this study does not show")
    assert words.index("Of 8 primary claims") < place < words.index("Tuned families on fresh seeds")
    for text in ("Left open", "C8: not evaluable", "Exploratory", "Workloads", "Scale"):
        assert text in words[place:]


def test_a_changed_verdict_stands_out_in_the_grid_of_choices(sampled_page: str) -> None:
    grid = sampled_page[sampled_page.index('class="stability"') :]
    grid = grid[: grid.index("</table>")]
    assert grid.count('class="chip inconclusive"') == 2 + 1
    assert Page(grid).words.count("the same") == 11 * 5 - 1


def test_the_registration_stands_in_the_provenance(sampled_page: str) -> None:
    words = Page(sampled_page[sampled_page.index('id="provenance"') :]).words
    assert verdict_samples.REGISTERED["sha256"] in words
    assert "before the first trial that tests them reported at" in words
    assert "The margin was read off the first look." in words
    assert "2 identical rows of the trial table were dropped." in words


def test_defaults_perturbations_and_other_readings_are_shown(judged_page: str) -> None:
    words = Page(judged_page).words
    for text in (
        "tuned, learning rate raised",
        "drop_experts",
        "Trials beside the design: 7 groups",
        "capped ~ is_b * log_lr",
        "Learning-rate sensitivity after Wortsman",
        "False stops",
        "neither standard deviations nor standard errors",
    ):
        assert text in words, text


def test_registered_claims_without_a_trial_are_not_judged_yet(empty: Snapshot) -> None:
    claimed = dataclasses.replace(empty, claims=synthetic.claim_set())
    words = Page(render(build(claimed), [])).words
    assert "Not judged yet. 8 claims are registered" in words


def test_a_page_of_many_workloads_names_them(many: ReportModel) -> None:
    words = Page(render(many, [])).words
    for workload in synthetic.WORKLOADS:
        assert words.count(f"rsgd {workload}") >= 2


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
    assert len(found.sections) == 11
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
