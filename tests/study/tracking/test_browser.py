"""MLflow's own pages in a real browser: the families as rows, the arranged pages, the description, the datasets.

The form of the arranged pages is no documented interface, so this is what holds it: a new version of MLflow that no
longer reads it fails here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study.ledger import Ledger, RunKind
from study.tracking import comparison_url
from study.tracking.arrangement import TRIALS, VIEWS, experiment_path, run_path, view_path
from study.tracking.shipping import Shipper
from study.tracking.store import TrackingStore
from tests.browser import chromium, needs_browser
from tests.study.servers import MlflowServer
from tests.study.tracking import recorded

pytest.importorskip("selenium", reason="selenium is not installed")
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 120
ASSISTANT = "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1"
"""MLflow opens an assistant beside the first page of a visitor unless this is set."""
HOSTILE = "<img src=x onerror=\"document.title='owned'\"> [l](javascript:alert(1))"

pytestmark = needs_browser


class Pages:
    """A study in a server, and a browser that looks at it."""

    def __init__(self, browser: Any, ledger: Ledger, uri: str) -> None:
        self.browser, self.uri, self.ledger = browser, uri, ledger
        runs = ledger.tracked_runs(recorded.STUDY, uri)
        self.runs = {(run.kind, run.key): str(run.run_id) for run in runs}
        self.experiment = self.runs[RunKind.EXPERIMENT, ""]

    def open(self, address: str) -> None:
        """Load a page anew, as somebody who follows a link."""
        self.browser.get("about:blank")
        self.browser.get(address if address.startswith("http") else f"{self.uri}/{address}")

    def text(self) -> str:
        return str(self.browser.execute_script("return document.body.innerText"))

    def wait_for(self, condition: Callable[[], object]) -> None:
        waiting = WebDriverWait(self.browser, WAIT_S, ignored_exceptions=[StaleElementReferenceException])
        try:
            waiting.until(lambda _: condition())
        except TimeoutException:
            pytest.fail(f"the page does not show it: {self.text()[:3000]}")

    def texts(self, css: str) -> list[str]:
        return [str(element.text) for element in self.browser.find_elements("css selector", css)]

    def click(self, words: str) -> None:
        path = f"//button[contains(normalize-space(.), '{words}')]"
        self.wait_for(lambda: self.browser.find_elements("xpath", path))
        self.browser.find_elements("xpath", path)[0].click()


@pytest.fixture(scope="module")
def pages(server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("browsed")
    ledger = Ledger.open(f"sqlite:///{folder}/ledger.db")
    recorded.record(ledger, recorded.judged())
    report = recorded.write_findings(folder / "report", recorded.judged(), title=HOSTILE)
    ledger.intend_run(recorded.STUDY, server.uri, RunKind.ARTIFACTS, str(report))
    shipper = Shipper(ledger=ledger, study=recorded.STUDY, label=server.uri)
    assert shipper.ship(TrackingStore(server.uri, folder), verify=True).is_empty
    with chromium(tmp_path_factory.mktemp("profile"), window="1900,900") as browser:
        browser.get(f"{server.uri}/health")
        browser.execute_script(f"localStorage.setItem('{ASSISTANT}', 'true')")
        yield Pages(browser, ledger, server.uri)


def test_the_families_are_rows_with_their_columns_best_first(pages: Pages, tmp_path: Path) -> None:
    pages.open(comparison_url(pages.ledger, recorded.STUDY, pages.uri))
    pages.wait_for(lambda: "4 matching runs" in pages.text())
    pages.wait_for(lambda: len(_cells(pages, "metrics", "tuned_report_loss_nats")) == 4)
    losses = [float(text) for text in _cells(pages, "metrics", "tuned_report_loss_nats")]
    assert losses == sorted(losses)
    names = pages.texts(".ag-pinned-left-cols-container .ag-row a, .ag-center-cols-container .ag-row a")
    assert [name for name in names if name in recorded.FAMILIES] == ["gradamw", "grsgd", "rsgd", "sgd"]
    for metric in ("tuned_report_loss_nats_low", "space_diverged_frac", "lr_width_decades"):
        assert all(float(text) >= 0 for text in _cells(pages, "metrics", metric)), metric
    assert _cells(pages, "tags", "verdicts")[:2] == ["C2 inconclusive", "C1 supported (meaningful)"]
    _picture(pages, tmp_path / "families.png")


def _cells(pages: Pages, group: str, name: str) -> list[str]:
    """What a column shows, from top to bottom."""
    shown = pages.browser.find_elements("css selector", f".ag-row .ag-cell[col-id='{group}.`{name}`']")
    return [cell.text for cell in sorted(shown, key=lambda cell: cell.location["y"])]


def _picture(pages: Pages, path: Path) -> None:
    """For whoever looks at it; the one in docs/images/mlflow was made so."""
    pages.browser.save_screenshot(str(path))
    assert path.stat().st_size > 20_000


def test_the_arranged_pages_are_listed_under_views(pages: Pages) -> None:
    pages.open(experiment_path(pages.experiment))
    pages.click("Views")
    pages.wait_for(lambda: all(name in pages.text() for name in VIEWS.values()))


def test_the_trials_draw_parallel_coordinates_and_a_scatter(pages: Pages) -> None:
    pages.open(view_path(pages.experiment, TRIALS))
    pages.wait_for(lambda: "Parallel Coordinates" in pages.text())
    pages.wait_for(lambda: "lr vs. final_select_loss_nats" in pages.text())
    drawn = "return document.querySelectorAll('.parcoords canvas, .parcoords svg, svg .parcoords').length"
    pages.wait_for(lambda: pages.browser.execute_script(drawn))
    pages.wait_for(
        lambda: pages.browser.execute_script("return document.querySelectorAll('.point').length") > 20
    )


def test_the_leaves_draw_a_box_plot_when_they_are_compared(pages: Pages) -> None:
    trials = [run for (kind, _), run in pages.runs.items() if kind is RunKind.TRIAL][:40]
    listed = ",".join(f'"{run}"' for run in trials)
    pages.open(f'#/compare-runs?runs=[{listed}]&experiments=["{pages.experiment}"]')
    pages.wait_for(lambda: "Box Plot" in pages.text())
    pages.browser.find_element("xpath", "//*[@role='tab' and contains(., 'Box Plot')]").click()
    for axis, name in (("x", "family"), ("y", "final_select_loss_nats")):
        pages.wait_for(lambda: pages.browser.find_elements("id", f"{axis}-axis-selector"))  # noqa: B023 (at once)
        pages.browser.find_element("id", f"{axis}-axis-selector").click()
        option = f"//*[@role='option' and normalize-space(.)='{name}']"
        pages.wait_for(lambda: pages.browser.find_elements("xpath", option))  # noqa: B023 (at once)
        pages.browser.find_element("xpath", option).click()
    boxes = "return document.querySelectorAll('.boxlayer path').length"
    pages.wait_for(lambda: pages.browser.execute_script(boxes))


def test_the_description_shows_words_of_others_as_they_are(pages: Pages) -> None:
    pages.open(run_path(pages.experiment, pages.runs[RunKind.STUDY, ""]))
    pages.wait_for(lambda: "88 of 88 trials have ended" in pages.text())
    assert HOSTILE in pages.text()
    assert pages.browser.title != "owned"
    links = pages.browser.find_elements("css selector", "a[href*='viewStateShareKey=families']")
    assert links
    assert not pages.browser.find_elements("css selector", "a[href^='javascript']")


def test_a_link_of_the_description_leads_to_the_report(pages: Pages) -> None:
    pages.open(run_path(pages.experiment, pages.runs[RunKind.STUDY, ""]))
    pages.click("Show more")
    pages.wait_for(lambda: pages.browser.find_elements("link text", "report.html"))
    pages.browser.find_element("link text", "report.html").click()
    pages.browser.switch_to.window(
        pages.browser.window_handles[-1]
    )  # MLflow opens links in a tab of their own
    pages.wait_for(lambda: "artifacts/report/report.html" in pages.browser.current_url)
    pages.wait_for(lambda: pages.browser.find_elements("css selector", "iframe"))


def test_the_datasets_stand_on_the_studys_run(pages: Pages) -> None:
    pages.open(run_path(pages.experiment, pages.runs[RunKind.STUDY, ""]))
    pages.wait_for(lambda: "vader_movie-train" in pages.text())
