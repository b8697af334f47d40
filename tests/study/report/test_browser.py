"""The page in a real browser: silent, still, and at home on every screen."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.report import ReportModel
from study.report.figures import draw_all
from study.report.html import render
from study.report.limits import limits
from tests.browser import (
    chromium,
    is_within,
    look,
    needs_axe,
    needs_browser,
    on_every_screen,
    open_details,
    violations,
)
from tests.study.report import verdict_samples
from tests.study.report.test_figures import contrast

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile"), logs=("browser", "performance")) as driver:
        yield driver


@pytest.fixture(scope="module")
def claimed(judged_model: ReportModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with one claim of every verdict, on two workloads with long names."""
    analysis = verdict_samples.analysis()
    told = limits(analysis, spec=judged_model.spec, workloads=verdict_samples.WORKLOADS, families=("sgd",))
    model = dataclasses.replace(judged_model, analysis=analysis, limits=told)
    path = tmp_path_factory.mktemp("claimed") / "report.html"
    path.write_text(render(model, draw_all(model)), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["without claims", "with claims"])
def either(request: pytest.FixtureRequest) -> Path:
    """Both kinds of page."""
    if request.param == "with claims":
        page: Path = request.getfixturevalue("claimed")
        return page
    html: Path = request.getfixturevalue("written")["html"]
    return html


def show(browser: Any, path: Path, **screen: Any) -> None:
    look(browser, path.as_uri(), **screen)


def test_it_asks_nothing_of_the_network_and_the_console_is_silent(browser: Any, either: Path) -> None:
    browser.get_log("performance")
    show(browser, either)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    page = either.as_uri()
    asked = {request["request"]["url"] for request in sent if request["documentURL"] == page}
    assert asked - {"data:,"} == {page}
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(
    ("width", "opened"), [(320, False), (390, True), (768, False), (1280, True), (1920, False)]
)
def test_the_page_never_scrolls_sideways(
    browser: Any, written: dict[str, Path], width: int, opened: bool
) -> None:
    show(browser, written["html"], width=width)
    if opened:
        open_details(browser)
    assert is_within(browser, width)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_a_page_with_claims_never_scrolls_sideways(
    browser: Any, claimed: Path, width: int, scheme: str
) -> None:
    show(browser, claimed, width=width, scheme=scheme)
    open_details(browser)
    assert is_within(browser, width)
    broad = browser.execute_script(
        """return [...document.querySelectorAll('#verdicts p, #verdicts li, #verdicts dd, #verdicts figure')]
          .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML.slice(0, 80));"""
    )
    assert broad == []


@pytest.mark.parametrize("width", [390, 1280])
def test_every_number_of_an_endpoint_is_seen_without_scrolling_its_table(
    browser: Any, claimed: Path, width: int
) -> None:
    show(browser, claimed, width=width)
    right = browser.execute_script(
        "return Math.max(...[...document.querySelectorAll('#endpoints td')]"
        ".map((cell) => cell.getBoundingClientRect().right))"
    )
    assert right <= width


def test_endpoints_can_be_sorted_by_their_estimate(browser: Any, claimed: Path) -> None:
    show(browser, claimed)
    browser.find_elements("css selector", "#endpoints thead button")[2].click()
    found = browser.execute_script(
        "return [...document.querySelectorAll('#endpoints tbody .lead')].map((cell) => cell.dataset.sort)"
    )
    numbers = [float(text) for text in found if text]
    assert numbers == sorted(numbers)
    assert found[-1] == ""
    titles = browser.execute_script(
        "return [...document.querySelectorAll('#endpoints .claim-title')].map((e) => e.offsetParent !== null)"
    )
    assert all(titles)


def test_answer_and_interval_are_seen_on_a_phone_without_scrolling_a_table(
    browser: Any, written: dict[str, Path]
) -> None:
    show(browser, written["html"], width=390)
    right = browser.execute_script(
        "return Math.max(...[...document.querySelectorAll('#answer td.lead, #answer td.plot')]"
        ".map((cell) => cell.getBoundingClientRect().right))"
    )
    assert right <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_reaches_the_contrast_of_wcag_aa(browser: Any, either: Path, scheme: str) -> None:
    show(browser, either, scheme=scheme)
    paper = colour(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    found = browser.execute_script(
        """const own = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        const seen = new Map();
        for (const e of document.querySelectorAll('main *')) {
          if (!own(e) || e.closest('.notice, pre, details, .skip')) continue;
          const style = getComputedStyle(e);
          const paint = e.namespaceURI.endsWith('svg') ? style.fill : style.color;
          if (!seen.has(paint)) seen.set(paint, e.outerHTML.slice(0, 80));
        }
        return [...seen];"""
    )
    assert len(found) >= 3
    for paint, where in found:
        if paint == "rgba(0, 0, 0, 0)":  # a phase's name that repeats the row above
            continue
        assert contrast(colour(paint), paper) >= 4.5, (paint, where)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_reach_the_contrast_of_graphics(browser: Any, written: dict[str, Path], scheme: str) -> None:
    show(browser, written["html"], scheme=scheme)
    paper = colour(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    for name in ("plain", "r", "g", "gr", "other"):
        value = browser.execute_script(
            "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0])",
            f"--fam-{name}",
        )
        assert contrast(value.strip(), paper) >= 3.0, name


def colour(css: str) -> str:
    """`rgb(…)` as #rrggbb."""
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", css)[:3])


def test_figures_keep_readable_text_on_a_phone(browser: Any, either: Path) -> None:
    show(browser, either, width=390)
    open_details(browser)
    smallest = browser.execute_script(
        """return Math.min(...[...document.querySelectorAll('svg.panel')].flatMap((svg) => {
          const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
          return [...svg.querySelectorAll('text')].map((t) => scale * parseFloat(getComputedStyle(t).fontSize));
        }))"""
    )
    assert smallest >= 9.5


def test_no_label_of_a_figure_is_cut_off(browser: Any, either: Path) -> None:
    show(browser, either, width=1280)
    open_details(browser)
    outside = browser.execute_script(
        """return [...document.querySelectorAll('svg.panel')].flatMap((svg) => {
          const frame = svg.getBoundingClientRect();
          return [...svg.querySelectorAll('text')].filter((t) => {
            const box = t.getBoundingClientRect();
            return box.left < frame.left - 4 || box.right > frame.right + 8 || box.bottom > frame.bottom + 2;
          }).map((t) => t.textContent);
        })"""
    )
    assert outside == []


def test_a_click_on_a_header_sorts_and_another_turns_it_round(browser: Any, written: dict[str, Path]) -> None:
    show(browser, written["html"])
    order = (
        "return [...document.querySelectorAll('#answer tbody .lead b')].map((b) => parseFloat(b.textContent))"
    )
    before = browser.execute_script(order)
    header = browser.find_elements("css selector", "#answer thead button")[1]
    assert header.text == "Report loss"
    header.click()
    assert browser.execute_script(order) == sorted(before)
    header.click()
    assert browser.execute_script(order) == sorted(before, reverse=True)
    parent = browser.find_elements("css selector", "#answer th[aria-sort]")
    assert [th.get_attribute("aria-sort") for th in parent] == ["descending"]


def test_the_list_of_trials_can_be_filtered(browser: Any, written: dict[str, Path]) -> None:
    show(browser, written["html"])
    browser.find_element("css selector", "#trials summary").click()
    browser.find_element("css selector", "#trials input").send_keys("confirmation grsgd")
    assert browser.find_element("css selector", "#trials output").text == "12 of 1596"
    shown = "return document.querySelectorAll('#all-trials tbody tr:not([hidden])').length"
    assert browser.execute_script(shown) == 12


def test_paper_is_white_even_in_the_dark(browser: Any, written: dict[str, Path]) -> None:
    show(browser, written["html"], scheme="dark", media="print")
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert colour(background) == "#ffffff"


@needs_axe
@on_every_screen
def test_axe_finds_nothing_on_a_page_with_claims(
    browser: Any, claimed: Path, width: int, scheme: str
) -> None:
    show(browser, claimed, width=width, scheme=scheme)
    assert found_by_axe(browser) == []


@needs_axe
@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (360, "light")])
def test_axe_finds_nothing_on_a_page_without_claims(
    browser: Any, written: dict[str, Path], width: int, scheme: str
) -> None:
    show(browser, written["html"], width=width, scheme=scheme)
    assert found_by_axe(browser) == []


def found_by_axe(browser: Any) -> list[Any]:
    """What is wrong with a page, unfolded; most of its 20,000 elements are like others, or drawn, and left out.

    What figures are made of is no matter of axe's: each is an image with a name, and the tests of contrast and of
    readable text look into it.
    """
    open_details(browser)
    browser.execute_script(
        "document.querySelectorAll('#all-trials tbody tr:nth-child(n + 9), svg.panel > *')"
        ".forEach((one) => { one.remove(); })"
    )
    return violations(browser)
