"""The pages in a real browser: what is swapped under the reader, and every page by everyone's means."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.ledger import Ledger, Scope, StudyState
from study.records import ATTEMPT_FAILED, Ending, Outcome, RungRecord
from study.service.tokens import create_token
from tests.browser import (
    chromium,
    is_within,
    look,
    needs_axe,
    needs_browser,
    on_every_screen,
    open_details,
    violations,
    wait_until,
)
from tests.study.report.synthetic import INIT
from tests.study.service.pages.planted import LOG, leave, plant, spec
from tests.study.service.pages.serving import served

SMALL = {
    "name": "small",
    "phases": {
        "search": {"trials": 9, "reduction": 3, "grace_steps": 20},
        "confirmation": {"seeds": 3, "looks": [3]},
    },
    "families": ["rsgd", "adamw"],
}
KEY = "search/rsgd/p000"

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service over a study that is half through and stays there, and over others that ended in every way."""
    home = tmp_path_factory.mktemp("planted")
    url = f"sqlite:///{home}/ledger.db"
    for name, for_s in {"small": 600.0, "finished": 90_000.0, "stopped": 600.0, "failed": 600.0}.items():
        plant(url, for_s=for_s, tick_s=33.0, study=spec(**SMALL | {"name": name}))
    leave(url, "stopped", StudyState.STOPPED)
    leave(url, "failed", StudyState.FAILED)
    with Ledger.open(url) as ledger:
        for point in ("p001", "p002"):
            detail = {"trial": f"search/rsgd/{point}", "reason": "No memory was left.", "log": LOG}
            ledger.record_event("failed", ATTEMPT_FAILED, detail)
    with served(home, ray="http://127.0.0.1:8265") as address:
        yield address


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that asks for a token."""
    home = tmp_path_factory.mktemp("guarded")
    with Ledger.open(f"sqlite:///{home}/ledger.db") as ledger:
        create_token(ledger, "team", Scope.RUN)
    with served(home) as address:
        yield address


def named(browser: Any, css: str) -> Any:
    return browser.find_element("css selector", css)


def text(browser: Any, css: str = "main") -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", css))


def test_focus_scroll_and_opened_details_survive_what_is_swapped(browser: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    plant(url, for_s=170.0, tick_s=33.0, study=spec(**SMALL))
    with served(tmp_path) as address, Ledger.open(url) as ledger:
        look(browser, f"{address}/studies/small", height=500)
        wait_until(lambda: named(browser, "#connection").text == "Live", "the page is live")
        browser.execute_script(
            """const details = document.getElementById("survival-table");
            details.open = true;
            details.querySelector("summary").focus();
            document.querySelectorAll("[data-fragment]").forEach((one) => { one.firstElementChild.isOld = true; });"""
        )
        before = browser.execute_script("return scrollY")
        ledger.record_event("small", "attempt_failed", {"trial": KEY, "reason": "Look here.", "log": "a"})
        _stop_one(ledger)
        swapped = "return document.querySelector('[data-fragment=survival]').firstElementChild.isOld !== true"
        wait_until(lambda: browser.execute_script(swapped), "the search is shown anew")
        wait_until(lambda: "Look here." in text(browser), "the failure is shown")
        assert browser.execute_script("return document.getElementById('survival-table').open")
        assert (
            browser.execute_script("return document.activeElement.closest('details')?.id") == "survival-table"
        )
        assert browser.execute_script("return scrollY") == before


def test_a_click_counts_though_an_update_comes_within_it(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    url = f"sqlite:///{tmp_path}/ledger.db"
    plant(url, for_s=170.0, tick_s=33.0, study=spec(**SMALL))
    with served(tmp_path) as address, Ledger.open(url) as ledger:
        look(browser, f"{address}/studies/small")
        wait_until(lambda: named(browser, "#connection").text == "Live", "the page is live")
        ended = ".facts > div:nth-child(2) dd"
        before = text(browser, ended)
        ActionChains(browser).click_and_hold(named(browser, "#stop")).perform()
        _stop_one(ledger)
        ledger.record_event("small", "attempt_failed", {"trial": KEY, "reason": "Look here.", "log": "a"})
        wait_until(lambda: "Look here." in text(browser), "the failure is shown, which nobody presses")
        assert text(browser, ended) == before
        ActionChains(browser).release().perform()
        wait_until(lambda: "stopped" in text(browser, ".facts"), "it is stopped")
        assert text(browser, ended) != before


def _stop_one(ledger: Ledger) -> None:
    """Have the search stop a trial, as the driver writes it."""
    running = ledger.running_trials("small")[0]
    ledger.record_rung("small", _rung(running))
    ledger.end_trial("small", running, Ending(outcome=Outcome.STOPPED, steps=20, select_value=INIT))


def _rung(key: str) -> Any:
    return RungRecord(
        family=key.split("/")[1], trial=key, rung=180, value=0.7, cutoff=0.6, num_recorded=9, action="stop"
    )


def test_a_lost_connection_is_told_and_found_again(browser: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    plant(url, for_s=100.0, tick_s=33.0, study=spec(**SMALL))
    with served(tmp_path) as address:
        look(browser, f"{address}/studies/small")
        wait_until(lambda: named(browser, "#connection").text == "Live", "the page is live")
    wait_until(lambda: "trying again" in named(browser, "#connection").text, "the loss is told")
    with served(tmp_path, port=int(address.rpartition(":")[2])):
        wait_until(lambda: named(browser, "#connection").text == "Live", "it is found again")
    browser.get("about:blank")
    browser.get_log("browser")  # the refused connections


def test_a_page_without_script_is_whole(browser: Any, planted: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        look(browser, f"{planted}/studies/small")
        assert named(browser, "#connection a").text == "Refresh"
        assert "search/" in named(browser, "main").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


PAGES = (
    "/",
    "/studies/small",
    "/studies/finished",
    "/studies/stopped",
    "/studies/failed",
    "/studies/small/trials",
    f"/studies/small/trials/{KEY}",
    "/new",
    "/studies/small/delete",
    "/login",
    "/nowhere",
)


@needs_axe
@on_every_screen
def test_axe_finds_nothing(browser: Any, planted: str, width: int, scheme: str) -> None:
    found = {}
    for path in PAGES:
        look(browser, planted + path, width=width, scheme=scheme)
        open_details(browser)
        if result := violations(browser):
            found[path] = result
        assert is_within(browser, width), path
    assert found == {}, json.dumps(found, indent=1)


@needs_axe
@on_every_screen
def test_axe_finds_nothing_in_the_report_within_its_page(
    browser: Any, planted: str, width: int, scheme: str
) -> None:
    look(browser, f"{planted}/studies/small/report", width=width, scheme=scheme)
    browser.switch_to.frame(named(browser, "iframe"))
    wait_until(lambda: "small" in text(browser, "h1"), "the report is there")
    open_details(browser)
    assert is_within(browser, width)
    browser.switch_to.default_content()
    assert is_within(browser, width)
    found = violations(browser)
    assert found == [], json.dumps(found, indent=1)


@needs_axe
@on_every_screen
def test_axe_finds_nothing_where_a_token_is_refused(
    browser: Any, guarded: str, width: int, scheme: str
) -> None:
    look(browser, f"{guarded}/login", width=width, scheme=scheme)
    named(browser, "#token").send_keys("twr_nobody_made_it\n")
    wait_until(lambda: "not known here" in text(browser, "[role=alert]"), "the refusal is told")
    found = violations(browser)
    assert found == [], json.dumps(found, indent=1)
    assert is_within(browser, width)
    browser.get("about:blank")
    browser.get_log("browser")  # the 401


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/new", {"spec", "Start the study"}),
        ("/studies/small", {"All trials", "The rungs as a table", "Table of families"}),
        ("/studies/stopped", {"resume", "Delete…"}),
    ],
)
def test_the_keyboard_reaches_everything_and_is_never_trapped(
    browser: Any, planted: str, path: str, parts: set[str]
) -> None:
    look(browser, planted + path)
    if browser.find_elements("css selector", "#connection"):  # its link to refresh goes once the page is live
        wait_until(lambda: named(browser, "#connection").text == "Live", "the page is live")
    wanted = browser.execute_script(
        """return [...document.querySelectorAll("a[href], button, textarea, input, summary, [tabindex='0']")]
          .filter((one) => one.checkVisibility()).length"""
    )
    seen = []
    for _ in range(wanted):
        press(browser, "TAB")
        seen.append(
            browser.execute_script(
                """const one = document.activeElement, style = getComputedStyle(one);
                const name = one.id || one.getAttribute("aria-label") || one.innerText?.slice(0, 20) || "";
                return [one.tagName, name, style.outlineStyle !== "none"];"""
            )
        )
    names = {name for _, name, _ in seen}
    assert browser.execute_script("return document.activeElement.tagName") != "BODY"
    assert seen[0][1] == "Skip to the content"
    assert parts <= names
    assert all(outlined for tag, _, outlined in seen if tag != "BODY")


def press(browser: Any, *keys: str) -> None:
    """Press keys one after the other, by their names in selenium."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    for key in keys:
        ActionChains(browser).send_keys(getattr(Keys, key)).perform()


def tab_to(browser: Any, css: str, most: int = 150) -> None:
    """Go on from where the keyboard is, as far as an element."""
    for _ in range(most):
        press(browser, "TAB")
        if browser.execute_script("return document.activeElement.matches(arguments[0])", css):
            return
    pytest.fail(f"{most} times Tab did not lead to {css}")


def test_a_study_is_read_and_stopped_by_keyboard_alone(browser: Any, tmp_path: Path) -> None:
    """On a phone's width, so that the table is wider than the page; and what is swapped takes no focus away."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    plant(url, for_s=170.0, tick_s=33.0, study=spec(**SMALL))
    with served(tmp_path) as address, Ledger.open(url) as ledger:
        look(browser, f"{address}/studies/small", width=360)
        wait_until(lambda: named(browser, "#connection").text == "Live", "the page is live")
        tab_to(browser, "#survival-table > summary")
        press(browser, "ENTER")
        assert browser.execute_script("return document.getElementById('survival-table').open")
        tab_to(browser, "#survival-table .scroll")
        press(browser, *["ARROW_RIGHT"] * 3)
        scrolled = "return document.querySelector('#survival-table .scroll').scrollLeft"
        wait_until(lambda: browser.execute_script(scrolled) > 0, "the table scrolls")
        browser.execute_script(
            "document.querySelector('[data-fragment=survival]').firstElementChild.isOld = true"
        )
        _stop_one(ledger)
        swapped = "return document.querySelector('[data-fragment=survival]').firstElementChild.isOld !== true"
        wait_until(lambda: browser.execute_script(swapped), "the search is shown anew")
        assert browser.execute_script("return document.activeElement.matches('#survival-table .scroll')")
        assert browser.execute_script(scrolled) > 0
        look(browser, f"{address}/studies/small", width=360)
        tab_to(browser, "#stop")
        press(browser, "ENTER")
        wait_until(lambda: "stopped" in text(browser, ".facts"), "it is stopped")
        assert ledger.study("small").state is StudyState.STOPPED
