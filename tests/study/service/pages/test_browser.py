"""The pages in a real browser: a study from its creation to its end, and every page by everyone's means."""

import importlib.util
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.ledger import Ledger
from study.records import Ending, Outcome, RungRecord
from study.service.launcher import Launcher, LocalLauncher
from study.spec import STUDY_TEMPLATE
from study.tracking import Tracker
from tests.study.report.synthetic import INIT
from tests.study.servers import mlflow_server
from tests.study.service.pages.planted import PlantedLauncher, plant, spec
from tests.study.service.pages.serving import BROWSER, DRIVER, chromium, look, served, wait_until

REAL = os.environ.get("TRIALWRIGHT_REAL_LAUNCH")
"""Set to a study file to have a real driver train it instead of the planted one."""
AXE = importlib.util.find_spec("axe_playwright_python")
SMALL = {
    "name": "small",
    "phases": {
        "search": {"trials": 9, "reduction": 3, "grace_steps": 20},
        "confirmation": {"seeds": 3, "looks": [3]},
    },
    "families": ["rsgd", "adamw"],
}
KEY = "search/rsgd/p000"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="neither Chromium nor its driver is installed"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service over a study that is half through and stays there."""
    home = tmp_path_factory.mktemp("planted")
    url = f"sqlite:///{home}/ledger.db"
    plant(url, for_s=600.0, tick_s=33.0, study=spec(**SMALL))
    with served(home, ray="http://127.0.0.1:8265") as address:
        yield address


def named(browser: Any, css: str) -> Any:
    return browser.find_element("css selector", css)


def text(browser: Any, css: str = "main") -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", css))


def press(browser: Any, css: str) -> None:
    """Click something and wait for the page that it leads to."""
    browser.execute_script("window.isOld = true")
    named(browser, css).click()
    wait_until(
        lambda: browser.execute_script("return !window.isOld && document.readyState === 'complete'"), css
    )


def written() -> str:
    if REAL:
        return Path(REAL).read_text(encoding="utf-8")
    return yaml.safe_dump(
        {**yaml.safe_load(STUDY_TEMPLATE), **SMALL, "spaces": {}, "tier": None}, sort_keys=False
    )


def launcher_of(home: Path, url: str) -> Launcher:
    if REAL:
        from study.home import home_at

        return LocalLauncher(home_at(home))
    return PlantedLauncher(url, tick_s=0.35)


def test_a_study_from_its_creation_to_its_end(browser: Any, tmp_path: Path) -> None:
    """Create it, see a mistake told, watch, stop, resume, watch to the end, open report and comparison."""
    home = tmp_path / "home"
    home.mkdir()
    url = f"sqlite:///{home}/ledger.db"
    launcher = launcher_of(home, url)
    name, patience_s = yaml.safe_load(written())["name"], 900.0 if REAL else 40.0
    with served(home, launcher) as address:
        look(browser, f"{address}/")
        assert "No study yet" in text(browser)
        press(browser, "main a.button.main")
        fill(browser, written().replace("rsgd", "rsdg"))
        wait_until(lambda: "did you mean 'rsgd'" in text(browser, "#checked"), "the mistake is told")
        fill(browser, written())
        wait_until(lambda: "trials of" in text(browser, "#checked h2"), "the plan is shown")
        press(browser, "button[value=start]")
        assert browser.current_url == f"{address}/studies/{name}"
        wait_until(lambda: "running" in text(browser, ".facts"), "it runs", patience_s)
        wait_until(lambda: ended(browser) > 2, "the first trials have ended", patience_s)
        assert named(browser, "#connection").text == "Live"
        assert len(browser.find_elements("css selector", "#packs ~ .packs .pack")) >= 1
        press(browser, "#stop")
        wait_until(lambda: browser.find_elements("css selector", "#resume"), "it has stopped", patience_s)
        wait_until(lambda: "Stopping" not in text(browser), "its driver has let go", patience_s)
        stopped_at = ended(browser)
        press(browser, "#resume")
        wait_until(lambda: ended(browser) > stopped_at, "it goes on", patience_s)
        wait_until(lambda: "finished" in text(browser, ".facts dd"), "it has ended", patience_s)
        assert "Live" in text(browser, "#connection")
        assert text(browser, "#announcer") == f"Study {name} is finished."
        open_report(browser, address, name)
        assert browser.get_log("browser") == []
        if not REAL:
            open_comparison(browser, address, name)
    if isinstance(launcher, PlantedLauncher):
        launcher.close()


def fill(browser: Any, value: str) -> None:
    browser.execute_script(
        """const field = document.getElementById("spec");
        field.value = arguments[0];
        field.dispatchEvent(new Event("input", {bubbles: true}));""",
        value,
    )


def ended(browser: Any) -> int:
    facts = text(browser, ".facts > div:nth-child(2) dd").split(" of ")[0]
    return int(facts.replace(",", "") or 0)


def open_report(browser: Any, address: str, name: str) -> None:
    press(browser, f'.links a[href="/studies/{name}/report"]')
    browser.switch_to.frame(named(browser, "iframe"))
    wait_until(lambda: name in text(browser, "h1"), "the report is there", 60.0)
    browser.switch_to.default_content()
    with urllib.request.urlopen(f"{address}/studies/{name}/report/csv", timeout=60) as answer:  # noqa: S310
        assert answer.read(200).decode().startswith("phase,slice,workload,family,")


def open_comparison(browser: Any, address: str, name: str) -> None:
    """Nobody serves MLflow's pages here, and the page says so."""
    look(browser, f"{address}/studies/{name}/mlflow")
    assert "has arrived at" in text(browser)
    browser.get_log("browser")  # the refusal


def test_the_comparison_leads_into_mlflow(browser: Any, tmp_path: Path) -> None:
    home, url = tmp_path / "home", f"sqlite:///{tmp_path}/home/ledger.db"
    home.mkdir()
    plant(url, for_s=100.0, tick_s=33.0, study=spec(**SMALL))
    with mlflow_server(tmp_path) as mlflow:
        tracker = Tracker(
            ledger_url=url, study="small", tracking_uri=mlflow.uri, artifacts_dir=tmp_path / "artifacts"
        )
        tracker.start()
        assert tracker.close(60).is_empty
        with served(home, tracking_uri=mlflow.uri) as address:
            look(browser, f"{address}/studies/small")
            named(browser, '.links a[href$="/mlflow"]').click()
            wait_until(lambda: browser.current_url.startswith(f"{mlflow.uri}/#/"), "MLflow is opened")
            wait_until(lambda: "Families" in text(browser, "body"), "MLflow shows the families' page")
            wait_until(lambda: "rsgd" in text(browser, "body"), "MLflow lists the families")
            browser.get("about:blank")
    browser.get_log("browser")  # MLflow's own


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
        with Ledger.open(url) as driver:
            running = driver.running_trials("small")[0]
            driver.record_rung("small", _rung(running))
            driver.end_trial("small", running, Ending(outcome=Outcome.STOPPED, steps=20, select_value=INIT))
        swapped = "return document.querySelector('[data-fragment=survival]').firstElementChild.isOld !== true"
        wait_until(lambda: browser.execute_script(swapped), "the search is shown anew")
        wait_until(lambda: "Look here." in text(browser), "the failure is shown")
        assert browser.execute_script("return document.getElementById('survival-table').open")
        assert (
            browser.execute_script("return document.activeElement.closest('details')?.id") == "survival-table"
        )
        assert browser.execute_script("return scrollY") == before


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
    "/studies/small/trials",
    f"/studies/small/trials/{KEY}",
    "/new",
    "/studies/small/delete",
    "/login",
    "/nowhere",
)


@pytest.mark.skipif(AXE is None, reason="axe-playwright-python, which carries axe-core, is not installed")
@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]
)
def test_axe_finds_nothing(browser: Any, planted: str, width: int, scheme: str) -> None:
    assert AXE is not None
    assert AXE.origin is not None
    source = (Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8")
    found = {}
    for path in PAGES:
        look(browser, planted + path, width=width, scheme=scheme)
        browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        browser.execute_cdp_cmd("Runtime.evaluate", {"expression": source})
        result = browser.execute_async_script(
            """const done = arguments[arguments.length - 1];
            axe.run(document, {resultTypes: ["violations"], runOnly:
              ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
              .then((result) => done(result.violations.map((one) =>
                [one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160))])));"""
        )
        if result:
            found[path] = result
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, path
    assert found == {}, json.dumps(found, indent=1)


def test_the_keyboard_reaches_everything_and_is_never_trapped(browser: Any, planted: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    look(browser, f"{planted}/new")
    wanted = browser.execute_script(
        """return [...document.querySelectorAll("a[href], button, textarea, input, summary, [tabindex='0']")]
          .filter((one) => one.checkVisibility()).length"""
    )
    seen = []
    for _ in range(wanted):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        seen.append(
            browser.execute_script(
                """const one = document.activeElement, style = getComputedStyle(one);
                one.seen = true;
                return [one.tagName, one.id || one.innerText?.slice(0, 20) || "", style.outlineStyle !== "none"];"""
            )
        )
    assert browser.execute_script("return document.activeElement.tagName") != "BODY"
    assert seen[0][1] == "Skip to the content"
    assert ["TEXTAREA", "spec", True] in seen
    assert "Start the study" in [name for _, name, _ in seen]
    assert all(outlined for tag, _, outlined in seen if tag != "BODY")
