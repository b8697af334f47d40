"""A study in a real browser, with nothing planted: created by the form, trained by Ray, followed into MLflow."""

import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.ledger import Ledger
from study.service.launcher import SUBMITTED
from tests.browser import chromium, look, needs_browser, wait_until
from tests.end_to_end.command import STUDY_FILE, make_place
from tests.study.servers import mlflow_server
from tests.study.service.pages.serving import served

NAME = "tiny"
FAMILIES = ("sgd", "rsgd")
TRAINING_S = 600.0
"""Longest wait in seconds for a driver."""
CHANGES: dict[str, Any] = {
    "families": list(FAMILIES),
    "training": {"steps": 8, "batch": 4, "eval_every": 2, "checkpoint_every": 2},
    "phases": {
        "search": {"trials": 8, "reduction": 2, "grace_steps": 2},
        "confirmation": {"seeds": 2},
    },
}

pytestmark = needs_browser


@pytest.fixture
def written(tmp_path: Path) -> str:
    """A study of a tiny model, by absolute paths, as a service takes it."""
    place = make_place(tmp_path / "parts")
    study = yaml.safe_load(STUDY_FILE) | CHANGES
    study["base"]["model"] = f"path:{place}/base"
    study["task"]["path"] = f"{place}/rows.jsonl"
    return str(yaml.safe_dump(study, sort_keys=False))


@contextmanager
def its_drivers(url: str) -> Iterator[None]:
    """End, after a block, the drivers that it leaves behind."""
    try:
        yield
    finally:
        with Ledger.open(url) as ledger:
            asked = [event for one in ledger.studies() for event in ledger.events(one.name)]
        for event in asked:
            if event.kind == SUBMITTED:
                with suppress(ProcessLookupError):
                    os.kill(int(event.detail["job"].removeprefix("pid ")), signal.SIGTERM)


def test_a_study_from_its_creation_to_its_place_in_mlflow(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistype it, create it, watch it, stop it, resume it, see it end, read its report, compare its families."""
    home = tmp_path / "home"
    for name, value in {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    url = f"sqlite:///{home}/ledger.db"
    with (
        chromium(tmp_path / "profile") as browser,
        mlflow_server(tmp_path) as mlflow,
        served(home, tracking_uri=mlflow.uri, allow_paths=(tmp_path / "parts",)) as address,
        its_drivers(url),
    ):
        create(browser, address, written)
        stop_and_resume(browser)
        watch_to_the_end(browser)
        read_the_report(browser, address)
        assert browser.get_log("browser") == []
        compare_in_mlflow(browser, address, mlflow.uri)
    with Ledger.open(url) as ledger:
        trials = ledger.trials(NAME)
        assert len(trials) == len(FAMILIES) * (8 + 2)
        assert all(one.ending is not None for one in trials)


def create(browser: Any, address: str, written: str) -> None:
    look(browser, f"{address}/")
    assert "No study yet" in text(browser)
    press(browser, "main a.button.main")
    fill(browser, written.replace("- rsgd", "- rsdg"))
    wait_until(lambda: "did you mean 'rsgd'" in text(browser, "#checked"), "the mistake is told")
    fill(browser, written)
    wait_until(lambda: "20 trials of" in text(browser, "#checked h2"), "the plan is shown")
    press(browser, "button[value=start]")
    assert browser.current_url == f"{address}/studies/{NAME}"


def stop_and_resume(browser: Any) -> None:
    wait_until(lambda: "running" in text(browser, ".facts"), "it runs", TRAINING_S)
    wait_until(lambda: browser.find_elements("css selector", ".packs .pack"), "its pack is shown", TRAINING_S)
    wait_until(lambda: ended(browser), "the first trials have ended", TRAINING_S)
    assert text(browser, "#connection") == "Live"
    press(browser, "#stop")
    wait_until(lambda: shows(browser, "#resume"), "its driver has let go", TRAINING_S)
    assert "stopped" in text(browser, ".facts")
    stopped_at = ended(browser)
    assert 0 < stopped_at < 20
    press(browser, "#resume")
    wait_until(lambda: ended(browser) > stopped_at, "it goes on", TRAINING_S)


def watch_to_the_end(browser: Any) -> None:
    wait_until(lambda: "finished" in text(browser, ".facts dd"), "it has ended", TRAINING_S)
    assert ended(browser) == 20
    assert text(browser, "#connection") == "Live"
    wait_until(
        lambda: text(browser, "#announcer") == f"Study {NAME} is finished.", "a screen reader is told the end"
    )
    wait_until(lambda: shows(browser, '.actions a[href$="/delete"]'), "its driver is gone", TRAINING_S)


def read_the_report(browser: Any, address: str) -> None:
    press(browser, f'.links a[href="/studies/{NAME}/report"]')
    browser.switch_to.frame(browser.find_element("css selector", "iframe"))
    wait_until(lambda: NAME in text(browser, "h1"), "the report is there", 60.0)
    assert "20 of 20" in text(browser, ".facts")
    assert all(family in text(browser, "#answer") for family in FAMILIES)
    browser.switch_to.default_content()
    with urllib.request.urlopen(f"{address}/studies/{NAME}/report/csv", timeout=300) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    assert lines[0].startswith("phase,slice,workload,family,")
    assert len(lines) == 1 + 20


def compare_in_mlflow(browser: Any, address: str, mlflow: str) -> None:
    look(browser, f"{address}/studies/{NAME}")
    browser.find_element("css selector", '.links a[href$="/mlflow"]').click()
    wait_until(lambda: browser.current_url.startswith(f"{mlflow}/#/"), "MLflow is opened")
    wait_until(lambda: "Families" in text(browser, "body"), "MLflow shows the families' page")
    wait_until(
        lambda: all(family in text(browser, "body") for family in FAMILIES), "MLflow lists the families"
    )
    browser.get("about:blank")


def text(browser: Any, css: str = "main") -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", css))


def shows(browser: Any, css: str) -> bool:
    return bool(browser.find_elements("css selector", css))


def ended(browser: Any) -> int:
    return int(text(browser, ".facts > div:nth-child(2) dd").split(" of ")[0] or 0)


def press(browser: Any, css: str) -> None:
    """Click something, which may be swapped while it is looked for, and wait for the page that it leads to."""
    browser.execute_script("window.isOld = true")
    wait_until(lambda: is_clicked(browser, css), f"{css} is there for long enough")
    wait_until(
        lambda: browser.execute_script("return !window.isOld && document.readyState === 'complete'"), css
    )


def is_clicked(browser: Any, css: str) -> bool:
    from selenium.common.exceptions import StaleElementReferenceException

    try:
        browser.find_element("css selector", css).click()
    except StaleElementReferenceException:
        return False
    return True


def fill(browser: Any, value: str) -> None:
    browser.execute_script(
        """const field = document.getElementById("spec");
        field.value = arguments[0];
        field.dispatchEvent(new Event("input", {bubbles: true}));""",
        value,
    )
